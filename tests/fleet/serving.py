"""A real redis-server that can be stopped, frozen, filled and started again; and fleets that use it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asrproxy.config.models import SharedSettings
from asrproxy.events import Event, Noted
from asrproxy.fleet.fleet import Fleet
from asrproxy.fleet.rate import SharedRate
from asrproxy.fleet.redis import redis_ground
from asrproxy.fleet.scripts import Ground


class Server:
    """redis-server on a Unix socket. options: more of its command line, such as a port."""

    def __init__(self, program: str, folder: Path, *options: str) -> None:
        self._program, self._socket, self._options = program, folder / "redis.sock", options
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            self._program, "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no",
            *self._options, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        while b"ready to accept connections" not in await self._process.stdout.readline():
            assert self._process.returncode is None

    async def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.kill()
            await self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def command(self, *words: str | int) -> bytes:
        """What redis-server answers, as it came over the wire."""
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            encoded = [str(word).encode() for word in words]
            writer.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
            writer.write(b"*2\r\n$4\r\nECHO\r\n$7\r\n--end--\r\n")
            return (await reader.readuntil(b"$7\r\n--end--\r\n"))[:-13]
        finally:
            writer.close()

    async def everything(self) -> bytes:
        """Every key with its value."""
        keys = [line.decode() for line in (await self.command("KEYS", "*")).split(b"\r\n") if line[:1] not in (b"*", b"$", b"")]
        return b"\n".join([key.encode() + await self.command("DUMP", key) for key in keys])


@asynccontextmanager
async def redis_server(*options: str) -> AsyncIterator[Server]:
    """A server that runs, or the test is skipped."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with tempfile.TemporaryDirectory(prefix="fleet") as folder:  # a socket's path must be short
        server = Server(program, Path(folder), *options)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


def free_port() -> int:
    """A port for a process to come: below those that the system hands out, so that nobody who asks it for one is given this meanwhile."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):  # somebody has it
            probe.bind(("127.0.0.1", random.randrange(max(1024, lowest // 2), max(lowest, 2**15))))
            return int(probe.getsockname()[1])


class Sidecar:
    """A fleet's member with one rate, and what it announced."""

    def __init__(
        self, where: str | Ground, *, rate: float = 300.0, burst: int = 6, secret: str | None = None, timeout: float = 0.25, **shared: str
    ) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._where, self._shared = where, {"secret": secret, "timeout": timeout, **shared}
        self._rate, self._burst = rate, burst
        self.fleet: Fleet
        self.rate: SharedRate

    async def __aenter__(self) -> Sidecar:
        ground = self._where
        if isinstance(ground, str):
            ground = await redis_ground(SharedSettings.model_validate({"redis": ground, **self._shared}))
        self.fleet = Fleet(ground, announce=self.events.put_nowait)
        await self.fleet.__aenter__()
        self.rate = self.fleet.rate("aliyun", rate=self._rate, burst=self._burst)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.fleet.aclose()

    async def permit(self) -> float:
        """Waits as admission does; the moment at which it had one."""
        time = asyncio.get_running_loop().time
        while wait := self.rate.wait(time()):
            await asyncio.sleep(wait)
        self.rate.take(now := time())
        return now

    async def noted(self, words: str) -> None:
        while not (isinstance(event := await self.events.get(), Noted) and words in event.event):
            pass

    async def counts(self, sidecars: int) -> None:
        """Returns when it knows that there are so many; it finds out with its next round trip."""
        while self.rate.sidecars != sidecars or self.rate.local:
            await self.permit()


async def permits(sidecars: list[Sidecar], count: int) -> list[float]:
    """The moments of `count` permits that the sidecars took between them, each as fast as it could."""
    return await Taking().until(sidecars, count)


class Taking:
    """Sidecars that take every permit that they get."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self._more = asyncio.Event()

    async def next(self, count: int) -> list[float]:
        """The moments of the next `count` permits."""
        start = len(self.moments)
        while len(self.moments) < start + count:
            self._more.clear()
            await self._more.wait()
        return sorted(self.moments[start:])

    async def until(self, sidecars: list[Sidecar], count: float) -> list[float]:
        """Takes until there are `count`."""

        async def take(sidecar: Sidecar) -> None:
            while len(self.moments) < count:
                self.moments.append(await sidecar.permit())
                self._more.set()

        async with asyncio.TaskGroup() as tasks:
            for sidecar in sidecars:
                tasks.create_task(take(sidecar))
        return sorted(self.moments)


def most_over(moments: list[float], *, rate: float) -> float:
    """By how many calls the busiest stretch of any length went over the rate: what a burst must not exceed."""
    lead, lowest = 0.0, 0.0
    for place, moment in enumerate(moments):
        ahead = place - (moment - moments[0]) * rate
        lowest = min(lowest, ahead)
        lead = max(lead, ahead + 1 - lowest)
    return lead
