"""`asrproxy serve` as a process on a Unix socket, with what it holds as the operating system sees it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.faults.caller import Answer, ask

PROGRAM = str(Path(sys.executable).parent / "asrproxy")
PATIENCE = 60.0
"""Seconds within which anything is done, on any machine."""


@dataclass
class Process:
    """lines: of its log, so far."""

    process: asyncio.subprocess.Process
    file: Path
    socket: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    read: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, body: bytes, **parameters: str) -> Answer:
        async with asyncio.timeout(PATIENCE):
            return await ask(str(self.socket), body, **parameters)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def logged(self, event: str, count: int = 1) -> dict[str, Any]:
        """The `count`th line with that event; waits until it is there."""
        async with asyncio.timeout(PATIENCE):
            while len(found := [line for line in self.lines if line["event"] == event]) < count:
                self.read.clear()
                await self.read.wait()
        return found[count - 1]

    def descriptors(self) -> int:
        return psutil.Process(self.process.pid).num_fds()

    async def settles(self, descriptors: int) -> None:
        """Returns when it holds no more descriptors than that."""
        async with asyncio.timeout(PATIENCE):
            while self.descriptors() > descriptors:
                await asyncio.sleep(0.05)

    async def listen(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.lines.append(json.loads(line))
            self.read.set()


@asynccontextmanager
async def serving(folder: Path, tree: dict[str, Any], *, prefix: Sequence[str] = ()) -> AsyncIterator[Process]:
    """tree: the file, without where it listens. prefix: a command that runs the sidecar."""
    file, socket = folder / "asrproxy.yaml", folder / "api.sock"
    write(file, socket, tree)
    process = await asyncio.create_subprocess_exec(*prefix, PROGRAM, "serve", "-c", str(file), stderr=asyncio.subprocess.PIPE)
    running = Process(process, file, socket)
    listening = asyncio.create_task(running.listen())
    try:
        await running.logged("listening")
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening


def write(file: Path, socket: Path, tree: dict[str, Any]) -> None:
    """As an editor does: a new file in place of the old."""
    whole = tree | {"server": tree.get("server", {}) | {"listen": [f"unix:{socket}"], "ops_listen": []}}
    new = file.with_suffix(".new")
    new.write_text(yaml.safe_dump(whole, allow_unicode=True))
    new.replace(file)
