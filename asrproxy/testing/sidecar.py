"""A sidecar for the tests of applications: in a thread of its own, on free ports, with vendors that do as the test says.

It is asrproxy itself, from its sockets to its policy; only the vendor is a `fake`. pytest is not needed for it: the fixture
`asrproxy_sidecar` of asrproxy.testing.pytest_plugin is `with running_sidecar() as sidecar: yield sidecar`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from asrproxy.api.sidecar import Sidecar, sidecar
from asrproxy.config.load import load, loads
from asrproxy.config.models import Configuration
from asrproxy.discovery import provider_type
from asrproxy.events import Event, RequestEnded
from asrproxy.here import Purpose
from asrproxy.plugin import Context, Options, Utterance

CONFIGURATION: Final = """
# One answer of the script for one request: nothing is tried again, held back or remembered behind the test's back.
providers:
  vendor: {type: fake}
policy:
  retries: {attempts: 1}
  circuit: {failures: 1000000}
  limits: {rate: null}
  long_audio: {recheck: false, remember: {enabled: false}}
"""

START: Final = 60.0
"""Seconds that it may take to come up, on a machine that is busy with other tests."""
END: Final = 30.0
TURN: Final = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """One call that arrived at a vendor.

    pcm: what was sent, s16le mono at `sample_rate` Hz. seconds: its length. options: what the caller wants of it. attempt: 1 for the
    first. segment: which piece of the recording it is.
    """

    pcm: bytes = field(repr=False)
    sample_rate: int
    seconds: float
    options: Options
    request_id: str
    attempt: int
    segment: int


class Script(Protocol):
    """What a scripted provider offers: `asrproxy_fake.script.Script`."""

    @property
    def calls(self) -> int: ...
    def answer(self, *texts: str, always: bool = False) -> None: ...
    def fail(self, error: Any, *, times: int, retry_after: float | None, vendor_code: int | str | None) -> None: ...
    def go_down(self, error: Any) -> None: ...
    def recover(self) -> None: ...
    def hold(self) -> None: ...
    def release(self) -> None: ...
    async def arrived(self, calls: int) -> None: ...
    async def idle(self) -> None: ...


@runtime_checkable
class Scripted(Protocol):
    """A provider that does as a test says. witness: is shown every call."""

    script: Script
    witness: Callable[[Utterance, Context], None] | None


class Vendor:
    """A scripted vendor, in the hands of a test. Every method may be called from any thread and returns when it holds.

    What was said is met call by call. A recording of more than a minute is several calls.
    """

    def __init__(self, provider: Scripted, loop: _Loop) -> None:
        self._script, self._loop = provider.script, loop
        self._asked: list[Asked] = []
        provider.witness = self._witness

    def answer(self, *texts: str, always: bool = False) -> None:
        """The next calls are answered with these, one each; `always`: with the last one from then on.

        A call that nothing was said about is answered with the tones of asrproxy.testing.tones that are in its audio, and with no text
        where there are none.
        """
        self._loop.act(lambda: self._script.answer(*texts, always=always))

    def fail(self, error: str, *, times: int = 1, retry_after: float | None = None, vendor_code: int | str | None = None) -> None:
        """The next `times` calls fail.

        error: `throttled` (429 to the caller), `unavailable`, `unreachable`, `timeout`, `garbled`, `refused`, `rejected` (502), `not_ready`
        (503). retry_after: seconds, for the answer's Retry-After.
        """
        self._loop.act(lambda: self._script.fail(error, times=times, retry_after=retry_after, vendor_code=vendor_code))

    def go_down(self, error: str = "unavailable") -> None:
        """Every call fails until `recover`."""
        self._loop.act(lambda: self._script.go_down(error))

    def recover(self) -> None:
        """Ends what `go_down` began."""
        self._loop.act(self._script.recover)

    def hold(self) -> None:
        """Calls arrive and get no answer until `release`."""
        self._loop.act(self._script.hold)

    def release(self) -> None:
        """Lets go of the calls that were held and of those to come."""
        self._loop.act(self._script.release)

    def arrived(self, calls: int = 1, *, within: float = TURN) -> None:
        """Returns once `calls` calls are under way at the same time. Blocks: in an async test, `await asyncio.to_thread(vendor.arrived)`.

        Raises TimeoutError after `within` seconds.
        """
        self._loop.wait(self._script.arrived(calls), within, f"{calls} calls were not under way within {within:g} s")

    def idle(self, *, within: float = TURN) -> None:
        """Returns once no call is under way, one whose caller hung up included. Blocks, as `arrived` does."""
        self._loop.wait(self._script.idle(), within, f"calls were still under way after {within:g} s")

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The calls that have arrived, in order."""
        return self._loop.act(lambda: tuple(self._asked))

    def _witness(self, utterance: Utterance, context: Context) -> None:
        self._asked.append(
            Asked(
                pcm=bytes(utterance.pcm),
                sample_rate=utterance.format.sample_rate,
                seconds=utterance.duration,
                options=context.options,
                request_id=context.request_id,
                attempt=context.attempt,
                segment=context.segment,
            )
        )


class RunningSidecar:
    """What a test holds of it. url, ops_url: `http://127.0.0.1:…`, with no slash at the end."""

    def __init__(self, running: Sidecar, loop: _Loop, requests: list[RequestEnded]) -> None:
        self._running, self._loop, self._requests = running, loop, requests
        self.url: Final = running.url
        self.ops_url: Final = running.ops_urls[0]
        opened = running.runtime.current.opened
        self.vendors: Final[Mapping[str, Vendor]] = MappingProxyType(
            {name: Vendor(each.provider, loop) for name, each in opened.items() if isinstance(each.provider, Scripted)}
        )
        """The scripted ones of the configuration, by name."""

    @property
    def openai_url(self) -> str:
        """The `base_url` of OpenAI's clients."""
        return f"{self.url}/v1"

    @property
    def vendor(self) -> Vendor:
        """The scripted vendor; of several, the first in the configuration. Raises LookupError: there is none."""
        if not self.vendors:
            raise LookupError("no provider of this configuration is of a type that takes a script, such as fake")
        return next(iter(self.vendors.values()))

    @property
    def requests(self) -> tuple[RequestEnded, ...]:
        """The requests that were answered, in order: route, status, error code, seconds, bytes."""
        return self._loop.act(lambda: tuple(self._requests))

    def drain(self) -> None:
        """As after SIGTERM: `/readyz` and new requests are 503 `draining`, what is in flight goes on."""
        runtime = self._running.runtime
        self._loop.act(lambda: setattr(runtime, "draining", True))


@contextmanager
def running_sidecar(configuration: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> Iterator[RunningSidecar]:
    """A sidecar that listens on free loopback ports while the context lasts; its caller may block, or run an event loop of its own.

    configuration: YAML text, or a file; `server.listen` and `server.ops_listen` in it are not used. None: `CONFIGURATION`. environ: what
    `${…}` in it is filled in from; None: os.environ. Raises ConfigError.
    """
    settings = _loopback(_settings(CONFIGURATION if configuration is None else configuration, os.environ if environ is None else environ))
    requests: list[RequestEnded] = []

    def observe(event: Event) -> None:
        if isinstance(event, RequestEnded):
            requests.append(event)

    with _running(settings, observe) as (running, loop):
        held = loop.act(lambda: RunningSidecar(running, loop, requests))
        try:
            yield held
        finally:
            for vendor in held.vendors.values():
                vendor.release()  # a call that a test forgot would keep the end waiting


class _Loop:
    """The sidecar's event loop, as other threads use it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.stop: Final = asyncio.Event()

    def act(self, act: Callable[[], T]) -> T:
        """Runs `act` on the loop and returns what it returns. Raises what it raises."""
        if self._runs_here():
            return act()
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(act())
            except Exception as error:  # handed to the thread that asked
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(TURN)

    def wait(self, coroutine: Coroutine[Any, Any, None], within: float, otherwise: str) -> None:
        """Runs it on the loop to its end. Raises TimeoutError with the words `otherwise` after `within` seconds."""
        waiting = asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, within), self._loop)
        try:
            waiting.result()
        except TimeoutError as error:
            raise TimeoutError(otherwise) from error

    def _runs_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False


@contextmanager
def _running(settings: Configuration, observe: Callable[[Event], None]) -> Iterator[tuple[Sidecar, _Loop]]:
    """A sidecar in a thread; what ends it there is raised here."""
    started: Future[tuple[Sidecar, _Loop]] = Future()
    ended: Future[None] = Future()

    async def serve() -> None:
        async with sidecar(settings, [observe]) as running:
            loop = _Loop(asyncio.get_running_loop())
            started.set_result((running, loop))
            await loop.stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # this thread ends with it, and the test gets it
            (ended if started.done() else started).set_exception(error)
        else:
            ended.set_result(None)

    thread = threading.Thread(target=run, name="asrproxy", daemon=True)
    thread.start()
    running, loop = started.result(START)
    try:
        yield running, loop
    finally:
        loop.act(loop.stop.set)
        ended.result(END)
        thread.join(END)


def _settings(configuration: str | Path, environ: Mapping[str, str]) -> Configuration:
    def settings_of(name: str) -> Any:
        return provider_type(name).Settings

    if isinstance(configuration, Path):
        return load(configuration, environ=environ, provider_settings=settings_of, purpose=Purpose.WORK)
    return loads(configuration, "asrproxy_configuration", environ=environ, provider_settings=settings_of, purpose=Purpose.WORK)


def _loopback(settings: Configuration) -> Configuration:
    free = {"listen": ("127.0.0.1:0",), "ops_listen": ("127.0.0.1:0",)}
    return settings.model_copy(update={"server": settings.server.model_copy(update=free)})
