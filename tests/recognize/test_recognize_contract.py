"""What `POST /v1/recognize` promises: shapes, parameters, errors."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, FormData, UnixConnector

from asrproxy.events import RequestEnded
from asrproxy.testing import tones
from tests.recognize.conftest import Client, Start

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)


def assert_problem(answer, body, status: int, code: str, param: str | None = None) -> None:
    assert answer.status == status, body
    error = body["error"]
    assert set(error) >= {"code", "type", "message", "param", "retryable", "provider", "provider_status", "request_id", "segments"}
    assert error["code"] == code
    assert error["param"] == param
    assert error["request_id"] == answer.headers["X-Request-Id"]
    assert error["message"]


async def test_a_wav_is_answered_with_its_text_and_one_segment(client: Client) -> None:
    answer, body = await client.post(WAV)
    assert answer.status == 200
    assert answer.headers["X-Request-Id"] == body["request_id"]
    segment = body["segments"][0]
    assert {key: body[key] for key in ("text", "complete", "provider")} == {"text": TEXT, "complete": True, "provider": "tones"}
    assert len(body["segments"]) == 1
    assert {key: segment[key] for key in ("index", "start", "text", "provider", "attempts", "error")} == {
        "index": 0, "start": 0.0, "text": TEXT, "provider": "tones", "attempts": 1, "error": None,
    }  # fmt: skip
    assert segment["end"] == body["duration"] == pytest.approx(len(WAV[44:]) / 32_000, abs=0.001)
    assert "words" not in segment


async def test_words_are_there_when_asked_for(client: Client) -> None:
    _, body = await client.post(WAV, words="true")
    words = body["segments"][0]["words"]
    assert "".join(word["text"] for word in words) == TEXT
    assert all(0 <= word["start"] < word["end"] <= body["duration"] for word in words)


async def test_a_chunked_body_is_taken(client: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(WAV), 1000):
            yield WAV[at : at + 1000]

    _, body = await client.post(pieces())
    assert body["text"] == TEXT


@pytest.mark.parametrize("part", ["audio", "file"])
async def test_a_form_carries_audio_and_parameters(client: Client, part: str) -> None:
    form = FormData()
    form.add_field("words", "true")
    form.add_field(part, WAV, filename="../../etc/passwd", content_type="audio/wav")
    form.add_field("language", "zh-CN")
    _, body = await client.post(form)
    assert body["text"] == TEXT
    assert body["language"] == "zh-CN"
    assert body["segments"][0]["words"]


@pytest.mark.parametrize("encoding", ["pcm_s16le", "mulaw", "alaw"])
async def test_a_headerless_body_is_described_by_its_parameters(client: Client, encoding: str, encoded_headerless) -> None:
    _, body = await client.post(encoded_headerless(tones.synthesize(TEXT, 8000), encoding), encoding=encoding, sample_rate="8000")
    assert body["text"] == TEXT


async def test_silence_is_an_empty_text(client: Client) -> None:
    answer, body = await client.post(tones.to_wav(bytes(64_000), 16_000))
    assert (answer.status, body["text"], len(body["segments"])) == (200, "", 1)


@pytest.mark.parametrize(
    ("response_format", "content_type", "shape"),
    [
        ("text", "text/plain", rf"{TEXT}\n"),
        ("srt", "application/x-subrip", rf"1\n00:00:00,\d\d\d --> 00:00:\d\d,\d\d\d\n{TEXT}\n+"),
        ("vtt", "text/vtt", rf"WEBVTT\n\n(1\n)?00:00:00\.\d\d\d --> 00:00:\d\d\.\d\d\d\n{TEXT}\n+"),
    ],
)
async def test_other_formats_are_filled_in_by_the_proxy(client: Client, response_format: str, content_type: str, shape: str) -> None:
    answer, body = await client.post(WAV, response_format=response_format)
    assert answer.content_type == content_type
    assert answer.charset == "utf-8"
    assert re.fullmatch(shape, body), body


def events_of(text: str) -> list[tuple[str, Any]]:
    """Names and data of server-sent events."""
    return [
        (event[0].removeprefix("event: "), json.loads(event[1].removeprefix("data: ")))
        for event in map(str.splitlines, text.split("\n\n"))
        if event
    ]


async def test_events_end_with_the_whole_answer(client: Client) -> None:
    answer, text = await client.post(WAV, stream="true")
    assert answer.content_type == "text/event-stream"
    events = events_of(text)
    seconds = events[-1][1]["duration"]
    assert events[0] == ("progress", {"done": 1, "total": 1, "seconds_done": seconds, "seconds_total": seconds})
    assert [name for name, _ in events[1:]] == ["segment", "result"]
    assert events[-1][1]["text"] == TEXT
    assert events[-1][1]["segments"] == [events[-2][1]]


async def test_events_of_a_long_silence_have_its_one_segment_too(client: Client) -> None:
    _, text = await client.post(b"\xff" * 8000 * 70, stream="true", encoding="mulaw", sample_rate="8000")
    events = events_of(text)
    assert [data for name, data in events if name == "segment"] == events[-1][1]["segments"]
    assert events[-1][1]["segments"][0]["end"] == 70.0


@pytest.mark.parametrize("headers", [{}, {"Accept": "text/event-stream"}])
@pytest.mark.parametrize("response_format", ["text", "srt", "vtt"])
async def test_a_format_that_events_do_not_have_is_not_dropped_silently(client: Client, response_format: str, headers: Any) -> None:
    asked = {"response_format": response_format} | ({} if headers else {"stream": "true"})
    answer, body = await client.post(WAV, headers=headers, **asked)
    assert (answer.status, body["error"]["code"], body["error"]["param"]) == (400, "invalid_parameter", "response_format")


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("failing", [False, True])
async def test_who_hangs_up_after_the_last_event_was_answered(start: Start, failing: bool, spooled: bool) -> None:
    """Clients do as soon as they have what they came for; their requests are no hang-ups in the log and the metrics."""
    script = ", script: [{times: always, error: rejected}]" if failing else ""
    memory = ", spool_memory: 1KiB" if spooled else ""
    text = f'server: {{listen: ["127.0.0.1:0"], ops_listen: []{memory}}}\nproviders: {{tones: {{type: fake{script}}}}}\n'
    last = b"event: error" if failing else b"event: result"
    async with start(text) as client:
        host, _, port = client.sidecar.url.removeprefix("http://").rpartition(":")
        head = f"POST /v1/recognize?stream=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(WAV)}\r\n\r\n"

        def hang_up() -> None:
            """In a thread: on the sidecar's own loop it would always come too late to disturb it."""
            with socket.create_connection((host, int(port))) as caller:
                caller.sendall(head.encode() + WAV)
                got = b""
                while b"\n\n" not in got.partition(last)[2]:
                    got += caller.recv(65_536)

        for _ in range(40):
            await asyncio.to_thread(hang_up)
        while len(ended := [each for each in client.events if isinstance(each, RequestEnded)]) < 40:
            await asyncio.sleep(0.01)
        assert {each.status for each in ended} == {200}


@pytest.mark.parametrize(
    ("accept", "stream", "content_type"),
    [
        ("text/event-stream", None, "text/event-stream"),
        ("Text/Event-Stream; charset=utf-8", None, "text/event-stream"),
        ("application/json, text/event-stream;q=0.9", None, "text/event-stream"),
        ("application/json, text/event-stream; q=0.0", None, "application/json"),
        ("*/*", None, "application/json"),
        ("text/event-stream", "false", "application/json"),  # the parameter is the plainer word
    ],
)
async def test_the_accept_header_asks_for_events_too(client: Client, accept: str, stream: str | None, content_type: str) -> None:
    answer, _ = await client.post(WAV, headers={"Accept": accept}, **({} if stream is None else {"stream": stream}))
    assert answer.content_type == content_type


async def test_a_request_id_is_kept(client: Client) -> None:
    answer, body = await client.post(WAV, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == body["request_id"] == "mine-1"


async def test_a_request_id_that_would_break_a_log_is_replaced(client: Client) -> None:
    answer, _ = await client.post(WAV, headers={"X-Request-Id": "x" * 500})
    assert len(answer.headers["X-Request-Id"]) == 32


@pytest.mark.parametrize(
    ("parameters", "code", "param"),
    [
        ({"colour": "red"}, "invalid_parameter", "colour"),
        ({"words": "perhaps"}, "invalid_parameter", "words"),
        ({"response_format": "pdf"}, "invalid_parameter", "response_format"),
        ({"language": "not a tag"}, "invalid_parameter", "language"),
        ({"timeout": "-1"}, "invalid_parameter", "timeout"),
        ({"timeout": "nan"}, "invalid_parameter", "timeout"),
        ({"partial": "maybe"}, "invalid_parameter", "partial"),
        ({"encoding": "flac"}, "invalid_parameter", "encoding"),
        ({"encoding": "pcm_s16le"}, "invalid_parameter", "sample_rate"),
        ({"encoding": "pcm_s16le", "sample_rate": "16000", "channels": "0"}, "invalid_parameter", "channels"),
        ({"sample_rate": "16000"}, "invalid_parameter", "sample_rate"),
        ({"audio_address": "http://127.0.0.1/"}, "invalid_parameter", "audio_address"),
    ],
)
async def test_a_wrong_parameter_is_named(client: Client, parameters: dict[str, str], code: str, param: str) -> None:
    answer, body = await client.post(WAV, **parameters)
    assert_problem(answer, body, 400, code, param)


async def test_a_parameter_given_twice_is_refused(client: Client) -> None:
    answer, body = await client.post(WAV, path="/v1/recognize?words=true&words=false")
    assert_problem(answer, body, 400, "invalid_parameter", "words")


async def test_what_no_provider_can_do_is_refused_by_name(start: Start) -> None:
    async with start(
        "providers: {tones: {type: fake, capabilities: {options: [], languages: [zh]}}}\nserver: {listen: ['127.0.0.1:0'], ops_listen: []}"
    ) as client:
        answer, body = await client.post(WAV, words="true")
        assert_problem(answer, body, 400, "unsupported_parameter", "words")
        answer, body = await client.post(WAV, language="fr")
        assert_problem(answer, body, 400, "unsupported_parameter", "language")
        assert "its languages are " in body["error"]["message"]


async def test_an_unknown_route_is_404(client: Client) -> None:
    answer, body = await client.post(WAV, route="nowhere")
    assert_problem(answer, body, 404, "unknown_route", "route")


async def test_an_unknown_address_is_404(client: Client) -> None:
    answer, body = await client.get("/v2/nothing")
    assert_problem(answer, body, 404, "not_found")


async def test_a_wrong_method_is_405_with_what_is_allowed(client: Client) -> None:
    answer, body = await client.get("/v1/recognize")
    assert_problem(answer, body, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("name", "recording", "status", "code"),
    [
        ("nothing", b"", 400, "invalid_audio"),
        ("words", b"these are not the samples you are looking for" * 100, 400, "invalid_audio"),
        ("a WAV header and no more", WAV[:44], 400, "invalid_audio"),
        ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(2000), 415, "unsupported_media"),
        ("a document", b"%PDF-1.7\n" + bytes(2000), 415, "unsupported_media"),
    ],
)
async def test_what_is_not_audio_is_refused(client: Client, name: str, recording: bytes, status: int, code: str) -> None:
    answer, body = await client.post(recording)
    assert_problem(answer, body, status, code)


async def test_a_form_without_audio_is_refused(client: Client) -> None:
    form = FormData()
    form.add_field("language", "zh-CN", content_type="text/plain", filename=None)
    form.add_field("words", b"true", filename="words.txt")
    answer, body = await client.post(form)
    assert_problem(answer, body, 400, "invalid_audio")


LIMITED = """
server: {listen: ["127.0.0.1:0"], ops_listen: [], max_body: 10KiB, max_audio: 5s, body_timeout: 300ms}
providers: {tones: {type: fake}}
"""


async def test_a_body_over_the_limit_is_413_and_says_the_limit(start: Start) -> None:
    async with start(LIMITED) as client:
        answer, body = await client.post(bytes(20_000))
        assert_problem(answer, body, 413, "body_too_large")
        assert "10240" in body["error"]["message"] or "10KiB" in body["error"]["message"]


async def test_a_chunked_body_over_the_limit_is_413(start: Start) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(1000)

    async with start(LIMITED) as client:
        answer, body = await client.post(endless())
        assert_problem(answer, body, 413, "body_too_large")


async def test_a_recording_over_the_limit_is_413(start: Start) -> None:
    async with start(LIMITED.replace("10KiB", "10MiB")) as client:
        answer, body = await client.post(tones.to_wav(bytes(6 * 32_000), 16_000))
        assert_problem(answer, body, 413, "audio_too_long")
        assert "5 s" in body["error"]["message"]


async def test_a_caller_who_stops_sending_gets_408(start: Start) -> None:
    async with start(LIMITED) as client:
        host, _, port = client.sidecar.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/recognize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nRIFF")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert b'"code":"request_timeout"' in (await reader.read()).replace(b": ", b":")
        writer.close()


async def test_a_token_is_asked_for_where_one_is_configured(start: Start) -> None:
    async with start(
        "server: {listen: ['127.0.0.1:0'], ops_listen: ['127.0.0.1:0'], tokens: ['${TOKEN}']}\nproviders: {tones: {type: fake}}",
        TOKEN="s3cret",
    ) as client:
        answer, body = await client.post(WAV)
        assert_problem(answer, body, 401, "unauthorized")
        answer, body = await client.post(WAV, headers={"Authorization": "Bearer wrong"})
        assert_problem(answer, body, 401, "unauthorized")
        answer, body = await client.post(WAV, headers={"Authorization": "Bearer s3cret"})
        assert body["text"] == TEXT
        assert (await client.get("/livez"))[0].status == 200
        assert (await client.get("/v1/status"))[0].status == 401


async def test_health_is_on_both_ports_and_the_rest_on_one(client: Client) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        for ops in (False, True):
            answer, _ = await client.get(path, ops=ops)
            assert answer.status == 200, path
    for path in ("/v1/status", "/openapi.json", "/v1/recognize"):
        answer, body = await client.get(path, ops=True)
        assert_problem(answer, body, 404, "not_found")


async def test_status_shows_what_runs_and_no_secret(start: Start) -> None:
    text = """
server: {listen: ["127.0.0.1:0"], ops_listen: []}
providers:
  tones: {type: fake}
  vendor:
    type: aliyun
    appkey: the-appkey
    access_key_id: the-id
    access_key_secret: ${SECRET}
    gateway_url: http://127.0.0.1:9
    token_url: http://127.0.0.1:9
routes: {default: {providers: [tones]}}
"""
    async with start(text, SECRET="very-secret") as client:
        await client.post(WAV)
        answer, body = await client.get("/v1/status")
        assert answer.status == 200
        assert "very-secret" not in await answer.text()
        assert {"build", "uptime", "routes", "providers"} <= set(body)
        assert set(body["providers"]) == {"tones", "vendor"}
        assert {"circuit", "in_flight"} <= set(body["providers"]["tones"])
        assert body["providers"]["tones"]["in_flight"] == 0


async def test_metrics_count_what_was_answered(client: Client) -> None:
    await client.post(WAV)
    await client.post(b"")
    _, text = await client.get("/metrics", ops=True)
    assert 'asrproxy_requests_total{caller="other",code="ok",route="default",status="200"} 1.0' in text
    assert 'asrproxy_requests_total{caller="other",code="invalid_audio",route="default",status="400"} 1.0' in text
    assert 'asrproxy_attempts_total{outcome="ok",provider="tones"} 1.0' in text


async def test_the_openapi_document_describes_the_parameters(client: Client) -> None:
    _, body = await client.get("/openapi.json")
    names = {parameter["name"] for parameter in body["paths"]["/v1/recognize"]["post"]["parameters"]}
    assert {"route", "language", "encoding", "sample_rate", "channels", "response_format", "words", "stream", "timeout", "partial"} <= names


async def test_several_listeners_and_a_unix_socket_answer_alike(start: Start, tmp_path) -> None:
    text = (
        f"server: {{listen: ['127.0.0.1:0', '[::1]:0', 'unix:{tmp_path}/asr.sock'], ops_listen: []}}\nproviders: {{tones: {{type: fake}}}}"
    )
    if not socket.has_ipv6:
        text = text.replace("'[::1]:0', ", "")
    async with start(text) as client:
        for url in client.sidecar.urls:
            connector = UnixConnector(url.removeprefix("unix:")) if url.startswith("unix:") else None
            async with ClientSession(connector=connector) as session:
                base = "http://localhost" if connector else url
                async with session.post(f"{base}/v1/recognize", data=WAV) as answer:
                    assert (await answer.json())["text"] == TEXT


async def test_a_page_of_another_site_cannot_spend_the_users_money(client: Client) -> None:
    answer, body = await client.post(WAV, headers={"Origin": "https://evil.example"})
    assert_problem(answer, body, 403, "forbidden")
    answer, body = await client.post(WAV, headers={"Origin": "http://rebound.example:8790", "Host": "rebound.example:8790"})
    assert_problem(answer, body, 403, "forbidden")
    own = client.sidecar.url
    answer, body = await client.post(WAV, headers={"Origin": own})
    assert answer.status == 200


async def test_a_named_origin_may_call(start: Start) -> None:
    async with start(
        "server: {listen: ['127.0.0.1:0'], ops_listen: [], origins: ['https://mine.example']}\nproviders: {tones: {type: fake}}"
    ) as client:
        answer, _ = await client.post(WAV, headers={"Origin": "https://mine.example"})
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://mine.example"
