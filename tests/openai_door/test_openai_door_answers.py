"""What the official Python client gets, in both its forms, with only its base URL changed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import openai
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose

from asrproxy.testing.sidecar import RunningSidecar
from tests.openai_door.conftest import Start, one_by_one
from tests.openai_door.official import Official, official
from tests.openai_door.recordings import LONG, PHRASES, SECONDS, TEXT, WAV


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, door: RunningSidecar) -> AsyncIterator[Official]:
    async with official(request.param, door.openai_url) as each:
        yield each


async def test_json_is_the_default(client: Official) -> None:
    answer = await client.create()
    assert answer.text == TEXT
    assert (answer.usage.type, answer.usage.seconds) == ("duration", pytest.approx(SECONDS, abs=0.01))


async def test_plain_formats_are_text(client: Official) -> None:
    for response_format, begins in (("text", TEXT), ("srt", "1\n00:00:00,"), ("vtt", "WEBVTT")):
        answer = await client.create(response_format=response_format)
        assert isinstance(answer, str)
        assert answer.startswith(begins)
        assert TEXT in answer


async def test_verbose_json_says_which_of_openais_figures_nobody_measured(client: Official) -> None:
    answer = await client.create(file=("long.wav", LONG), response_format="verbose_json", language="zh")
    assert answer.model_extra["not_measured"] == ["avg_logprob", "no_speech_prob", "seek", "tokens"]
    for segment in answer.segments:
        assert (segment.avg_logprob, segment.no_speech_prob, segment.seek, segment.tokens) == (0, 0, 0, [])
    words = await client.create(file=("long.wav", LONG), response_format="verbose_json", language="zh", timestamp_granularities=["word"])
    assert "not_measured" not in words.model_extra  # it speaks of segments, and there are none


async def test_verbose_json_has_the_times_that_were_asked_for(client: Official) -> None:
    for granularities in ([], ["word"], ["segment"], ["word", "segment"]):
        asked = {"timestamp_granularities": granularities} if granularities else {}
        answer = await client.create(file=("long.wav", LONG), response_format="verbose_json", language="zh", **asked)
        assert (answer.text, answer.language) == ("".join(PHRASES), "zh")
        assert answer.duration == pytest.approx((len(LONG) - 44) / 32_000, abs=0.05)
        assert (answer.words is not None) == ("word" in granularities)
        assert (answer.segments is not None) == (granularities != ["word"])
        if answer.words is not None:
            assert "".join(word.word for word in answer.words) == "".join(PHRASES)
            assert all(before.end <= after.start for before, after in zip(answer.words, answer.words[1:], strict=False))
        if answer.segments is not None:
            assert [(each.id, each.text) for each in answer.segments] == list(enumerate(PHRASES))


async def test_a_stream_of_deltas_adds_up_to_the_text(client: Official) -> None:
    events = await client.events(file=("long.wav", LONG))
    *deltas, done = events
    assert {each.type for each in deltas} == {"transcript.text.delta"}
    assert [each.delta for each in deltas] == list(PHRASES)
    assert (done.type, done.text) == ("transcript.text.done", "".join(PHRASES))


async def test_latin_words_keep_their_spaces_between_deltas(client: Official, door: RunningSidecar) -> None:
    door.vendor.answer("to be or not to be", "that is the question", always=True)
    *deltas, done = await client.events(file=("long.wav", LONG))
    assert [each.delta for each in deltas] == ["to be or not to be", " that is the question", " that is the question"]
    assert done.text == "".join(each.delta for each in deltas)


async def test_a_recording_without_speech_is_an_empty_text_in_every_form(client: Official) -> None:
    silence = ("silence.wav", WAV[:44] + bytes(32_000))
    assert (await client.create(file=silence)).text == ""
    assert (await client.create(file=silence, response_format="verbose_json")).segments[0].text == ""
    assert [(each.type, each.text) for each in await client.events(file=silence)] == [("transcript.text.done", "")]


async def test_routes_providers_and_openais_names_are_models(client: Official, door: RunningSidecar) -> None:
    assert await client.models() == ["default", "vendor"]
    for name in ("default", "vendor", "whisper-1", "gpt-4o-transcribe"):
        assert (await client.model(name)).id == name
        assert (await client.create(model=name)).text == TEXT
    assert [each.route for each in door.requests if each.body_bytes] == ["default", "vendor", "default", "default"]


async def test_what_is_asked_for_reaches_the_vendor(client: Official, door: RunningSidecar) -> None:
    await client.create(language="zh", prompt="千字文", temperature=0.4)
    (asked,) = door.vendor.asked
    assert (asked.options.language, asked.options.prompt, asked.options.temperature) == ("zh", "千字文", 0.4)
    assert asked.seconds == pytest.approx(SECONDS, abs=0.01)


async def test_the_same_answers_pass_the_clients_types_strictly(door: RunningSidecar) -> None:
    """The client itself takes almost anything; clients of stricter languages do not."""
    async with aiohttp.ClientSession() as session:
        for shape, fields in (
            (Transcription, {}),
            (TranscriptionVerbose, {"response_format": "verbose_json"}),
            (TranscriptionVerbose, {"response_format": "verbose_json", "timestamp_granularities": "word"}),
        ):
            form = aiohttp.FormData({"model": "whisper-1", **fields})
            form.add_field("file", WAV, filename="speech.wav")
            async with session.post(f"{door.openai_url}/audio/transcriptions", data=form) as answer:
                body = await answer.json()
            assert shape.model_validate(body, strict=True).text == TEXT


async def test_the_first_delta_does_not_wait_for_the_last_segment(start: Start) -> None:
    door = start(one_by_one("{hang: true}"))
    async with openai.AsyncOpenAI(base_url=door.openai_url, api_key="unused", max_retries=0) as client:
        stream = await client.audio.transcriptions.create(model="whisper-1", file=("long.wav", LONG), stream=True)
        first = await anext(stream)
        assert first.type == "transcript.text.delta"
        assert first.delta == PHRASES[0]
        door.vendor.arrived()  # the second call, which never ends by itself
        await stream.close()
    door.vendor.idle()
