"""Load on a server: wrk for throughput (closed loop), and an open loop that charges every answer from the moment its request was due."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bench.running import Running

SCRIPT = """
local file = io.open("{body}", "rb"); wrk.body = file:read("*a"); file:close()
wrk.method = "POST"
{headers}
local bad = 0
response = function(status, headers, body) if status ~= 200 then bad = bad + 1 end end
"""


@dataclass(frozen=True, slots=True)
class Throughput:
    """requests: a second, answered 200. cpu: seconds of the server's a request. rss: the server's bytes at the end. p50: seconds."""

    requests: float
    cpu: float
    rss: int
    p50: float


def throughput(
    target: Running, path: str, body: bytes, *, headers: Mapping[str, str], seconds: float, connections: int, warm: float = 2.0
) -> Throughput:
    """What the server answers when it is always asked. Raises SystemExit: an answer was not 200."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    with TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())
        (Path(folder) / "load.lua").write_text(SCRIPT.format(body=f"{folder}/body", headers=lines))

        def run(length: float) -> str:
            command = [
                program, "-t1", f"-c{connections}", f"-d{max(1, round(length))}s", "--latency", "--timeout", "60s",
                "-s", f"{folder}/load.lua", f"{target.url}{path}",
            ]  # fmt: skip
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        run(warm)
        before, began = target.cpu(), time.perf_counter()
        said = run(seconds)
        used, passed = target.cpu() - before, time.perf_counter() - began
    done = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
    if not done or re.search(r"Non-2xx or 3xx responses: [1-9]|Socket errors: .*[1-9]", said):
        raise SystemExit(f"not every answer of {target.process.args!r} was good:\n{said}")
    return Throughput(done / passed, used / done, target.rss(), _seconds(re.search(r"50%\s+([\d.]+\w+)", said)[1]))  # type: ignore[index]


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[unit]


@dataclass(frozen=True, slots=True)
class Open:
    """Seconds from when each request was due to the end of its answer, sorted; and the statuses."""

    seconds: Sequence[float]
    statuses: Counter[int]

    def percentile(self, share: float) -> float:
        return self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


async def open_loop(url: str, body: bytes, *, headers: Mapping[str, str], rate: float, seconds: float) -> Open:
    """Evenly spaced requests whatever the answers do: a server that stalls is charged for everyone who would have come meanwhile."""
    parts = urlsplit(url)
    target = f"{parts.path}{'?' + parts.query if parts.query else ''}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode()
    loop = asyncio.get_running_loop()
    free: list[Connection] = []
    taken: list[float] = []
    statuses: Counter[int] = Counter()

    async def one(due: float) -> None:
        connection = free.pop() if free else await Connection.open(parts.hostname or "", parts.port or 80)
        try:
            statuses[await connection.ask(head, body)] += 1
        except OSError:
            statuses[0] += 1
            connection.close()
            return
        taken.append(loop.time() - due)
        free.append(connection)

    began = loop.time() + 0.05
    async with asyncio.TaskGroup() as calls:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            calls.create_task(one(due))
    for connection in free:
        connection.close()
    return Open(sorted(taken), statuses)


class Connection(asyncio.Protocol):
    """One kept connection: writes a request, takes an answer with a length. reusable: the server has not closed it, or said so."""

    reusable = True

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        _, protocol = await asyncio.get_running_loop().create_connection(cls, host, port)
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._data = bytearray()
        self._answer: asyncio.Future[int] | None = None

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._data[:end]).lower()
        if head.startswith(b"http/1.1 100"):
            del self._data[: end + 4]
            self.data_received(b"")
            return
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else None
        done = self._data.endswith(b"0\r\n\r\n") if length is None else len(self._data) - end - 4 >= length
        if done and self._answer is not None and not self._answer.done():
            self._data.clear()
            self.reusable = self.reusable and b"connection: close" not in head
            self._answer.set_result(int(head.split(b" ", 2)[1]))

    async def ask(self, head: bytes, body: bytes) -> int:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines((head, body))  # type: ignore[attr-defined]
        async with asyncio.timeout(120):
            return await self._answer

    def close(self) -> None:
        self._transport.close()


def pinned(target: Running | None, core: int) -> None:
    """Keeps a server, or this process, on one core, where the machine has more than one."""
    if (os.cpu_count() or 1) < 2:
        return
    pids = [os.getpid()] if target is None else target.pids()
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {core})
