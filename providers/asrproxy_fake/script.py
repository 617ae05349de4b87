"""What becomes of each call: read from the configuration or a watched file, or said at run time by a test in the same process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Final

import yaml
from pydantic import ValidationError

from asrproxy.plugin import (
    AttemptTimeout,
    ConfigError,
    Garbled,
    NotReady,
    ProviderError,
    Refused,
    Rejected,
    Throttled,
    Truncated,
    Unavailable,
    Unreachable,
)
from asrproxy_fake.settings import Behaviour, ErrorName, Step

ERRORS: Final[Mapping[ErrorName, type[ProviderError]]] = MappingProxyType(
    {
        "unavailable": Unavailable,
        "throttled": Throttled,
        "refused": Refused,
        "rejected": Rejected,
        "garbled": Garbled,
        "truncated": Truncated,
        "unreachable": Unreachable,
        "timeout": AttemptTimeout,
        "not_ready": NotReady,
    }
)


@dataclass(frozen=True, slots=True)
class Fate:
    """What one call meets after `latency` seconds: an error, a text of its own, a share of what was heard, or what was heard."""

    latency: float = 0.0
    error: ProviderError | None = None
    text: str | None = None
    kept: float = 1.0
    hangs: bool = False


class Script:
    """Decides the fate of each call and counts them. A test holds it as `FakeProvider.script` and may change it between any two calls.

    clock: seconds, for outages. chance: draws jitter and failures. All methods belong to the event loop of the provider.
    """

    def __init__(self, behaviour: Behaviour, *, clock: Callable[[], float], chance: Random) -> None:
        self._clock, self._chance = clock, chance
        self._waiting: list[asyncio.Future[None]] = []
        self._open = asyncio.Event()
        self._open.set()
        self.calls = 0
        self.in_flight = 0
        self.behave(behaviour)

    # What a test says.

    def behave(self, behaviour: Behaviour) -> None:
        """Begins anew with `behaviour`: its script from the first step, its outages from now."""
        self._behaviour = behaviour
        self._since = self._clock()
        self._steps: deque[tuple[Step, int | None]] = deque()
        self._down: ErrorName | None = None
        self.add(*behaviour.script)

    def add(self, *steps: Step) -> None:
        """Puts steps behind those that are left."""
        self._steps.extend((step, None if step.times == "always" else step.times) for step in steps)

    def answer(self, *texts: str, always: bool = False) -> None:
        """The next calls (after the steps that are left) are answered with these, one each, whatever the audio says.

        always: the last one answers all that come after, too.
        """
        self.add(*(Step(text=each) for each in texts[: -1 if always else None]))
        if always:
            self.add(Step(text=texts[-1], times="always"))

    def fail(self, error: ErrorName, *, times: int = 1, retry_after: float | None = None, vendor_code: int | str | None = None) -> None:
        """The next `times` calls (after the steps that are left) fail."""
        self.add(Step(error=error, times=times, retry_after=retry_after, vendor_code=vendor_code))

    def go_down(self, error: ErrorName = "unavailable") -> None:
        """Every call fails until `recover`."""
        self._down = error

    def recover(self) -> None:
        """Ends what `go_down` began."""
        self._down = None

    def hold(self) -> None:
        """Calls arrive and get no answer until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Lets go of the calls that were held and of those to come."""
        self._open.set()

    async def arrived(self, calls: int = 1) -> None:
        """Returns once `calls` calls are under way at the same time."""
        await self._until(lambda: self.in_flight >= calls)

    async def idle(self) -> None:
        """Returns once no call is under way."""
        await self._until(lambda: not self.in_flight)

    @property
    def unheard(self) -> str:
        """The answer to audio that has no tones in it."""
        return self._behaviour.text

    @property
    def steps_left(self) -> int:
        """Steps that have calls left."""
        return len(self._steps)

    # What the provider asks.

    @asynccontextmanager
    async def call(self) -> AsyncIterator[Fate]:
        """One call from its arrival to its end: waits as long as the call is to take, and raises what it is to fail with."""
        self.calls += 1
        fate = self._next()
        self._count(+1)
        try:
            await self._open.wait()
            if fate.hangs:
                await asyncio.Event().wait()
            if fate.latency:
                await asyncio.sleep(fate.latency)  # the vendor's work, not a pause between tries
            if fate.error:
                raise fate.error
            yield fate
        finally:
            self._count(-1)

    def _next(self) -> Fate:
        usual = self._behaviour
        latency = usual.latency + (self._chance.uniform(0, usual.jitter) if usual.jitter else 0.0)
        if down := self._down or self._outage():
            return Fate(latency, error=ERRORS[down]("the fake is down, as its script says"))
        if self._steps:
            return self._step(latency)
        if usual.failure_rate and self._chance.random() < usual.failure_rate:
            return Fate(latency, error=ERRORS[usual.failure]("the fake failed, as its failure_rate says"))
        return Fate(latency)

    def _outage(self) -> ErrorName | None:
        seconds = self._clock() - self._since
        for each in self._behaviour.outages:
            if each.after <= seconds and (each.lasts is None or seconds < each.after + each.lasts):
                return each.error
        return None

    def _step(self, latency: float) -> Fate:
        step, left = self._steps[0]
        if left is not None:
            if left > 1:
                self._steps[0] = (step, left - 1)
            else:
                self._steps.popleft()
        return Fate(
            latency if step.latency is None else step.latency,
            error=None if step.error is None else _error_of(step.error, step),
            text=step.text,
            kept=1.0 if step.truncate is None else step.truncate,
            hangs=step.hang,
        )

    def _count(self, by: int) -> None:
        self.in_flight += by
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn


class WatchedFile:
    """`script_file`: read anew whenever its content is another one. A file that is not there says nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: bytes | None = None

    def changed(self) -> Behaviour | None:
        """What the file says, None: the same as the last time, or there is none. Blocks. Raises ConfigError: it is not a behaviour."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from error
        if content == self._seen:
            return None
        try:
            behaviour = Behaviour.model_validate(yaml.safe_load(content) or {})
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}" for each in error.errors())
            raise ConfigError(f"{self._path} holds no behaviour: {wrong}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._path} is not YAML") from error
        self._seen = content
        return behaviour


def _error_of(name: ErrorName, step: Step) -> ProviderError:
    error = ERRORS[name](f"the fake fails with {name}, as its script says")
    error.retry_after, error.vendor_code = step.retry_after, step.vendor_code
    return error
