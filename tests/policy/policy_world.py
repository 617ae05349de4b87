"""A vendor without a network and a clock that jumps: what the policy's tests are made of."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from random import Random
from typing import Any, ParamSpec

from asrproxy.config.models import HedgeSettings, PolicySettings
from asrproxy.events import Event
from asrproxy.plugin import (
    AsrError,
    AudioFormat,
    Capabilities,
    Context,
    Health,
    Host,
    Options,
    Provider,
    ProviderSettings,
    Recognition,
    Traffic,
    Utterance,
)
from asrproxy.policy.stack import ProviderStack, RouteStack

P = ParamSpec("P")
WIDE = AudioFormat(16_000)
NARROW = AudioFormat(8_000)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where asyncio would sleep, its clock jumps. Everything else is asyncio's own."""

    def __init__(self) -> None:
        super().__init__(_Jumping(self))
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that are still set."""
        return [handle for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events:
            return events
        if timeout is None:
            raise RuntimeError("everybody waits and nothing will ever happen")
        if timeout > 0:
            self._loop.now += timeout
        return events


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test on a VirtualLoop; afterwards no task and no timer may be left behind."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def checked() -> None:
            await test(*args, **kwargs)
            assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            assert loop.timers() == [], "a timer was left behind"

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(checked())

    return run


Behaviour = Callable[[Utterance, Context], Awaitable[Recognition]]


class Vendor(Provider):
    """A provider that does what it is told and counts. takes: seconds of a call. errors: raised by the first calls, one each."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        takes: float = 0.1,
        errors: Sequence[Exception] = (),
        text: str = "text",
        capabilities: Capabilities | None = None,
        state: Health | None = None,
    ) -> None:
        super().__init__(ProviderSettings(), Host(name="vendor"))
        self.behaviour, self.takes, self.errors, self.text = behaviour, takes, list(errors), text
        self.capabilities = capabilities or Capabilities()
        self.state = state or Health()
        self.calls: list[float] = []
        self.heard: list[tuple[Utterance, Context]] = []
        self.in_flight = self.busiest = self.cancelled = 0

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        number = len(self.calls)
        self.calls.append(asyncio.get_running_loop().time())
        self.heard.append((utterance, context))
        self.in_flight += 1
        self.busiest = max(self.busiest, self.in_flight)
        try:
            if self.behaviour is not None:
                return await self.behaviour(utterance, context)
            await asyncio.sleep(self.takes)
            if number < len(self.errors):
                raise self.errors[number]
            return Recognition(self.text)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1

    def health(self) -> Health:
        return self.state


class Heard(list[Event]):
    """An observer that keeps what it hears."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


def policy(**keys: Any) -> PolicySettings:
    """The default policy with some keys set, as the file would."""
    return PolicySettings.model_validate(keys)


async def as_is(utterance: Utterance, target: AudioFormat) -> Utterance:
    raise AssertionError("nothing needed to be converted")


def stack(
    provider: Provider,
    settings: PolicySettings | None = None,
    *,
    name: str = "vendor",
    observer: Callable[[Event], None] | None = None,
    seed: int = 1,
    convert: Callable[[Utterance, AudioFormat], Awaitable[Utterance]] = as_is,
) -> ProviderStack:
    return ProviderStack(
        name, provider, settings or policy(), observer=Heard() if observer is None else observer, convert=convert, random=Random(seed)
    )


def route(*members: ProviderStack, hedge: HedgeSettings | None = None, observer: Callable[[Event], None] | None = None) -> RouteStack:
    return RouteStack("default", members, hedge, observer=Heard() if observer is None else observer, random=Random(1))


def speech(seconds: float = 1.0, format: AudioFormat = WIDE) -> Utterance:
    return Utterance(bytes(int(seconds * format.bytes_per_second)), format)


def context(timeout: float = 60.0, *, traffic: Traffic = Traffic.SHORT, options: Options | None = None) -> Context:
    deadline = asyncio.get_running_loop().time() + timeout
    return Context(request_id="r", deadline=deadline, traffic=traffic, options=options or Options())


async def outcome(call: Awaitable[Recognition]) -> str | AsrError:
    """The text, or the error of the contract that came instead."""
    try:
        return (await call).text
    except AsrError as error:
        return error
