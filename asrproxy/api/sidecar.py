"""A whole sidecar in this process: its inside opened, its listeners listening, all of it ended together."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from asrproxy.api.app import create_api, create_ops, create_own
from asrproxy.api.connection import Manners, Runner
from asrproxy.api.request import RUNTIME
from asrproxy.config.models import Configuration, TracingSettings
from asrproxy.discovery import provider_type
from asrproxy.errors import ConfigError
from asrproxy.events import Event, Observer
from asrproxy.figures import Figures
from asrproxy.ops.latency import Latency
from asrproxy.ops.logs import Log
from asrproxy.ops.loop_lag import watch_loop
from asrproxy.ops.metrics import Metrics
from asrproxy.ops.recent import Recent, common_ticks
from asrproxy.place import Place
from asrproxy.runtime import Runtime

if TYPE_CHECKING:
    from asrproxy.ops.tracing import Tracing

Handed = tuple[str, socket.socket]
"""A listening socket with its address as people write it."""
BACKLOG: Final = 1024
SHUTDOWN: Final = 2.0
"""Seconds that connections get to close at the end."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running sidecar. urls: where the API answers (`http://…` or `unix:…`); ops_urls: where health does."""

    runtime: Runtime
    urls: tuple[str, ...]
    ops_urls: tuple[str, ...]

    @property
    def url(self) -> str:
        return self.urls[0]


@asynccontextmanager
async def sidecar(
    configuration: Configuration,
    observers: Sequence[Observer] = (),
    place: Place | None = None,
    given: Sequence[Handed] = (),
    log: Log | None = None,
) -> AsyncIterator[Sidecar]:
    """A sidecar in this process while the context lasts. Port 0 takes a free one. Raises ConfigError: an address cannot be had.

    place: it is one of several workers, listens on the sockets that are `given`, and answers its supervisor's questions.
    """
    metrics, latency = Metrics(routes=configuration.accounts(), providers=configuration.providers), Latency()
    recent = Recent(ticks=None if place is None else common_ticks)
    listeners: list[Observer] = [metrics, latency, recent, *observers, *([] if log is None else [log])]

    def announce(event: Event) -> None:
        for each in listeners:
            each(event)

    async with AsyncExitStack() as stack:
        tracing = await _tracing(stack, configuration.tracing, announce)
        if tracing is not None:
            listeners.append(tracing)
        runtime = Runtime(
            configuration,
            provider_type=provider_type,
            observer=announce,
            place=place,
            secrets=None if log is None else log.secrets,
        )
        server = configuration.server
        ops_urls: tuple[str, ...] = ()
        if place is None:  # before the providers start, which may take a while: whoever probes hears that
            ops_urls = await _listening(stack, create_ops(runtime, metrics), server.ops_listen, "server.ops_listen")
        await stack.enter_async_context(runtime)

        def look() -> Figures:
            dropped = None if log is None else log.dropped
            return replace(runtime.figures(), spans=None if tracing is None else tracing.figures(), log_lines_dropped=dropped)

        metrics.watch(look)
        recent.watch(lambda: runtime.log.transcripts)
        stack.push_async_callback(_ended, asyncio.create_task(watch_loop(announce), name="loop-lag"))
        if place is None:
            urls = await _listening(stack, create_api(runtime, metrics, latency, recent), server.listen, "server.listen")
        else:
            urls = await _handed(stack, create_api(runtime, metrics, latency, recent, together=place.together), given)
            ops_urls = await _listening(stack, create_own(runtime, metrics, recent), (f"unix:{place.own}",), "worker")
        yield Sidecar(runtime, urls, ops_urls)


async def _tracing(stack: AsyncExitStack, settings: TracingSettings | None, announce: Observer) -> Tracing | None:
    if settings is None:
        return None
    from asrproxy.ops.tracing import Tracing

    return await stack.enter_async_context(Tracing(settings, announce=announce))


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _listening(stack: AsyncExitStack, app: web.Application, addresses: Sequence[str], key: str) -> tuple[str, ...]:
    if not addresses:
        return ()
    runner = await _runner(stack, app)
    urls = []
    for address in addresses:
        try:
            urls.append(await listen(runner, address))
            if address.startswith("unix:"):  # uvloop leaves the socket's file behind
                stack.callback(Path(address.removeprefix("unix:")).unlink, missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{key}: cannot listen on {address}: {error.strerror or error}") from error
    return tuple(urls)


async def _handed(stack: AsyncExitStack, app: web.Application, given: Sequence[Handed]) -> tuple[str, ...]:
    runner = await _runner(stack, app)
    for _, each in given:
        await web.SockSite(runner, each, backlog=BACKLOG).start()
    return tuple(url for url, _ in given)


async def _runner(stack: AsyncExitStack, app: web.Application) -> web.AppRunner:
    runtime = app[RUNTIME]
    manners = Manners(lambda: runtime.server.body_timeout, runtime.announce)
    runner = Runner(app, manners, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN, keepalive_timeout=75.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


async def listen(runner: web.AppRunner, address: str) -> str:
    """Listens there; the address as people write it. Raises OSError."""
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        remove_stale(path)
        await web.UnixSite(runner, path, backlog=BACKLOG).start()
        os.chmod(path, 0o660)
        return f"unix:{path}"
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    site = web.TCPSite(runner, host, int(port), backlog=BACKLOG)
    await site.start()
    bound = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    return f"http://{f'[{host}]' if ':' in host else host}:{bound}"


def remove_stale(path: Path) -> None:
    """A socket that a killed process left behind would refuse the address; one that answers is somebody's. Raises OSError then.

    asyncio and uvloop would put ours in its place without a word, and whoever ends first would take the other's away.
    """
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
