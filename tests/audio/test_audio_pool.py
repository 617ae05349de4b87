"""Decoder processes are few, ended when idle, and lost one at a time."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import psutil
import pytest

from asrproxy.audio.decode import Block, Decoders, RawFormat
from asrproxy.audio.spool import Spool
from asrproxy.errors import BodyTimeout, Draining, InvalidAudio
from asrproxy.events import Event, Noted
from asrproxy.model import AudioFormat
from asrproxy.testing import tones
from tests.audio.audio_encoding import TEXT, recording, samples, wav

Make = Callable[..., Decoders]
RATE = AudioFormat(16_000)
SHORT = recording("mp3-mono-8000")
LONG = wav(bytes(2 * 22_050 * 240), 22_050)  # 4 minutes that have to be resampled


@asynccontextmanager
async def blocks_of(decoders: Decoders, data: bytes = LONG, whole: float = 2.0) -> AsyncIterator[AsyncIterator[Block]]:
    body = Spool.of(data)
    try:
        async with decoders.decode(body, RATE, raw=None, whole=whole, longest=inf) as blocks:
            yield blocks
    finally:
        body.close()


async def short(decoders: Decoders) -> str:
    async with blocks_of(decoders, SHORT, whole=60.0) as blocks:
        [block] = [each async for each in blocks]
    return tones.text_of(tones.decode(block.pcm, 16_000))


def pids(decoders: Decoders) -> list[int]:
    status: Any = decoders.status()
    return [*status["busy"], *status["idle"]]


async def gone(pid: int) -> None:
    """A process that stays makes the test's time limit fail it."""
    while psutil.pid_exists(pid):
        await asyncio.sleep(0.005)


@pytest.fixture
async def decoders(make_pool: Make) -> AsyncIterator[Decoders]:
    made = make_pool()
    yield made
    await made.aclose()
    for pid in pids(made):
        assert not psutil.pid_exists(pid)


async def test_a_crash_costs_its_own_request_only(make_pool: Make) -> None:
    events: list[Event] = []
    decoders = make_pool(workers=2, announce=events.append)
    async with blocks_of(decoders) as other:
        await anext(other)
        [spared] = pids(decoders)
        async with blocks_of(decoders) as blocks:
            await anext(blocks)
            [lost] = set(pids(decoders)) - {spared}
            os.kill(lost, signal.SIGSEGV)
            more: list[Block] = []
            with pytest.raises(InvalidAudio, match=r"crashed.*SIGSEGV"):
                await _all(blocks, more)
        assert len(more) < 60  # of 239: it had not run far ahead of us
        assert await short(decoders) == TEXT
        assert len([block async for block in other]) >= 239
    assert [event.event for event in events if isinstance(event, Noted)] == ["decoder_crashed"]
    assert decoders.status()["crashed"] == 1
    await decoders.aclose()


async def test_a_hang_is_ended_with_its_process(make_pool: Make) -> None:
    decoders = make_pool(timeout=2.0)
    async with blocks_of(decoders) as blocks:
        await anext(blocks)
        [pid] = pids(decoders)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(InvalidAudio, match="2 s"):
            await _all(blocks)
    await gone(pid)
    assert decoders.status()["hung"] == 1
    assert await short(decoders) == TEXT
    await decoders.aclose()


async def test_a_process_that_died_in_its_sleep_costs_nobody_anything(decoders: Decoders) -> None:
    await short(decoders)
    [pid] = pids(decoders)
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    assert await short(decoders) == TEXT
    assert decoders.status()["crashed"] == 0


async def test_a_slow_taker_is_not_a_hang(make_pool: Make) -> None:
    decoders = make_pool(timeout=2.0)
    count = 0
    async with blocks_of(decoders) as blocks:
        async for _ in blocks:
            count += 1
            if count == 3:
                await asyncio.sleep(3.0)  # time that passes is what this is about
    assert count >= 240
    assert decoders.status()["hung"] == 0
    await decoders.aclose()


async def test_a_slow_sender_is_not_a_hang_and_what_is_there_is_decoded(make_pool: Make, tmp_path: Path) -> None:
    decoders = make_pool(timeout=2.0)
    body = Spool(memory=2**18, folder=tmp_path, limit=2**30)
    await body.write(LONG[: 2**20])
    async with decoders.decode(body, RATE, raw=None, whole=2.0, longest=inf) as blocks:
        first = await anext(blocks)
        assert not body.complete
        rest = asyncio.create_task(_all(blocks))
        await asyncio.sleep(3.0)  # time that passes is what this is about
        await body.write(LONG[2**20 :])
        body.finish()
        pcm = first.pcm + b"".join([block.pcm for block in await rest])
    body.close()
    assert len(pcm) / 32_000 == pytest.approx(240, abs=0.01)
    await decoders.aclose()


async def _all(blocks: AsyncIterator[Block], taken: list[Block] | None = None) -> list[Block]:
    taken = [] if taken is None else taken
    async for block in blocks:
        taken.append(block)
    return taken


async def test_a_sender_who_gives_up_is_told_as_such(decoders: Decoders, tmp_path: Path) -> None:
    body = Spool(memory=2**18, folder=tmp_path, limit=2**30)
    await body.write(LONG[: 2**20])
    async with decoders.decode(body, RATE, raw=None, whole=2.0, longest=inf) as blocks:
        await anext(blocks)
        body.fail(BodyTimeout("the caller stopped sending"))
        with pytest.raises(BodyTimeout):
            await _all(blocks)
    body.close()
    assert await short(decoders) == TEXT


async def test_an_index_at_the_end_is_waited_for_without_holding_a_process(decoders: Decoders, tmp_path: Path) -> None:
    data = recording("m4a-stereo-48000", TEXT * 4)
    body = Spool(memory=100, folder=tmp_path, limit=2**30)
    await body.write(data[:-100])

    async def whole() -> bytes:
        async with decoders.decode(body, RATE, raw=None, whole=60.0, longest=inf) as blocks:
            return b"".join([block.pcm async for block in blocks])

    waiting = asyncio.create_task(whole())
    assert await short(decoders) == TEXT
    assert decoders.status()["busy"] == []
    await body.write(data[-100:])
    body.finish()
    assert tones.text_of(tones.decode(await waiting, 16_000)) == TEXT * 4
    body.close()


async def test_a_request_that_is_given_up_takes_its_process_with_it(decoders: Decoders) -> None:
    async with blocks_of(decoders) as blocks:
        await anext(blocks)
        [pid] = pids(decoders)
    await gone(pid)

    async def hold() -> None:
        async with blocks_of(decoders) as held:
            await anext(held)
            begun.set_result(None)
            await asyncio.Event().wait()

    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(hold())
    await begun
    [pid] = pids(decoders)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await gone(pid)
    assert pids(decoders) == []


async def test_processes_are_reused_and_bounded(make_pool: Make) -> None:
    decoders = make_pool(workers=2)
    assert set(await asyncio.gather(*(short(decoders) for _ in range(12)))) == {TEXT}
    assert decoders.status()["started"] == 2
    await decoders.aclose()


async def test_an_idle_process_is_ended(make_pool: Make) -> None:
    decoders = make_pool(idle=0.05)
    await short(decoders)
    [pid] = pids(decoders)
    await gone(pid)
    assert pids(decoders) == []
    assert await short(decoders) == TEXT
    await decoders.aclose()


async def test_processes_of_a_rush_of_long_recordings_are_not_kept(decoders: Decoders) -> None:
    async with blocks_of(decoders) as one, blocks_of(decoders) as two, blocks_of(decoders) as three:
        for each in (one, two, three):
            await anext(each)  # all three are at work, however quick one is
        assert decoders.status()["started"] == 3
        assert min([len(await _all(each)) for each in (one, two, three)]) >= 239
    assert len(pids(decoders)) == 1


async def test_a_short_recording_does_not_wait_for_long_ones(decoders: Decoders) -> None:
    """One worker; four long recordings are held by takers who take nothing, and a fifth waits for its turn."""
    async with blocks_of(decoders) as one, blocks_of(decoders) as two, blocks_of(decoders) as three:
        async with blocks_of(decoders) as four:
            for each in (one, two, three, four):
                await anext(each)
            fifth = asyncio.create_task(_fifth(decoders))
            assert await short(decoders) == TEXT
            assert await short(decoders) == TEXT
            assert not fifth.done()
        assert await fifth >= 240  # its turn came when the fourth was given up


async def _fifth(decoders: Decoders) -> int:
    async with blocks_of(decoders) as blocks:
        return len(await _all(blocks))


async def test_memory_is_bounded(make_pool: Make) -> None:
    decoders = make_pool(memory=2**22)
    async with blocks_of(decoders, whole=600.0) as blocks:
        with pytest.raises(InvalidAudio, match="memory"):
            await _all(blocks)  # 7.7 MB in one block
    assert await short(decoders) == TEXT
    await decoders.aclose()


async def test_closing_ends_what_is_under_way(decoders: Decoders) -> None:
    async with blocks_of(decoders) as blocks:
        await anext(blocks)
        [pid] = pids(decoders)
        rest = asyncio.create_task(_all(blocks))
        await asyncio.sleep(0)
        await decoders.aclose()
        with pytest.raises(Draining):
            await rest
    await gone(pid)
    with pytest.raises(Draining):
        await short(decoders)


SCRIPT = """
import asyncio, sys
from asrproxy.audio.decode import Decoders
from asrproxy.audio.spool import Spool
from asrproxy.model import AudioFormat

async def main():
    decoders = Decoders(decoder="auto", workers=1, idle=60, timeout=20, memory=2**29)
    async with decoders.decode(Spool.of(sys.stdin.buffer.read()), AudioFormat(16000), raw=None, whole=60, longest=60) as blocks:
        seconds = [len(block.pcm) / 32000 async for block in blocks]
    print(seconds, "av" in sys.modules, "numpy" in sys.modules, decoders.status()["idle"][0], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_main_process_never_imports_the_decoder_and_leaves_no_orphan() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(SHORT)
    process.stdin.close()
    *_, av, numpy, pid = (await process.stdout.readline()).decode().split()
    assert (av, numpy) == ("False", "False")
    assert psutil.pid_exists(int(pid))
    process.kill()
    await process.wait()
    await gone(int(pid))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")
async def test_without_the_wheel_auto_is_the_program(make_pool: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "av.py").write_text("raise ImportError('no wheel for this platform')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    decoders = make_pool("auto")
    assert await short(decoders) == TEXT
    assert decoders.status()["decoder"] == "pydub"
    await decoders.aclose()
    with pytest.raises(RuntimeError, match="no wheel"):
        await short(make_pool("av"))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")
async def test_the_program_ends_with_its_request(make_pool: Make) -> None:
    decoders = make_pool("pydub")
    async with blocks_of(decoders) as blocks:
        await anext(blocks)
        [pid] = pids(decoders)
        [program] = psutil.Process(pid).children()
    await gone(pid)
    await gone(program.pid)
    await decoders.aclose()


@pytest.mark.parametrize("decoder", ["av", "pydub"])
async def test_what_one_process_decodes_in_turn_is_what_new_ones_would(make_pool: Make, decoder: str) -> None:
    """Longer and shorter, with a header and without, more than a page holds before and after decoding: nothing of one is in the next."""
    noise = random.Random(7)
    lengths = ((44_100, 6.0), (8_000, 0.3), (22_050, 60.0), (8_000, 130.0), (48_000, 0.1), (44_100, 5.9))
    kept = make_pool(decoder)
    try:
        for rate, seconds in lengths:
            pcm, form = noise.randbytes(2 * int(rate * seconds)), RawFormat("pcm_s16le", rate)
            fresh = make_pool(decoder)
            assert await alone(kept, pcm, form) == await alone(fresh, pcm, form)
            await fresh.aclose()
            assert await short(kept) == TEXT
        assert kept.status()["started"] == 1
    finally:
        await kept.aclose()


async def test_a_body_that_cannot_be_handed_over_keeps_no_process(decoders: Decoders) -> None:
    body = Spool.of(SHORT)
    async with decoders.decode(body, RATE, raw=RawFormat("pcm_s16le", 8_000), whole=inf, longest=inf) as blocks:
        body.close()
        with pytest.raises(ValueError, match="closed"):
            await anext(blocks)
    status: Any = decoders.status()
    assert status["busy"] == []
    assert await short(decoders) == TEXT


async def alone(decoders: Decoders, pcm: bytes, form: RawFormat) -> bytes:
    body = Spool.of(pcm)
    try:
        async with decoders.decode(body, RATE, raw=form, whole=inf, longest=inf) as blocks:
            return b"".join([block.pcm async for block in blocks])
    finally:
        body.close()


async def test_a_long_recording_does_not_grow_the_process(decoders: Decoders) -> None:
    """Half an hour, in and out: 58 MB of samples pass, the process stays as it was after two minutes."""
    voice = (samples(16_000) * 32767).astype("<i2").tobytes()
    data = wav((voice * 1300)[: 2 * 16_000 * 1800], 16_000)
    early, process = 0, None
    async with blocks_of(decoders, data) as blocks:
        number = 0
        async for _ in blocks:
            number += 1
            if number == 120:
                process = psutil.Process(pids(decoders)[0])
                early = process.memory_info().rss
            if number == 1700 and process is not None:
                assert process.memory_info().rss < early + 8 * 2**20
    assert number >= 1800
