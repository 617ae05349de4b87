"""The fault table, a crowd: long recordings beside many short ones. The short ones do not wait for them, nothing is lost or kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psutil
from aiohttp import ClientSession, UnixConnector

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.faults.caller import Answer
from tests.faults.process import PATIENCE, Process, serving
from tests.faults.world import TEXT, WAV, configured

LONG, SHORT = 10, 100
SAYINGS = 40
PAUSE = 16.0
"""Seconds between two sayings: a recording of 11 minutes, the longest here that is taken. Four hours: `python -m bench.crowd`."""
AT_ONCE = 8
SEGMENT = 20
RATE = 16_000
LONGEST = tones.to_wav(tones.compose([TEXT, PAUSE], lead=0.2, tail=0.2).render(RATE) * SAYINGS, RATE)
SIDE_BY_SIDE = 2
"""Segments of one recording that are under way at a time."""
HELD = LONG * (SIDE_BY_SIDE + 1) * SEGMENT * RATE * 2
"""Bytes of samples that the limits let the sidecar hold: what is under way, and the piece that waits for its place."""
BESIDE = 48 * 2**20
"""Bytes for 110 connections and what is on its way between socket, disk and decoder."""


async def test_a_hundred_short_recordings_do_not_wait_for_ten_of_the_longest(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    settings: dict[str, Any] = {
        "server": {"spool_memory": "64KiB", "body_timeout": "60s", "max_audio": "12m", "audio": {"idle": "100ms"}},
        "policy": {
            "timeout": "300s",
            "attempt_timeout": "200s",
            "limits": {"rate": None, "concurrency": AT_ONCE, "queue_timeout": "200s"},
            "long_audio": {"max_segment": f"{SEGMENT}s", "concurrency": SIDE_BY_SIDE, "remember": {"enabled": False}},
        },
    }
    async with Emulator() as cloud, serving(tmp_path, configured(cloud, spool, **settings)) as running:
        assert (await running.ask(WAV)).outcome == "ok"
        process = psutil.Process(running.process.pid)
        descriptors, memory = running.descriptors(), peak(process)
        cloud.hold_answers()
        ended: list[str] = []

        async def caller(kind: str, body: bytes) -> Answer:
            answer = await running.ask(body)
            ended.append(kind)
            return answer

        long = [asyncio.create_task(caller("long", LONGEST)) for _ in range(LONG)]
        await cloud.calls_in_flight(AT_ONCE)  # every permit is theirs
        short = [asyncio.create_task(caller("short", WAV)) for _ in range(SHORT)]
        await queued(running, SHORT)
        cloud.release_answers()

        answers = await asyncio.gather(*short, *long)

        assert [each.body.get("text", each.body) for each in answers] == [TEXT] * SHORT + [TEXT * SAYINGS] * LONG
        assert ended == ["short"] * SHORT + ["long"] * LONG
        assert len(cloud.calls) == 1 + SHORT + sum(len(each.body["segments"]) for each in answers[SHORT:]), "nothing was asked twice"
        assert len(LONGEST) * LONG > 2 * (HELD + BESIDE), "else the next line says nothing"
        assert peak(process) - memory < HELD + BESIDE
        await running.settles(descriptors)
        assert not list(spool.iterdir())
        while process.children():
            await asyncio.sleep(0.05)
        assert (await running.ask(WAV)).outcome == "ok"


async def queued(running: Process, count: int) -> None:
    """Returns when so many short recordings wait for a permit."""
    async with asyncio.timeout(PATIENCE), ClientSession(connector=UnixConnector(str(running.socket))) as session:
        while True:
            status = await (await session.get("http://localhost/v1/status")).json()
            if status["providers"]["aliyun"]["limiter"]["queued"]["short"] == count:
                return
            await asyncio.sleep(0.05)


def peak(process: psutil.Process) -> int:
    """Bytes of memory that it has had at most."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
