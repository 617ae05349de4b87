"""What the log says of a request, what it never says, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import logging as standard
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from asrproxy.config.models import LogSettings
from asrproxy.events import Noted
from asrproxy.ops.logs import Log
from asrproxy.secrecy import SHORTEST, Secrets
from asrproxy.testing import tones
from tests.observe.logging_sidecar import configured, logging

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
SECONDS = len(WAV[44:]) / 32_000
SERVER = 'server: {listen: ["127.0.0.1:0"], ops_listen: [], callers: [web]}\n'
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"X-Request-Id": "mine-1", "X-Caller": "web", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


async def test_a_request_has_one_line_with_everything_in_it() -> None:
    text = SERVER + "providers: {tones: {type: fake, price: {per_call: 0.5, currency: CNY}}}\nlog: {level: info}\n"
    async with logging(text) as logged:
        await logged.client.post(WAV, headers=HEADERS)
        line = await logged.line("request")
        assert len(logged.lines()) == 1
    assert line | {
        "level": "info", "request_id": "mine-1", "trace_id": TRACE, "method": "POST", "endpoint": "/v1/recognize", "route": "default",
        "caller": "web", "status": 200, "code": None, "provider": "tones", "attempts": 1, "bytes": len(WAV), "cost": {"CNY": 0.5},
    } == line  # fmt: skip
    assert line["audio_seconds"] == pytest.approx(SECONDS, abs=1e-3)
    assert {"receive", "decode", "recognize", "attempt"} <= set(line["stages_ms"])
    assert sum(line["stages_ms"][stage] for stage in ("receive", "decode", "recognize")) <= line["ms"] + 0.1
    assert "text" not in line


async def test_every_line_about_a_request_has_its_id_and_its_traces() -> None:
    text = SERVER + (
        "providers:\n  broken: {type: fake, script: [{times: always, error: unavailable}], policy: {circuit: {failures: 50}}}\n"
        "  sound: {type: fake}\nroutes: {default: {providers: [broken, sound]}}\n"
        "policy: {retries: {attempts: 3, budget: 10, backoff: {initial: 1ms, max: 1ms}}}\nlog: {level: debug}\n"
    )
    async with logging(text) as logged:
        await logged.client.post(WAV, headers=HEADERS)
        await logged.line("request")
        lines = logged.lines()
    assert [line["event"] for line in lines] == [
        "attempt failed", "retry", "attempt failed", "retry", "attempt failed", "failover", "attempt", "request",
    ]  # fmt: skip
    assert {(line["request_id"], line["trace_id"]) for line in lines} == {("mine-1", TRACE)}
    assert [line["attempt"] for line in lines if line["event"] == "attempt failed"] == [1, 2, 3]
    assert lines[-1]["attempts"] == 4


async def test_a_failed_request_says_why_in_its_line() -> None:
    async with logging(SERVER + "providers: {tones: {type: fake}}\n") as logged:
        await logged.client.post(b"")
        line = await logged.line("request")
        assert (line["status"], line["code"], line["bytes"]) == (400, "invalid_audio", 0)
        assert "empty" in line["reason"]
        assert "trace_id" not in line


@pytest.mark.parametrize("asked", [True, False])
async def test_a_transcript_is_in_the_log_only_where_it_was_asked_for(asked: bool) -> None:
    text = SERVER + f"providers: {{tones: {{type: fake}}}}\nlog: {{level: debug, transcripts: {str(asked).lower()}}}\n"
    async with logging(text) as logged:
        await logged.client.post(WAV)
        await logged.client.post(WAV, stream="true")
        async with logged.client.session.ws_connect(logged.client.sidecar.url + "/v1/stream") as socket:
            await socket.send_json({"type": "start", "sample_rate": 16_000})
            await socket.send_bytes(WAV[44:])
            await socket.send_json({"type": "stop"})
            while (await socket.receive_json())["type"] != "done":
                pass
        await logged.line("request", 3)
        texts = [line.get("text") for line in logged.lines("request")]
        everything = logged.stream.getvalue()
    if asked:
        assert all(str(text).startswith(TEXT) for text in texts)
    else:
        assert texts == [None] * 3
        assert not set(TEXT) & set(everything)


async def test_a_reload_changes_what_is_written() -> None:
    text = SERVER + "providers: {tones: {type: fake}}\nlog: {level: error}\n"
    async with logging(text) as logged:
        await logged.client.post(WAV)
        changed = configured(text.replace("error", "info, transcripts: true"))
        await logged.client.sidecar.runtime.reload(changed)
        logged.log.take(changed.log)
        await logged.client.post(WAV)
        assert (await logged.line("request"))["text"] == TEXT
        assert len(logged.lines("request")) == 1


def test_what_libraries_log_comes_as_lines_of_ours_without_secrets() -> None:
    stream, secrets = io.StringIO(), Secrets()
    secrets.add("a-token-of-today")
    record = standard.LogRecord("asyncio", standard.ERROR, __file__, 1, "lost %s", ("a-token-of-today",), None)
    try:
        raise ValueError("https://host/?token=a-token-of-today")
    except ValueError:
        record.exc_info = sys.exc_info()
    with Log(LogSettings(), secrets, stream) as log:
        log.handler().handle(record)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["level"], line["logger"], line["event"]) == ("error", "asyncio", "lost ***")
    assert "ValueError" in line["stack"]
    assert "of-today" not in stream.getvalue()


class _Settings(BaseModel):
    secret: SecretStr
    inner: dict[str, tuple[SecretStr, ...]]


@settings(deadline=None)
@given(
    st.text(min_size=SHORTEST, max_size=40),
    st.text(min_size=SHORTEST, max_size=40),
    st.text(max_size=20),
    st.sampled_from(["json", "console"]),
)
def test_no_known_secret_passes_whoever_has_quoted_it(one: str, other: str, around: str, form: str) -> None:
    stream = io.StringIO()
    secrets = Secrets(_Settings(secret=SecretStr(one), inner={"each": (SecretStr(other),)}))
    with Log(LogSettings.model_validate({"format": form}), secrets, stream) as log:
        log(Noted("error", "defect", {"error": RuntimeError(f"{around}{one}{around}"), "where": f"{around}{other}", "list": [one, other]}))
    for secret in (one, other):
        written = json.dumps(secret, ensure_ascii=False)[1:-1]
        if secret.isprintable() and not set(secret) <= set(" *"):
            assert secret not in stream.getvalue().replace("***", "")
            assert written not in stream.getvalue().replace("***", "")


class Piped:
    """`asrproxy serve` whose standard error is a small pipe that is read when the test likes. Its lines are long, so that few fill it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rest = b""
        self.session: ClientSession
        self.process: asyncio.subprocess.Process

    async def __aenter__(self) -> Piped:
        file = self._folder / "asrproxy.yaml"
        file.write_text(
            f"server: {{listen: ['unix:{self._folder}/api.sock'], ops_listen: []}}\n"
            f"providers: {{tones: {{type: fake, script: [{{times: always, text: {'x' * 200_000}}}]}}}}\nlog: {{transcripts: true}}\n"
        )
        self._pipe, theirs = os.pipe()
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, 4096)
        program = str(Path(sys.executable).parent / "asrproxy")
        self.process = await asyncio.create_subprocess_exec(program, "serve", "-c", str(file), stderr=theirs)
        os.close(theirs)
        self.session = ClientSession("http://localhost", connector=UnixConnector(str(self._folder / "api.sock")))
        await self.line("listening")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.session.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        os.close(self._pipe)

    async def line(self, event: str) -> dict[str, Any]:
        """Reads up to the next line of that event."""
        while True:
            line, end, rest = self._rest.partition(b"\n")
            if not end:
                self._rest += await asyncio.to_thread(os.read, self._pipe, 65_536)
                continue
            self._rest = rest
            if (found := json.loads(line))["event"] == event:
                return dict(found)

    async def post(self) -> None:
        async with self.session.post("/v1/recognize", data=WAV) as answer:
            assert answer.status == 200

    async def dropped(self) -> float:
        async with self.session.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return float(next(line for line in lines if line.startswith("asrproxy_log_lines_dropped_total")).split()[1])


async def test_a_stuck_reader_of_the_log_costs_lines_and_no_request(tmp_path: Path) -> None:
    async with Piped(tmp_path) as running:
        while not await running.dropped():
            await running.post()
        assert (await running.line("log lines dropped"))["lines"] >= 1
        await running.post()
        await running.line("request")


async def test_a_sidecar_whose_log_is_stuck_still_ends(tmp_path: Path) -> None:
    async with Piped(tmp_path) as running:
        for _ in range(3):
            await running.post()
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 0


async def test_a_stream_that_somebody_has_made_non_blocking_loses_no_line() -> None:
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writes, False)
    lines = [f"{number} {'x' * 500}" for number in range(100)]
    with os.fdopen(writes, "w") as stream, os.fdopen(reads, "rb") as ours, Log(LogSettings(), None, stream) as log:
        for line in lines:
            log(Noted("info", line, {}))
        found = await asyncio.to_thread(lambda: [ours.readline() for _ in lines])
        assert log.dropped == 0
    assert [json.loads(line)["event"] for line in found] == lines
