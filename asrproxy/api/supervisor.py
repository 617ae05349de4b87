"""A sidecar of several processes: the supervisor holds the listening sockets and what the workers share, and answers for all of them.

Each worker accepts on a socket of its own (SO_REUSEPORT: the kernel spreads the connections), which the supervisor keeps open: while a
worker that ended is started again, its callers wait in the socket's queue and none is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from aiohttp import ClientError, web

from asrproxy.api.connection import Manners, Runner
from asrproxy.api.private_folder import private_folder
from asrproxy.api.problems import of_aiohttp
from asrproxy.api.recent import Asked, gathered
from asrproxy.api.render import dumped
from asrproxy.api.request import request_id_of
from asrproxy.api.sidecar import BACKLOG, SHUTDOWN, listen, remove_stale
from asrproxy.api.together import TIMEOUT, asked, passed_on
from asrproxy.config.models import Configuration
from asrproxy.cores import cores
from asrproxy.errors import ConfigError
from asrproxy.events import Noted, Observer
from asrproxy.fleet.together import Keeper
from asrproxy.ops.merge import ASKED, merged
from asrproxy.place import Place

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Route = tuple[str, Handler]
RESTART: Final = (0.1, 5.0)
"""Seconds before a worker that ended is started again: at first, and at most; it doubles while they end soon."""
SETTLED: Final = 60.0
"""Seconds after which a worker's end is not taken for a failed start."""
HEARD: Final = 2.0
"""Seconds that a worker gets to say its last requests: a person waits for those of the others."""
GRACE: Final = 5.0
"""Seconds beyond the drain limit after which a worker is killed."""


class Supervisor:
    """Starts `server.workers` workers, starts those that end again, and ends all of them together.

    sockets: for each worker its listening sockets, by address. folder: private to this user; the supervisor's own sockets are in it.
    """

    def __init__(
        self, configuration: Configuration, source: Path | None, sockets: Sequence[Sequence[Bound]], folder: Path, announce: Observer
    ) -> None:
        self._source = source
        self._announce = announce
        self._drain = configuration.server.drain
        self.workers: Final = [Worker(Place(index, len(sockets), folder), each) for index, each in enumerate(sockets)]
        self.draining: Final = asyncio.Event()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self, stop: asyncio.Event) -> int:
        """Until `stop`, then drains. Returns an exit status: 0, or that of a worker which could not start."""
        async with asyncio.TaskGroup() as group:
            keeping = [group.create_task(self._keep(worker)) for worker in self.workers]
            stopping = group.create_task(stop.wait())
            started = group.create_task(self._all_started())
            await asyncio.wait((stopping, self._ended), return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            self.draining.set()
            self.signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._drain + GRACE):
                    await asyncio.gather(*keeping)
            self.signal(signal.SIGKILL)
            await asyncio.gather(*keeping)
            stopping.cancel()
        return self._ended.result() if self._ended.done() else max(abs(worker.status or 0) for worker in self.workers)

    def signal(self, number: signal.Signals) -> None:
        """To every worker that runs."""
        for worker in self.workers:
            if worker.process is not None and worker.process.returncode is None:
                worker.process.send_signal(number)

    async def _all_started(self) -> None:
        for worker in self.workers:
            await worker.ready.wait()
        urls = [bound.url for bound in self.workers[0].bound]
        self._announce(Noted("info", "listening", {"api": urls, "workers": len(self.workers), "config": str(self._source or "built-in")}))

    async def _keep(self, worker: Worker) -> None:
        """Runs a worker again and again until the drain; a first start that fails ends the sidecar."""
        pause = RESTART[0]
        time = asyncio.get_running_loop().time
        while not self.draining.is_set():
            began = time()
            worker.status = await worker.run(self._source)
            if self.draining.is_set():
                return
            if not worker.ready.is_set():
                if not self._ended.done():
                    self._ended.set_result(worker.status or 1)
                return
            worker.restarts += 1
            self._announce(Noted("error", "worker ended", {"worker": worker.place.index, "status": worker.status, "pause": pause}))
            pause = RESTART[0] if time() - began > SETTLED else pause
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.draining.wait()
            pause = min(2 * pause, RESTART[1])


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening socket with its address as people write it."""

    url: str
    socket: socket.socket


@dataclass(slots=True)
class Worker:
    """One worker's process, now or soon again. ready: it has listened once. status: of the process that ended last."""

    place: Place
    bound: Sequence[Bound]
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    restarts: int = 0
    status: int | None = None

    async def run(self, source: Path | None) -> int:
        """Until it ends; its exit status."""
        reads, writes = os.pipe()
        try:
            order = {
                **{name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.place).items()},
                "config": None if source is None else str(source),
                "sockets": [[each.url, each.socket.fileno()] for each in self.bound],
                "ready": writes,
                "supervisor": os.getpid(),
            }
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "asrproxy.api.worker", json.dumps(order),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(writes, *(each.socket.fileno() for each in self.bound)),
                start_new_session=True,  # Ctrl-C is the supervisor's to handle
            )  # fmt: skip
        except BaseException:
            os.close(reads)
            raise
        finally:
            os.close(writes)
        pipe = await _reader(reads)
        try:
            if await pipe.read(1):
                self.ready.set()
            return await self.process.wait()
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb"))
    return reader


async def supervise(configuration: Configuration, source: Path | None, stop: asyncio.Event, hup: asyncio.Event, log: Observer) -> int:
    """A sidecar of `server.workers` processes until `stop`; `hup` is passed on. Raises ConfigError: an address cannot be had."""
    server = configuration.server
    count = server.workers or cores()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(private_folder())
        sockets = stack.enter_context(_Sockets(server.listen, count)).bound
        await stack.enter_async_context(Keeper(folder / "fleet.sock"))
        supervisor = Supervisor(configuration, source, sockets, folder, log)
        await stack.enter_async_context(_answering(supervisor, server.ops_listen, folder, Manners(lambda: server.body_timeout, log)))
        passing = asyncio.create_task(_pass_on(supervisor, hup))
        stack.callback(passing.cancel)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, supervisor.signal, signal.SIGUSR1)  # the workers are what hangs
        return await supervisor.run(stop)


async def _pass_on(supervisor: Supervisor, hup: asyncio.Event) -> None:
    while True:
        await hup.wait()
        hup.clear()
        supervisor.signal(signal.SIGHUP)


class _Sockets:
    """The listening sockets of all workers; the files of unix ones are removed at the end. Raises ConfigError."""

    def __init__(self, addresses: Sequence[str], workers: int) -> None:
        self.bound: Final[list[list[Bound]]] = [[] for _ in range(workers)]
        self._paths: list[Path] = []
        try:
            for address in addresses:
                try:
                    self._bind(address)
                except OSError as error:
                    raise ConfigError(f"server.listen: cannot listen on {address}: {error.strerror or error}") from error
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> _Sockets:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _bind(self, address: str) -> None:
        if address.startswith("unix:"):
            path = Path(address.removeprefix("unix:"))
            remove_stale(path)
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            bound = Bound(f"unix:{path}", one)
            self.bound[0].append(bound)  # before anything can fail: closed with the others
            one.bind(str(path))
            self._paths.append(path)
            path.chmod(0o660)
            one.listen(BACKLOG)
            for each in self.bound[1:]:
                each.append(bound)
            return
        host, _, port = address.rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, target in dict.fromkeys(found):
            where = target
            for each in self.bound:
                one = socket.socket(family, kind, protocol)
                url = f"http://{f'[{host}]' if ':' in host else host}"
                each.append(Bound(url, one))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind(where)
                where = one.getsockname()  # port 0 becomes one port for all
                one.listen(BACKLOG)
                each[-1] = Bound(f"{url}:{where[1]}", one)

    def _close(self) -> None:
        for each in self.bound:
            for bound in each:
                bound.socket.close()
        for path in self._paths:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def _answering(supervisor: Supervisor, addresses: Sequence[str], folder: Path, manners: Manners) -> AsyncIterator[None]:
    """Health and metrics of the whole sidecar on the ops addresses; the same, and the last requests, for the workers' API ports."""
    answers = _Answers(supervisor)
    public: list[Route] = [("/livez", answers.livez), ("/readyz", answers.readyz), ("/metrics", answers.metrics)]
    try:
        async with (
            _listening([*public, ("/v1/recent", answers.recent)], (f"unix:{folder / 'ops.sock'}",), manners),
            _listening(public, addresses, manners),
        ):
            yield
    finally:
        _remove(addresses)


@asynccontextmanager
async def _listening(routes: Sequence[Route], addresses: Sequence[str], manners: Manners) -> AsyncIterator[None]:
    app = web.Application(middlewares=[_shaped])
    for path, handler in routes:
        app.router.add_get(path, handler)
    runner = Runner(app, manners, access_log=None, shutdown_timeout=SHUTDOWN)
    await runner.setup()
    try:
        for address in addresses:
            try:
                await listen(runner, address)
            except OSError as error:
                raise ConfigError(f"server.ops_listen: cannot listen on {address}: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()


def _remove(addresses: Sequence[str]) -> None:
    """The files of unix sockets: uvloop leaves them behind."""
    for address in addresses:
        if address.startswith("unix:"):
            Path(address.removeprefix("unix:")).unlink(missing_ok=True)


class _Answers:
    """The handlers."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def livez(self, request: web.Request) -> web.Response:
        """Every worker's loop turns; one that is being started again is the supervisor's to care for."""
        answers = await self._ask("/livez", only_ready=True)
        stuck = [str(index) for index, answer in answers if answer is None]
        if stuck:
            return _json({"status": "not live", "reason": f"no answer from worker {', '.join(stuck)}"}, 503)
        return _json({"status": "live"})

    async def readyz(self, request: web.Request) -> web.Response:
        """A worker can answer."""
        if self._supervisor.draining.is_set():
            return _json({"status": "not ready", "reason": "draining"}, 503)
        answers = await self._ask("/readyz")
        if any(answer is not None and answer[0] == 200 for _, answer in answers):
            return _json({"status": "ready"})
        reasons = {json.loads(answer[1])["reason"] for _, answer in answers if answer is not None}
        return _json({"status": "not ready", "reason": "; ".join(sorted(reasons)) or "the workers are being started"}, 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """All workers' together."""
        answers = await self._ask("/metrics", {"Accept": ASKED})
        texts = [(index, answer[1].decode()) for index, answer in answers if answer is not None and answer[0] == 200]
        body, content_type = merged(texts, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def recent(self, request: web.Request) -> web.Response:
        """All workers' last requests in one order; `unheard` are those that do not say theirs."""
        answers = await self._ask(request.path_qs, passed_on(request), HEARD)
        said = {index: json.loads(answer[1]) for index, answer in answers if answer is not None and answer[0] == 200}
        return _json(gathered(said, Asked.of(request)) | {"unheard": [index for index, _ in answers if index not in said]})

    async def _ask(
        self, path: str, headers: Mapping[str, str] = MappingProxyType({}), timeout: float = TIMEOUT, *, only_ready: bool = False
    ) -> list[tuple[int, tuple[int, bytes, str] | None]]:
        """Each worker's answer, None: it gave none."""
        workers = [
            worker
            for worker in self._supervisor.workers
            if not only_ready or (worker.ready.is_set() and worker.process is not None and worker.process.returncode is None)
        ]

        async def one(worker: Worker) -> tuple[int, tuple[int, bytes, str] | None]:
            try:
                return worker.place.index, await asked(worker.place.own, path, headers, timeout)
            except (OSError, ClientError, TimeoutError):
                return worker.place.index, None

        return await asyncio.gather(*(one(worker) for worker in workers))


@web.middleware
async def _shaped(request: web.Request, handler: Handler) -> web.StreamResponse:
    request_id = request_id_of(request)
    try:
        response = await handler(request)
    except web.HTTPException as error:
        _, response = of_aiohttp(error, request, request_id)
    response.headers["X-Request-Id"] = request_id
    return response


def _json(body: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=dumped(body), content_type="application/json")
