"""What somebody looks at who was woken: the last requests, the status on a terminal, and the stacks of a sidecar that hangs."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sys
from pathlib import Path

import pytest

from asrproxy.config.load import loads
from asrproxy.config.models import Configuration
from asrproxy.discovery import provider_type
from asrproxy.events import RequestEnded
from asrproxy.ops.recent import CHARACTERS, REQUESTS, Recent
from asrproxy.testing import tones
from tests.lifecycle.test_lifecycle_process import serving
from tests.recognize.conftest import Client, Start, start

__all__ = ["start"]
WAV = tones.to_wav(tones.synthesize("天地玄黄", 16_000), 16_000)
PROGRAM = str(Path(sys.executable).parent / "asrproxy")
TEXT = """
server: {listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"], tokens: [night-token]}
providers: {tones: {type: fake, script: [{}, {error: rejected}]}}
"""
TOKEN = {"Authorization": "Bearer night-token"}


async def run(client: Client, *words: str, token: str = "night-token") -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *words, "--url", client.sidecar.url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "ASRPROXY_TOKEN": token},
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_last_requests_are_told_in_order_and_without_their_texts(start: Start) -> None:
    async with start(TEXT) as client:
        await client.post(WAV, headers=TOKEN | {"X-Request-Id": "good"})
        await client.post(WAV, headers=TOKEN | {"X-Request-Id": "bad"})
        answer, body = await client.get("/v1/recent", headers=TOKEN)
        first, second = body["requests"]
        assert (answer.status, body["last"]) == (200, 2)
        assert (first["request_id"], first["status"], first["code"], first["provider"], first["attempts"]) == (
            "good",
            200,
            None,
            "tones",
            1,
        )
        assert (second["request_id"], second["status"], second["code"]) == ("bad", 502, "provider_error")
        assert set(first["stages_ms"])
        assert "天地" not in json.dumps(body, ensure_ascii=False)
        _, newer = await client.get("/v1/recent?after=1", headers=TOKEN)
        assert [each["request_id"] for each in newer["requests"]] == ["bad"]
        _, one = await client.get("/v1/recent?limit=1", headers=TOKEN)
        assert [each["request_id"] for each in one["requests"]] == ["bad"]


KEEPING = TEXT + "log: {transcripts: true}\n"


async def test_what_was_said_is_told_where_it_is_kept_and_asked_for(start: Start) -> None:
    async with start(KEEPING) as client:
        await client.post(WAV, headers=TOKEN)
        await client.post(WAV, headers=TOKEN)
        _, body = await client.get("/v1/recent?transcripts=true", headers=TOKEN)
        assert [each["text"] for each in body["requests"]] == ["天地玄黄", ""]
        for query in ("", "?transcripts=false"):
            _, body = await client.get("/v1/recent" + query, headers=TOKEN)
            assert len(body["requests"]) == 2
            assert "天地" not in json.dumps(body, ensure_ascii=False)
        assert (await client.get("/v1/recent?transcripts=true"))[0].status == 401
        assert (await client.get("/v1/recent?transcripts=true", ops=True, headers=TOKEN))[0].status == 404


async def test_what_was_said_is_not_kept_unless_the_configuration_says_so(start: Start) -> None:
    async with start(TEXT) as client:
        await client.post(WAV, headers=TOKEN)
        answer, body = await client.get("/v1/recent?transcripts=true", headers=TOKEN)
        assert (answer.status, body["error"]["code"], body["error"]["param"]) == (403, "forbidden", "transcripts")
        assert "log.transcripts" in body["error"]["message"]
        await client.sidecar.runtime.reload(configured(KEEPING))
        await client.post(WAV, headers=TOKEN | {"X-Request-Id": "failed"})
        _, body = await client.get("/v1/recent?transcripts=true", headers=TOKEN)
        assert [each["text"] for each in body["requests"]] == [None, ""]  # of the one before, nothing had been kept


async def test_what_was_said_is_forgotten_when_it_may_not_be_kept_any_more(start: Start) -> None:
    async with start(KEEPING) as client:
        await client.post(WAV, headers=TOKEN)
        await client.sidecar.runtime.reload(configured(TEXT))
        assert (await client.get("/v1/recent?transcripts=true", headers=TOKEN))[0].status == 403
        await client.sidecar.runtime.reload(configured(KEEPING))
        _, body = await client.get("/v1/recent?transcripts=true", headers=TOKEN)
        assert [each["text"] for each in body["requests"]] == [None]


def test_of_long_texts_only_the_newest_are_kept() -> None:
    recent = Recent()
    for place in range(REQUESTS + 20):
        recent(ended(str(place), text=f"{place} " + "很" * 10_000))
    texts = [each["text"] for each in recent.after(0, REQUESTS, transcripts=True)]
    kept = [each for each in texts if each is not None]
    assert 0 < sum(map(len, kept)) <= CHARACTERS
    assert texts == [None] * (REQUESTS - len(kept)) + kept
    assert kept[-1].startswith(f"{REQUESTS + 19} ")
    for _ in range(REQUESTS):
        recent(ended("quiet", text=None))
    recent(ended("last", text="很" * CHARACTERS))  # the room of those that are gone is free again
    assert recent.after(0, 1, transcripts=True)[0]["text"] == "很" * CHARACTERS


async def test_tail_shows_what_was_said_only_when_told_to(start: Start) -> None:
    async with start(KEEPING) as client:
        await client.post(WAV, headers=TOKEN | {"X-Request-Id": "good"})
        _, out, _ = await run(client, "tail", "--transcripts")
        assert re.search(r' good\n    "天地玄黄"$', out, re.MULTILINE)
        _, out, _ = await run(client, "tail", "--transcripts", "--json")
        assert json.loads(out)["text"] == "天地玄黄"
        for words in (("tail",), ("tail", "--json")):
            assert "天地" not in (await run(client, *words))[1]
    async with start(TEXT) as client:
        status, out, err = await run(client, "tail", "--transcripts")
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "log.transcripts" in err


def configured(text: str) -> Configuration:
    return loads(text, "test.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)


def ended(request_id: str, *, text: str | None) -> RequestEnded:
    return RequestEnded(
        request_id=request_id, method="POST", endpoint="/v1/recognize", route="default", caller="other", status=200, code=None,
        seconds=0.1, audio_seconds=1.0, body_bytes=10, text=text,
    )  # fmt: skip


async def test_they_are_for_those_with_a_token_and_not_on_the_ops_port(start: Start) -> None:
    async with start(TEXT) as client:
        assert (await client.get("/v1/recent"))[0].status == 401
        assert (await client.get("/v1/recent", ops=True, headers=TOKEN))[0].status == 404


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=501", "limit=1e3", "other=1", "transcripts=yes", "after=99999999999999999999"]
)
async def test_a_question_that_makes_no_sense_is_refused_by_name(start: Start, query: str) -> None:
    async with start(TEXT) as client:
        answer, body = await client.get(f"/v1/recent?{query}", headers=TOKEN)
        assert (answer.status, body["error"]["param"]) == (400, query.partition("=")[0])


async def test_only_the_newest_are_kept(start: Start) -> None:
    async with start(TEXT) as client:
        for _ in range(520):
            await client.session.get(client.sidecar.url + "/v1/nowhere", headers=TOKEN)
        _, body = await client.get("/v1/recent?limit=500", headers=TOKEN)
        assert (body["last"], len(body["requests"]), body["requests"][0]["number"]) == (520, 500, 21)


async def test_tail_shows_lines_and_json_and_only_failures_where_asked(start: Start) -> None:
    async with start(TEXT) as client:
        await client.post(WAV, headers=TOKEN | {"X-Request-Id": "good"})
        await client.post(WAV, headers=TOKEN | {"X-Request-Id": "bad"})
        status, out, err = await run(client, "tail")
        assert (status, err) == (0, "")
        assert re.search(r"^\S+ 200 ok +\d+ ms  /v1/recognize default by tones, 1 calls, 0\.\d s of audio \[.*\] good$", out, re.MULTILINE)
        assert re.search(r" 502 provider_error .* bad$", out, re.MULTILINE)
        _, out, _ = await run(client, "tail", "--json", "--failed")
        assert [json.loads(each)["request_id"] for each in out.splitlines()] == ["bad"]
        status, _, err = await run(client, "tail", token="wrong")
        assert (status, err.count("\n")) == (1, 1)
        assert "unauthorized" in err


async def test_tail_follows(start: Start) -> None:
    async with start(TEXT) as client:
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "tail", "-f", "-n", "0", "--url", client.sidecar.url,
            stdout=asyncio.subprocess.PIPE, env={**os.environ, "ASRPROXY_TOKEN": "night-token"},
        )  # fmt: skip
        assert process.stdout is not None
        line = asyncio.create_task(process.stdout.readline())
        while not line.done():
            await client.post(WAV, headers=TOKEN | {"X-Request-Id": "followed"})
            await asyncio.wait({line}, timeout=0.2)
        assert b"followed" in line.result()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_status_is_a_screenful_and_its_exit_status_says_whether_it_is_ready(start: Start) -> None:
    async with start(TEXT) as client:
        await client.post(WAV, headers=TOKEN)
        status, out, err = await run(client, "status")
        assert (status, err) == (0, "")
        assert re.search(r"^asrproxy \S+, up \d+ s, 0 in flight, ready$", out, re.MULTILINE)
        assert re.search(r"^tones +fake +closed +0 +0 +\d+ +\d+\.\d\d +\d+\.\d\d +0/1$", out, re.MULTILINE)
        _, out, _ = await run(client, "status", "--json")
        assert json.loads(out)["providers"]["tones"]["circuit"]["state"] == "closed"
        client.sidecar.runtime.draining = True
        status, out, _ = await run(client, "status")
        assert status == 1
        assert "draining" in out


async def test_status_moves_on_a_terminal(start: Start) -> None:
    async with start(TEXT) as client:
        ours, theirs = pty.openpty()
        screen = {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "status", "--every", "0.2", "--url", client.sidecar.url,
            stdout=theirs, stderr=theirs, env={**os.environ, "ASRPROXY_TOKEN": "night-token", **screen},
        )  # fmt: skip
        os.close(theirs)
        seen = b""
        while b"0/0" not in seen:  # calls that failed, and all
            seen += await asyncio.to_thread(os.read, ours, 65_536)
        for _ in range(2):  # what comes while it is looked at
            await client.post(WAV, headers=TOKEN)
        while b"1/2" not in seen:
            seen += await asyncio.to_thread(os.read, ours, 65_536)
        assert b"tones" in seen
        process.send_signal(signal.SIGINT)
        reading = asyncio.create_task(asyncio.to_thread(_drained, ours))
        assert await process.wait() == 0
        await reading


async def test_sigusr1_tells_what_every_task_and_thread_does(tmp_path: Path) -> None:
    async with serving(tmp_path, latency="600s") as running:
        call = asyncio.create_task(running.api.post("/v1/recognize", data=WAV))
        while (await (await running.api.get("/v1/status")).json())["in_flight"] == 0:
            await asyncio.sleep(0)
        running.process.send_signal(signal.SIGUSR1)
        told = await running.logged("task")
        while not any("asrproxy_fake" in place for place in told["stack"]):
            told = await running.logged("task")
        assert any("recognizer.py" in place for place in told["stack"])
        thread = await running.logged("thread")
        assert thread["stack"]
        assert running.process.returncode is None
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


def _drained(terminal: int) -> None:
    try:
        while os.read(terminal, 65_536):
            pass
    except OSError:
        pass  # the other end is closed
