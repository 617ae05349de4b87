"""The fault table, a full disk: who does not fit is told to come back, everybody else is served, and nothing stays on the disk."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from pathlib import Path

import pytest

from asrproxy_aliyun.emulator import Emulator
from tests.faults.process import serving
from tests.faults.world import LONGER, TEXT, WAV, configured

ROOM = 2 * 2**20
TOO_LARGE = WAV[:40] + bytes(2 * ROOM)


def no_room(folder: Path, how: str) -> list[str]:
    """A command that runs another with no room for more than ROOM bytes in the folder."""
    if how == "limit":
        return ["sh", "-c", f'ulimit -f {ROOM // 512} && exec "$@"', "sh"]
    mounting = f'mount -t tmpfs -o size={ROOM} spool {shlex.quote(str(folder))} && exec "$@"'
    for unshare in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        command = [*unshare, "sh", "-c", mounting, "sh"]
        try:
            if subprocess.run([*command, "true"], check=False, capture_output=True, timeout=30).returncode == 0:
                return command
        except OSError:
            break
    pytest.skip("a small file system cannot be mounted here: unshare and mount are not permitted")


@pytest.mark.parametrize("how", ["file system", "limit"])
async def test_a_full_disk_refuses_what_does_not_fit_and_serves_the_rest(tmp_path: Path, how: str) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    async with Emulator() as cloud:
        tree = configured(cloud, spool, server={"spool_memory": "64KiB", "body_timeout": "20s"}, policy={"timeout": "20s"})
        async with serving(tmp_path, tree, prefix=no_room(spool, how)) as running:
            assert (await running.ask(LONGER)).body["text"] == TEXT
            before = running.descriptors()

            large = [asyncio.create_task(running.ask(TOO_LARGE)) for _ in range(4)]
            small = await asyncio.gather(*(running.ask(WAV) for _ in range(4)))
            answers = await asyncio.gather(*large)

            assert [each.body.get("text") for each in small] == [TEXT] * 4
            assert [each.code for each in answers] == ["overloaded"] * 4
            assert all("disk" in each.body["error"]["message"] and each.body["error"]["retryable"] for each in answers)
            await running.settles(before)
            assert (await running.ask(LONGER)).body["text"] == TEXT
            assert not list(spool.iterdir())
