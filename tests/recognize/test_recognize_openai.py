"""The OpenAI door, through the unmodified official client with only its base URL changed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from asrproxy.testing import tones
from tests.recognize.conftest import Client

TEXT = "天地玄黄"
WAV = ("speech.wav", tones.to_wav(tones.synthesize(TEXT), 16_000))


@pytest.fixture
async def official(client: Client) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=client.sidecar.url + "/v1", api_key="unused", max_retries=0) as each:
        yield each


async def test_json_is_the_default(official: openai.AsyncOpenAI) -> None:
    assert (await official.audio.transcriptions.create(model="whisper-1", file=WAV)).text == TEXT


async def test_a_route_or_a_provider_is_a_model(official: openai.AsyncOpenAI) -> None:
    for model in ("default", "tones"):
        assert (await official.audio.transcriptions.create(model=model, file=WAV)).text == TEXT
    assert [each.id async for each in official.models.list()] == ["default", "tones"]
    assert (await official.models.retrieve("tones")).id == "tones"


@pytest.mark.parametrize(("response_format", "part"), [("text", TEXT), ("srt", "00:00:00,"), ("vtt", "WEBVTT")])
async def test_plain_formats(official: openai.AsyncOpenAI, response_format, part: str) -> None:
    assert part in await official.audio.transcriptions.create(model="whisper-1", file=WAV, response_format=response_format)


async def test_verbose_json_has_words_and_segments(official: openai.AsyncOpenAI) -> None:
    answer = await official.audio.transcriptions.create(
        model="whisper-1", file=WAV, response_format="verbose_json", timestamp_granularities=["word", "segment"], language="zh"
    )
    assert answer.text == TEXT
    assert answer.duration == pytest.approx(len(WAV[1][44:]) / 32_000, abs=0.01)
    assert [segment.text for segment in answer.segments or ()] == [TEXT]
    assert "".join(word.word for word in answer.words or ()) == TEXT


async def test_a_stream_of_deltas_adds_up_to_the_text(official: openai.AsyncOpenAI) -> None:
    deltas, done = "", None
    async for event in await official.audio.transcriptions.create(model="whisper-1", file=WAV, stream=True):
        if event.type == "transcript.text.delta":
            deltas += event.delta
        elif event.type == "transcript.text.done":
            done = event.text
    assert deltas == done == TEXT


async def test_errors_are_the_clients_own_classes(official: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await official.audio.transcriptions.create(model="no-such-model", file=WAV)
    assert unknown.value.code == "unknown_route"
    assert unknown.value.param == "model"
    with pytest.raises(openai.BadRequestError) as bad:
        await official.audio.transcriptions.create(model="whisper-1", file=("x.wav", b"not audio at all"))
    assert bad.value.code == "invalid_audio"


async def test_what_cannot_be_honoured_is_refused_by_name(official: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await official.audio.transcriptions.create(model="whisper-1", file=WAV, include=["logprobs"])
    assert refused.value.code == "unsupported_parameter"
