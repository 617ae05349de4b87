"""The fault table, a rush: what many requests at once took is given back when they are over."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from asrproxy.testing import tones
from tests.faults.process import PATIENCE, serving

CALLERS = 200
WAV = tones.to_wav(tones.compose(["天地玄黄", 8.0], lead=0.2, tail=0.2).render(), 16_000)
TREE = {
    "providers": {"tones": {"type": "fake", "latency": "3s"}},
    "policy": {"limits": {"rate": None, "concurrency": CALLERS}, "timeout": "60s", "attempt_timeout": "50s"},
}


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc's allocator")
async def test_a_sidecar_is_small_again_after_a_rush(tmp_path: Path) -> None:
    async with serving(tmp_path, TREE) as running:
        process = psutil.Process(running.process.pid)
        assert (await running.ask(WAV)).outcome == "ok"
        before = process.memory_info().rss

        answers = await asyncio.gather(*(running.ask(WAV) for _ in range(CALLERS)))
        assert {each.outcome for each in answers} == {"ok"}
        taken = process.memory_info().rss - before
        assert taken > len(WAV) * CALLERS / 2, "a rush that is worth the while"
        async with asyncio.timeout(PATIENCE):
            while process.memory_info().rss - before > taken / 2:
                await asyncio.sleep(0.1)
