"""A body grows in memory, then on disk, and is freed whatever happens."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asrproxy.audio.spool import Spool
from asrproxy.errors import BodyTimeout, BodyTooLarge, Overloaded


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(memory=1000, folder=tmp_path, limit=100_000)
    yield made
    made.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_small_body_stays_in_memory_and_one_piece_is_not_copied(spool: Spool) -> None:
    chunk = b"x" * 1000
    await spool.write(chunk)
    assert spool.data() is None  # more may come
    spool.finish()
    assert spool.data() is chunk
    assert not spool.spooled


async def test_pieces_are_put_together_once(spool: Spool) -> None:
    for each in (b"ab", b"cd", b"ef"):
        await spool.write(each)
    spool.finish()
    assert spool.data() == b"abcdef"
    assert spool.data() is spool.data()
    assert spool.head(3) == b"abc"


async def test_a_body_in_memory_can_be_given_to_another_process(spool: Spool) -> None:
    await spool.write(b"abc")
    with pytest.raises(ValueError):
        spool.fileno()
    spool.finish()
    assert os.pread(spool.fileno(), 10, 0) == b"abc"
    assert spool.data() == b"abc"


async def test_a_large_body_is_in_a_private_file_that_nobody_can_name(spool: Spool, tmp_path: Path) -> None:
    await spool.write(b"a" * 900)
    await spool.write(b"b" * 900)
    assert spool.spooled
    assert spool.data() is None
    assert spool.head(2) == b"aa"
    assert os.pread(spool.fileno(), 5000, 0) == b"a" * 900 + b"b" * 900
    status = os.fstat(spool.fileno())
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_nlink == 0
    assert list(tmp_path.iterdir()) == []


async def test_the_limit_is_named(spool: Spool) -> None:
    await spool.write(b"x" * 100_000)
    with pytest.raises(BodyTooLarge, match="100000"):
        await spool.write(b"x")
    assert spool.size == 100_000


async def test_a_reader_waits_for_what_is_on_its_way(spool: Spool) -> None:
    reader = asyncio.create_task(spool.grown(5))
    await spool.write(b"12345")
    assert not reader.done()
    await spool.write(b"6")
    await reader
    end = asyncio.create_task(spool.grown(10**9))
    spool.finish()
    await end
    assert spool.complete


async def test_a_reader_is_told_why_no_more_will_come(spool: Spool) -> None:
    reader = asyncio.create_task(spool.grown(5))
    await asyncio.sleep(0)
    spool.fail(BodyTimeout("the caller stopped sending"))
    with pytest.raises(BodyTimeout):
        await reader


async def test_closing_frees_the_file_and_may_be_done_twice(spool: Spool) -> None:
    before = descriptors()
    await spool.write(b"x" * 5000)
    assert descriptors() == before + 1
    spool.close()
    spool.close()
    assert descriptors() == before


async def test_a_writer_who_is_cancelled_leaves_no_file_behind(tmp_path: Path) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    await asyncio.to_thread(int)  # the thread that writes has descriptors of its own
    before = descriptors()
    for turns in range(4):
        spool = Spool(memory=0, folder=tmp_path, limit=10**9)
        writer = asyncio.create_task(spool.write(bytes(4 * 2**20)))
        for _ in range(turns):
            await asyncio.sleep(0)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        spool.close()
    while descriptors() > before:  # the last write ends in its thread; a leak would never end this
        await asyncio.sleep(0.001)


async def test_a_full_disk_is_overload_and_not_a_crash(spool: Spool) -> None:
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # a real refusal of the kernel's: EFBIG
    try:
        await spool.write(b"x" * 40_000)
        with pytest.raises(Overloaded):
            await spool.write(b"x" * 40_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert spool.size == 40_000
