"""Large uploads do not sit in memory, and what they were spooled to is gone afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil

from tests.lifecycle.test_lifecycle_process import serving

CALLERS, MEBIBYTES = 5, 30


async def test_slow_large_uploads_are_on_disk_and_not_in_memory(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (tmp_path / "asrproxy.yaml").write_text(
        f'server: {{listen: ["unix:{tmp_path}/api.sock"], ops_listen: ["unix:{tmp_path}/ops.sock"], spool_dir: {spool}}}\n'
        "providers: {tones: {type: fake}}\n"
    )
    async with serving(tmp_path) as running:
        sidecar = psutil.Process(running.process.pid)
        before = sidecar.memory_info().rss
        writers = []
        for _ in range(CALLERS):
            _, writer = await asyncio.open_unix_connection(str(tmp_path / "api.sock"))
            writers.append(writer)
            writer.write(b"POST /v1/recognize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000000\r\n\r\n")
            # An MP4 is decoded only when all of it is there.
            writer.write(b"\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00M4A mp42")
            for _ in range(MEBIBYTES):
                writer.write(bytes(2**20))
                await writer.drain()
        while spooled(sidecar) < CALLERS * (MEBIBYTES - 1) * 2**20:
            await asyncio.sleep(0.05)
        assert sidecar.memory_info().rss - before < 40 * 2**20
        for writer in writers:
            writer.close()
        while spooled(sidecar):
            await asyncio.sleep(0.05)
        assert not list(spool.iterdir())


def spooled(sidecar: psutil.Process) -> int:
    """Bytes of the deleted files that the process still holds open."""
    total = 0
    for each in Path(f"/proc/{sidecar.pid}/fd").iterdir():
        try:
            if "(deleted)" in str(each.readlink()):
                total += each.stat().st_size
        except FileNotFoundError:
            continue
    return total
