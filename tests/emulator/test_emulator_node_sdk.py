"""The vendor's own Node client, unmodified, cannot tell the emulator from the cloud."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Scripted

FOLDER = Path(__file__).parent / "node"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="there is no node on this machine"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules" / "alibabacloud-nls").is_dir(), reason="not installed: run `npm ci` in tests/emulator/node"
    ),
]


async def run(kind: str, parameters: dict[str, Any]) -> tuple[int | None, list[dict[str, Any]]]:
    """Exit status and events of the client, in order."""
    assert NODE is not None
    child = await asyncio.create_subprocess_exec(
        NODE, "client.js", kind, cwd=FOLDER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await child.communicate(json.dumps(parameters).encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return child.returncode, [json.loads(line) for line in out.splitlines()]


def task(cloud: Emulator, pcm: bytes, **options: object) -> dict[str, Any]:
    return {
        "url": cloud.websocket_url, "appkey": cloud.appkey, "token": cloud.create_token(), "options": options, "piece": 640,
        "audio": base64.b64encode(pcm).decode(),
    }  # fmt: skip


def results(events: list[dict[str, Any]], event: str) -> list[str]:
    return [each["message"]["payload"]["result"] for each in events if each["event"] == event]


async def test_it_gets_a_token(cloud: Emulator) -> None:
    parameters = {"id": cloud.access_key_id, "secret": cloud.access_key_secret, "endpoint": cloud.token_url}
    status, events = await run("token", parameters)
    assert (status, cloud.tokens_created) == (0, 1)
    assert len(events[0]["message"]["Token"]["Id"]) == 32
    status, events = await run("token", parameters | {"secret": "wrong"})
    assert status == 1
    assert "SignatureDoesNotMatch" in str(events[0]["message"]) or "not matched" in str(events[0]["message"])


async def test_it_recognizes_a_sentence(cloud: Emulator) -> None:
    status, events = await run("recognize", task(cloud, tones.synthesize("天地玄黄")))
    assert status == 0
    assert events[0]["event"] == "started"
    assert results(events, "completed") == ["天地玄黄"]
    changed = results(events, "changed")
    assert changed
    assert all("天地玄黄".startswith(each) for each in changed)


async def test_it_streams(cloud: Emulator) -> None:
    pcm = tones.compose(["天地", 1.2, "玄黄"]).render()
    status, events = await run("transcribe", task(cloud, pcm, enable_words=True))
    assert status == 0
    assert results(events, "end") == ["天地", "玄黄"]
    assert [each["event"] for each in events if each["event"] not in ("changed", "closed")] == [
        "started", "begin", "end", "begin", "end", "completed",
    ]  # fmt: skip


async def test_it_is_told_of_a_bad_token_and_of_a_failed_task(cloud: Emulator) -> None:
    pcm = tones.synthesize("天")
    status, events = await run("recognize", task(cloud, pcm) | {"token": "bad"})
    assert status == 1
    assert "403" in events[-1]["message"]
    cloud.script(Scripted(status=40000005))
    _, events = await run("recognize", task(cloud, pcm))
    assert next(each for each in events if each["event"] == "failed")["message"]["header"]["status"] == 40000005
