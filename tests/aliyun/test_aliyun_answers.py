"""Odd answers of the vendor's: each is read as it was meant, or is a typed error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.plugin import AudioFormat, Garbled, Options, ProviderError, Recognition, Throttled, Utterance, Word
from asrproxy_aliyun import flash, rest
from asrproxy_http.exchange import Answer
from asrproxy_http.wav import wav_header
from tests.aliyun.making import Make, context_of, utterance_of


def _answer(body: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_the_documented_answer() -> None:
    body = {"task_id": "cf7b0c5339244ee29cd4e43fb97fd52e", "result": "北京的天气。", "status": 20000000, "message": "SUCCESS"}
    expected = Recognition("北京的天气。", language="zh-CN", vendor_id="cf7b0c5339244ee29cd4e43fb97fd52e")
    assert rest.recognition_of(_answer(body), "zh-CN") == expected


def test_the_status_in_the_json_decides_and_not_http() -> None:
    assert rest.recognition_of(_answer({"status": "20000000", "result": ""}, status=500), None).text == ""
    with pytest.raises(Throttled) as caught:
        rest.recognition_of(_answer({"status": 40000005, "message": "Gateway:TOO_MANY_REQUESTS:"}, **{"Retry-After": "3"}), None)
    assert (caught.value.vendor_code, caught.value.retry_after) == (40000005, 3.0)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", [], 7, None, {}, {"status": 20000000}, {"status": 20000000, "result": 5}, {"status": None}]
)
def test_a_200_that_is_no_answer_is_garbled(body: object) -> None:
    for recognition_of in (lambda each: rest.recognition_of(each, None), lambda each: flash.recognition_of(each, Options(), None)):
        with pytest.raises(Garbled):
            recognition_of(_answer(body))


@settings(deadline=None)
@given(
    st.integers(100, 599),
    st.binary(max_size=40) | st.dictionaries(st.sampled_from(["status", "result", "task_id"]), st.text() | st.integers()),
)
def test_every_answer_is_a_recognition_or_a_typed_error(status: int, body: object) -> None:
    for recognition_of in (lambda each: rest.recognition_of(each, None), lambda each: flash.recognition_of(each, Options(), None)):
        outcome: Recognition | ProviderError
        try:
            outcome = recognition_of(_answer(body, status))
        except ProviderError as error:
            outcome = error
        assert isinstance(outcome, Recognition) or outcome.vendor_code is not None


def test_flash_times_may_be_strings_and_channels_may_count_from_one() -> None:
    words = [
        {"text": "天", "begin_time": "100", "end_time": "220", "punc": "，"},
        {"text": "地", "begin_time": 300, "end_time": 420, "punc": ""},
    ]
    sentences = [
        {"text": "天，地。", "begin_time": 100, "end_time": 420, "channel_id": 1, "words": words},
        {"text": "other", "begin_time": 100, "end_time": 420, "channel_id": 2},
        {"text": "玄。", "begin_time": 900, "end_time": 999, "channel_id": 1},
    ]
    body = {"task_id": "t", "status": 20000000, "message": "SUCCESS", "flash_result": {"duration": 1000, "sentences": sentences}}
    recognition = flash.recognition_of(_answer(body), Options(words=True), "zh-CN")
    assert recognition.text == "天，地。玄。"
    assert recognition.words == (Word("天，", 0.1, 0.22), Word("地", 0.3, 0.42))
    assert flash.recognition_of(_answer(body), Options(), "en-US").text == "天，地。 玄。"


def test_flash_gets_a_wav_file() -> None:
    import io
    import wave

    samples = bytes(range(200))
    head = wav_header(Utterance(memoryview(samples), AudioFormat(8000)))
    with wave.open(io.BytesIO(head + samples)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert file.readframes(1000) == samples


@asynccontextmanager
async def _gateway(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


def _event(task: str, name: str, payload: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"header": {"namespace": "SpeechRecognizer", "name": name, "status": 20000000, "task_id": task}, "payload": payload or {}}


@pytest.mark.parametrize("transport", ["websocket", "sdk"])
async def test_a_vendor_that_hears_the_end_before_we_stop_is_believed(make: Make, transport: str) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        task = (await socket.receive_json())["header"]["task_id"]
        await socket.send_json(_event(task, "RecognitionStarted"))
        while (await socket.receive()).type is not WSMsgType.BINARY:
            pass
        await socket.send_json(_event(task, "RecognitionCompleted", {"result": "天"}))
        async for _ in socket:
            pass
        return socket

    async with _gateway(handler) as base:
        made = await make(gateway_url=base, token="given", transport=transport)
        assert await made.text("天地玄黄 " * 20) == "天"


async def test_the_sdks_wait_for_a_close_holds_no_answer_up(make: Make) -> None:
    answered = asyncio.Event()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoclose=False)
        await socket.prepare(request)
        task = (await socket.receive_json())["header"]["task_id"]
        await socket.send_json(_event(task, "RecognitionStarted"))
        while (await socket.receive()).type is WSMsgType.BINARY:
            pass
        await socket.send_json(_event(task, "RecognitionCompleted", {"result": "天"}))
        # Its Close is not read until the caller has had the answer: the SDK would wait three seconds for the echo.
        await answered.wait()
        return socket

    async with _gateway(handler) as base:
        made = await make(gateway_url=base, token="given", transport="sdk")
        async with asyncio.timeout(2):
            recognition = await made.provider.recognize(utterance_of("天"), context_of())
        answered.set()
    assert recognition.text == "天"


@pytest.mark.parametrize("transport", ["websocket", "sdk"])
async def test_a_page_in_place_of_a_handshake_is_a_typed_error(make: Make, transport: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="<html>hello</html>", content_type="text/html")

    async with _gateway(handler) as base:
        made = await make(gateway_url=base, token="given", transport=transport)
        with pytest.raises(Garbled):
            await made.text()


@pytest.mark.parametrize("transport", ["rest", "websocket", "sdk"])
async def test_a_redirect_is_not_followed_with_the_token(make: Make, transport: str) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        await request.read()
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with _gateway(handler) as base:
        made = await make(gateway_url=base, token="given", transport=transport, pool={"warm": 0})
        with pytest.raises(Garbled) as caught:
            await made.text()
    assert caught.value.vendor_code == 302
    assert asked == ["/stream/v1/asr" if transport == "rest" else "/ws/v1"]
