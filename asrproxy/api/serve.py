"""A sidecar as a process: signals, reload, drain."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asrproxy.api.lean  # noqa: F401 -- before anything takes the memory that it frees
from asrproxy.api.footprint import freeze, give_back, return_large_blocks
from asrproxy.api.process_limits import set_process_limits
from asrproxy.api.sidecar import Handed, sidecar
from asrproxy.config.load import sources
from asrproxy.config.models import Configuration
from asrproxy.errors import ConfigError
from asrproxy.events import ConfigReloaded, Noted, Observer
from asrproxy.ops import stacks
from asrproxy.ops.logs import Log
from asrproxy.place import Place
from asrproxy.runtime import Runtime
from asrproxy.secrecy import Secrets

WATCH: Final = 2.0
"""Seconds between looks at the configuration's files: a mounted volume's `..data` swap changes their identity, an editor their time."""
LAST_WORDS: Final = 5.0
"""Seconds at the end of the drain in which a live session gets the sentences of what it has heard, half of the drain at most."""
TOLD: Final = 0.5
"""Seconds after the drain limit in which requests that it has ended come to their end."""

Load = Callable[[], Configuration]


@dataclass(frozen=True, slots=True)
class Given:
    """What a supervisor gives a worker. ready: a descriptor to write to once it listens."""

    place: Place
    sockets: Sequence[Handed]
    ready: int


def serve(configuration: Configuration, source: Path | None, load: Load | None = None, given: Given | None = None) -> int:
    """Runs until SIGTERM or SIGINT, then drains. load: reads the configuration anew for SIGHUP and file changes. Returns an exit status.

    given: this process is one of several workers.
    """
    set_process_limits()
    factory = _uvloop() if configuration.server.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_serve(configuration, source, load, given))


async def _serve(configuration: Configuration, source: Path | None, load: Load | None, given: Given | None) -> int:
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # its export is announced by ops/tracing.py
    return_large_blocks()
    with Log(configuration.log, Secrets(configuration)) as log:
        handler = log.handler()
        logging.getLogger().addHandler(handler)  # what asyncio and libraries say must not wait for standard error either
        try:
            return await _served(configuration, source, load, given, log)
        finally:
            logging.getLogger().removeHandler(handler)


async def _served(configuration: Configuration, source: Path | None, load: Load | None, given: Given | None, log: Log) -> int:
    files = None if source is None else _Files(source)  # looked at before anything opens: what changes meanwhile is a change
    loop = asyncio.get_running_loop()
    stop, reload = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    loop.add_signal_handler(signal.SIGUSR1, _tell_stacks, log)
    if given is None and configuration.server.workers != 1:
        from asrproxy.api.supervisor import supervise

        return await supervise(configuration, source, stop, reload, log)
    place, sockets = (None, ()) if given is None else (given.place, given.sockets)
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(None) as limit:
                stopping = asyncio.create_task(_ending(limit, stop))
                running = await stack.enter_async_context(sidecar(configuration, (), place, sockets, log))
        except TimeoutError:
            if not limit.expired():
                raise
            log(Noted("info", "stopped before the start was over", {}))
            return 0
        finally:
            stopping.cancel()
        freeze()
        if given is None:
            details: dict[str, object] = {"api": list(running.urls), "ops": list(running.ops_urls), "config": str(source or "built-in")}
            log(Noted("info", "listening", details))
        else:
            log(Noted("info", "worker listening", {"worker": given.place.index}))
            os.write(given.ready, b"1")
            os.close(given.ready)
        tasks = [
            asyncio.create_task(_reloading(running.runtime, reload, load, log, files)),
            asyncio.create_task(give_back(running.runtime.most_in_flight)),
        ]
        if files is not None and load is not None:
            tasks.append(asyncio.create_task(_watching(files, reload)))
        try:
            await stop.wait()
            await _drain(running.runtime, log)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return 0


async def _ending(limit: asyncio.Timeout, stop: asyncio.Event) -> None:
    """A start that is told to stop has nothing to wait for."""
    await stop.wait()
    limit.reschedule(0.0)


def _tell_stacks(log: Observer) -> None:
    """What every task and thread is doing, into the log: for a sidecar that hangs."""
    for note in stacks.dump():
        log(note)


async def _drain(runtime: Runtime, log: Log) -> None:
    """Ready goes 503 at once; what is in flight ends, at most until the limit; who waits then is told. Live sessions end before it."""
    runtime.draining = True
    log(Noted("info", "draining", {"in_flight": runtime.in_flight}))
    limit = runtime.server.drain
    asyncio.get_running_loop().call_later(limit - min(LAST_WORDS, limit / 2), runtime.ending.set)
    try:
        async with asyncio.timeout(limit):
            await runtime.drained()
    except TimeoutError:
        log(Noted("warning", "drain limit reached", {"in_flight": runtime.in_flight}))
        runtime.drain.reach()
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD):
                await runtime.drained()


async def _reloading(runtime: Runtime, wanted: asyncio.Event, load: Load | None, log: Log, files: _Files | None) -> None:
    """Takes a new configuration each time one is wanted; a bad one is refused, logged and counted, and the old one stays."""
    while True:
        await wanted.wait()
        wanted.clear()
        if load is None:
            continue
        if files is not None:
            await asyncio.to_thread(files.look)  # what is read now need not be read again because it has changed
        try:
            await runtime.reload(await asyncio.to_thread(load))
            log.take(runtime.log)
        except ConfigError as error:
            runtime.announce(ConfigReloaded(runtime.current.number, error))


async def _watching(files: _Files, wanted: asyncio.Event) -> None:
    while True:
        await asyncio.sleep(WATCH)
        if files.changed():
            wanted.set()


class _Files:
    """The configuration's file, and those that it names, as they were when they were last looked at."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self.look()

    def look(self) -> None:
        """Reads the file for the names in it: a changed one may name others."""
        self._seen = {each: _identity(each) for each in sources(self._source)}

    def changed(self) -> bool:
        """Not while the file is away, as in the middle of a swap."""
        now = {each: _identity(each) for each in self._seen}
        return now != self._seen and now[self._source] is not None


Identity = tuple[str, int, int, int]


def _identity(source: Path) -> Identity | None:
    """What changes when the file does, through every symlink on the way."""
    try:
        facts = os.stat(source)
        return os.path.realpath(source), facts.st_ino, facts.st_mtime_ns, facts.st_size
    except OSError:
        return None  # in the middle of a swap


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
