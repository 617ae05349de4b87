"""`GET /v1/stream`: live audio in, sentences out, with a provider that streams and with one that cannot."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientWebSocketResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.audio import g711
from asrproxy.audio.resample import Resampler
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.recognize.conftest import Client, Start, start

__all__ = ["start"]

SERVER = 'server: {listen: ["127.0.0.1:0"], ops_listen: [], body_timeout: 500ms}\n'
STREAMS = SERVER + "providers: {tones: {type: fake}}"
ONE_SHOT = SERVER + "providers: {tones: {type: fake, capabilities: {streaming: false}}}"
SPEECH = tones.compose(["天地玄黄", 1.5, "宇宙洪荒", 1.5, "日月盈昃"], lead=0.5, tail=0.5)


async def session(client: Client, pcm: bytes, rate: int = 16_000, step: int = 3200, **more: Any) -> list[dict[str, Any]]:
    """Everything that a whole session is told."""
    async with client.session.ws_connect(client.sidecar.url + "/v1/stream") as socket:
        await socket.send_json({"type": "start", "sample_rate": rate, **more})
        sending = asyncio.create_task(send(socket, pcm, step))
        told = [message.json() async for message in socket]
        await sending
        return told


async def send(socket: ClientWebSocketResponse, pcm: bytes, step: int) -> None:
    for at in range(0, len(pcm), step):
        await socket.send_bytes(pcm[at : at + step])
    await socket.send_json({"type": "stop"})


def finals(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in told if each["type"] == "final"]


@pytest.mark.parametrize("configuration", [STREAMS, ONE_SHOT], ids=["streaming", "one-shot"])
async def test_sentences_come_in_order_with_their_times(start: Start, configuration: str) -> None:
    async with start(configuration) as client:
        told = await session(client, SPEECH.render())
    assert told[0]["type"] == "started"
    assert told[0]["request_id"]
    assert [each["text"].strip("，。,.") for each in finals(told)] == ["天地玄黄", "宇宙洪荒", "日月盈昃"]
    assert [each["index"] for each in finals(told)] == [0, 1, 2]
    for each, first in zip(finals(told), (0, 4, 8), strict=True):
        assert each["start"] <= SPEECH.symbols[first].start + 0.05
        assert each["end"] >= SPEECH.symbols[first + 3].end - 0.05
    assert told[-1]["type"] == "done"
    assert told[-1]["duration"] == pytest.approx(SPEECH.duration, abs=0.01)
    assert [each for each in told[-1]["text"] if each in tones.ALPHABET] == list("天地玄黄宇宙洪荒日月盈昃")


async def test_interim_texts_come_unless_they_are_switched_off(start: Start) -> None:
    async with start(STREAMS) as client:
        assert any(each["type"] == "interim" for each in await session(client, SPEECH.render()))
        assert not any(each["type"] == "interim" for each in await session(client, SPEECH.render(), interim=False))


@pytest.mark.parametrize("configuration", [STREAMS, ONE_SHOT], ids=["streaming", "one-shot"])
@pytest.mark.parametrize(("rate", "step"), [(48_000, 9601), (44_101, 4410), (11_025, 5001), (8_000, 401)])
async def test_any_rate_in_frames_of_any_size(start: Start, configuration: str, rate: int, step: int) -> None:
    short = tones.compose(["天地玄黄"], lead=0.3, tail=0.3)
    async with start(configuration) as client:
        told = await session(client, short.render(rate), rate, step)
    assert [each["text"] for each in finals(told)] == ["天地玄黄"]
    assert finals(told)[0]["start"] <= short.symbols[0].start + 0.02
    assert told[-1]["duration"] == pytest.approx(short.duration, abs=0.01)


async def test_a_sentence_that_takes_too_long_ends_the_session(start: Start) -> None:
    """One-shot: each sentence has the policy's time, counted from its own end."""
    hangs = ONE_SHOT.replace("streaming: false}", "streaming: false}, script: [{}, {hang: true}]") + "\npolicy: {timeout: 400ms}"
    async with start(hangs) as client:
        told = await session(client, SPEECH.render())
        assert [each["text"] for each in finals(told)] == ["天地玄黄"]
        assert told[-1]["error"]["code"] == "deadline_exceeded"
        while client.sidecar.runtime.in_flight:
            await asyncio.sleep(0.01)
        assert (await client.get("/v1/status"))[1]["providers"]["tones"]["in_flight"] == 0


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
async def test_telephone_encodings(start: Start, encoding: str) -> None:
    codes = np.arange(256, dtype=np.uint8).tobytes()
    values = np.frombuffer(g711.linear(codes, encoding), "<i2").astype(int)
    samples = np.frombuffer(tones.synthesize("天地玄黄", 8000), "<i2").astype(int)
    body = np.abs(samples[:, None] - values[None, :]).argmin(axis=1).astype(np.uint8).tobytes()
    async with start(STREAMS) as client:
        told = await session(client, body, 8000, 160, encoding=encoding)
    assert told[-1]["text"].strip("。.") == "天地玄黄"


async def test_the_vendors_own_streaming_stands_behind_it(start: Start) -> None:
    async with Emulator() as cloud:
        text = SERVER + (
            f"providers: {{aliyun: {{type: aliyun, transport: websocket, appkey: {cloud.appkey}, access_key_id: {cloud.access_key_id}, "
            f"access_key_secret: {cloud.access_key_secret}, gateway_url: '{cloud.gateway_url}', token_url: '{cloud.token_url}'}}}}"
        )
        async with start(text) as client:
            told = await session(client, SPEECH.render())
    assert [each for each in told[-1]["text"] if each in tones.ALPHABET] == list("天地玄黄宇宙洪荒日月盈昃")
    assert len(finals(told)) == 3


async def test_a_failing_provider_hands_over_to_the_next_without_losing_what_was_said(start: Start) -> None:
    text = SERVER + (
        "providers:\n  broken: {type: fake, script: [{times: 100, error: unavailable}]}\n  sound: {type: fake}\n"
        "policy: {retries: {attempts: 1}}\nroutes: {default: {providers: [broken, sound]}}"
    )
    async with start(text) as client:
        told = await session(client, SPEECH.render())
    assert [each for each in told[-1]["text"] if each in tones.ALPHABET] == list("天地玄黄宇宙洪荒日月盈昃")


@pytest.mark.parametrize(
    ("first", "code", "param"),
    [
        ({"type": "start"}, "invalid_parameter", "sample_rate"),
        ({"type": "start", "sample_rate": 16_000, "colour": "red"}, "invalid_parameter", "colour"),
        ({"type": "start", "sample_rate": 16_000, "route": "nowhere"}, "unknown_route", "route"),
        ({"type": "start", "sample_rate": 16_000, "vocabulary": "x"}, "unsupported_parameter", "vocabulary"),
    ],
)
async def test_a_wrong_start_is_an_error_message(start: Start, first: dict[str, Any], code: str, param: str) -> None:
    async with start(STREAMS) as client, client.session.ws_connect(client.sidecar.url + "/v1/stream") as socket:
        await socket.send_json(first)
        told = (await socket.receive()).json()
        assert (told["type"], told["error"]["code"], told["error"]["param"]) == ("error", code, param)


async def test_an_idle_client_is_told_and_let_go(start: Start) -> None:
    async with start(STREAMS) as client, client.session.ws_connect(client.sidecar.url + "/v1/stream") as socket:
        await socket.send_json({"type": "start", "sample_rate": 16_000})
        told = [message.json() async for message in socket]
        assert told[-1]["error"]["code"] == "request_timeout"
        while client.sidecar.runtime.in_flight:
            await asyncio.sleep(0.01)


async def test_a_client_that_vanishes_frees_everything(start: Start) -> None:
    async with start(STREAMS) as client:
        async with client.session.ws_connect(client.sidecar.url + "/v1/stream") as socket:
            await socket.send_json({"type": "start", "sample_rate": 16_000})
            await socket.receive()
            await socket.send_bytes(bytes(3200))
        while client.sidecar.runtime.in_flight:
            await asyncio.sleep(0.01)
        _, status = await client.get("/v1/status")
        assert status["providers"]["tones"]["in_flight"] == 0


@pytest.mark.parametrize(("source", "target"), [(48_000, 16_000), (44_100, 16_000), (22_050, 8_000)])
def test_the_live_resampler_is_band_limited(source: int, target: int) -> None:
    tone = (12_000 * np.sin(2 * np.pi * target * 0.625 * np.arange(source) / source)).astype("<i2").tobytes()
    resampler = Resampler(source, target)
    out = b"".join(resampler.feed(tone[at : at + 999]) for at in range(0, len(tone), 999)) + resampler.flush()
    heard = np.frombuffer(out, "<i2").astype(float)[500:-500]
    assert np.sqrt((heard**2).mean()) < 12_000 / np.sqrt(2) / 1000  # 60 dB


@pytest.mark.parametrize(("source", "target"), [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (16_000, 8_000)])
def test_the_live_resampler_leaves_speech_as_it_is(source: int, target: int) -> None:
    """Up to 0.8 of the lower rate's Nyquist frequency: as loud to 0.1 dB, in one tone, and as long."""
    frequency = 0.4 * min(source, target)
    tone = (12_000 * np.sin(2 * np.pi * frequency * np.arange(source) / source)).astype("<i2").tobytes()
    resampler = Resampler(source, target)
    out = np.frombuffer(resampler.feed(tone) + resampler.flush(), "<i2").astype(float)
    assert abs(len(out) - target) <= 1
    heard = out[target // 4 : target // 2]
    waves = np.exp(2j * np.pi * frequency * np.arange(len(heard)) / target)
    expected = waves * 2 * (heard * waves.conj()).mean()
    assert np.abs(2 * (heard * waves.conj()).mean()) == pytest.approx(12_000, rel=0.0115)
    assert np.sqrt(((heard - expected.real) ** 2).mean()) < 12_000 / 1000  # what is not the tone is 57 dB below it


@given(
    sizes=st.lists(st.integers(0, 700), min_size=1, max_size=8),
    rates=st.sampled_from([(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (24_000, 16_000), (16_000, 8_000)]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_the_sizes_of_the_pieces_make_no_difference_to_the_live_resampler(sizes: list[int], rates: tuple[int, int], seed: int) -> None:
    """Odd ones too: a frame of a socket may end within a sample. Noise at full scale, which the filter drives over it."""
    pcm = random.Random(seed).randbytes(2 * 1_500)
    whole, pieces = Resampler(*rates), Resampler(*rates)
    expected = whole.feed(pcm) + whole.flush()
    got, at = b"", 0
    for size in (*sizes, len(pcm)):
        got += pieces.feed(pcm[at : at + size])
        at += size
    assert got + pieces.flush() == expected
