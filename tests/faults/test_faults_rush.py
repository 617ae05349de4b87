"""The fault table, a rush: what many requests at once took is given back when they are over, also while others go on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from asrproxy.testing import tones
from tests.faults.process import PATIENCE, serving

CALLERS = 200
FEW = 50
WAV = tones.to_wav(tones.compose(["天地玄黄", 8.0], lead=0.2, tail=0.2).render(), 16_000)
TREE = {
    "providers": {"tones": {"type": "fake", "latency": "3s"}, "slow": {"type": "fake", "latency": "45s"}},
    "routes": {"default": {"providers": ["tones"]}, "slow": {"providers": ["slow"]}},
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
        taken = _most(process) - before
        assert taken > len(WAV) * CALLERS / 2, "a rush that is worth the while"
        async with asyncio.timeout(PATIENCE):
            while process.memory_info().rss - before > taken / 2:
                await asyncio.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc's allocator")
async def test_a_sidecar_that_is_never_at_rest_gives_back_what_a_worse_moment_took(tmp_path: Path) -> None:
    async with serving(tmp_path, TREE) as running:
        process = psutil.Process(running.process.pid)
        assert (await running.ask(WAV)).outcome == "ok"
        before = process.memory_info().rss
        goes_on = asyncio.create_task(running.ask(WAV, route="slow"))
        try:
            answers = await asyncio.gather(*(running.ask(WAV) for _ in range(FEW)))
            assert {each.outcome for each in answers} == {"ok"}
            taken = _most(process) - before
            assert taken > len(WAV) * FEW / 2
            async with asyncio.timeout(PATIENCE):
                while process.memory_info().rss - before > taken / 2:
                    assert not goes_on.done(), "it was given back at rest only"
                    await asyncio.sleep(0.1)
        finally:
            goes_on.cancel()
            await asyncio.gather(goes_on, return_exceptions=True)


def _most(process: psutil.Process) -> int:
    """Bytes of its memory when that was largest."""
    (line,) = (each for each in Path(f"/proc/{process.pid}/status").read_text().splitlines() if each.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
