"""Mandarin, English and more by the engine whisper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from asrproxy.plugin import UnsupportedParameter
from tests.local.conftest import RATE, SAID, SENSE, Recording, Running, pcm_of, started
from tests.local.error_rates import character_errors, word_errors
from tests.local.test_local_moonshine import sounds

pytestmark = pytest.mark.asyncio(loop_scope="module")
Speech = dict[str, list[Recording]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whisper(whisper_cache: Path) -> AsyncIterator[Running]:
    """One process for all of these tests."""
    async with started(whisper_cache, engine="whisper") as running:
        yield running


def after_pauses(said: list[Recording], seconds: float) -> bytes:
    """The recordings, each after a pause with the noise of a room."""
    chance = np.random.default_rng(1)
    return b"".join(chance.normal(0, 12, round(seconds * RATE)).astype("<i2").tobytes() + each.pcm for each in said)


async def texts(running: Running, recordings: list[Recording], language: str) -> list[str]:
    return [answer.text for answer in await asyncio.gather(*(running.hear(each.pcm, language=language) for each in recordings))]


async def test_mandarin_is_heard_and_written_simplified(whisper: Running, recordings: Speech) -> None:
    """Six of the 71 characters are wrong (8.5 %), three of them the same homophone; one more is granted to another CPU's rounding."""
    heard = await texts(whisper, recordings["zh"], "zh-CN")
    assert character_errors([each.text for each in recordings["zh"]], heard) <= 7 / 71
    assert "近几年" in "".join(heard)
    assert not set("廣產協會溫達學") & set("".join(heard))


async def test_english_is_heard_within_the_error_rate_that_was_promised(whisper: Running, recordings: Speech) -> None:
    heard = await texts(whisper, recordings["en"], "en")
    assert word_errors([each.text for each in recordings["en"]], heard) <= 0.03


async def test_the_words_of_several_mandarin_sentences_make_up_their_text(whisper: Running, recordings: Speech) -> None:
    order = [recordings["zh"][index] for index in (0, 3, 1, 3, 0)]
    joined = await whisper.hear(after_pauses(order, 0.9), language="zh-CN", words=True)
    assert character_errors(["".join(each.text for each in order)], [joined.text]) <= 0.2
    assert joined.words is not None
    assert "".join(each.text for each in joined.words) == joined.text.replace(" ", "")


async def test_several_sentences_in_one_recording_are_all_heard_where_they_are_said(whisper: Running) -> None:
    """In one window of whisper's they are not: it leaves out whole sentences."""
    sense = Recording(pcm_of(SENSE), SAID)
    joined = await whisper.hear(after_pauses([sense] * 5, 1.5), language="en", words=True)
    assert joined.text == " ".join([SAID] * 5)
    assert joined.words is not None
    starts = [each.start for each in joined.words if each.text == "He"]
    period = 1.5 + len(sense.pcm) / 2 / RATE
    assert [round((each - starts[0]) / period, 1) for each in starts] == [0, 1, 2, 3, 4]


async def test_the_language_is_found_out_where_nobody_names_it(whisper: Running, recordings: Speech) -> None:
    assert (await whisper.hear(pcm_of(SENSE))).language == "en"
    assert (await whisper.hear(recordings["zh"][0].pcm)).language == "zh-CN"


async def test_the_configured_language_holds_where_the_caller_names_none(whisper_cache: Path, recordings: Speech) -> None:
    async with started(whisper_cache, engine="whisper", language="zh-TW", beam=1) as running:
        heard = await running.hear(recordings["zh"][0].pcm)
    assert heard.language == "zh-TW"
    assert "廣州" in heard.text


async def test_words_come_in_order_with_times_and_in_the_script_of_the_text(whisper: Running, recordings: Speech) -> None:
    english = await whisper.hear(pcm_of(SENSE), words=True, language="en")
    mandarin = await whisper.hear(recordings["zh"][0].pcm, words=True, language="zh")
    assert english.words is not None
    assert " ".join(each.text for each in english.words) == SAID
    assert mandarin.words is not None
    assert "".join(each.text for each in mandarin.words) == mandarin.text
    for words in (english.words, mandarin.words):
        times = [moment for each in words for moment in (each.start, each.end)]
        assert times == sorted(times)
        assert times[-1] > times[0]


async def test_where_nobody_speaks_the_text_is_empty(whisper: Running) -> None:
    for language in (None, "en", "zh-CN"):
        for name, sound in sounds().items():
            heard = await whisper.hear(sound, language=language, words=True)
            assert (name, heard.text, heard.words) == (name, "", ())


async def test_what_is_asked_of_it_is_done_or_refused(whisper: Running, recordings: Speech) -> None:
    bare = await whisper.hear(pcm_of(SENSE), language="en", punctuation=False, words=True, temperature=0.0)
    assert bare.text == SAID.removesuffix(".")
    assert bare.words is not None
    assert bare.words[-1].text == "himself"
    marked = next(each for each in recordings["zh"] if each.text.startswith("近几年"))
    assert "," not in (await whisper.hear(marked.pcm, language="zh-CN", punctuation=False)).text
    for options in ({"punctuation": True, "language": "zh-CN"}, {"itn": True}, {"language": "tlh"}):
        with pytest.raises(UnsupportedParameter) as refused:
            await whisper.hear(marked.pcm, **options)
        assert refused.value.param == next(iter(options))


@pytest.mark.parametrize("option", ["vocabulary", "prompt"])
async def test_hot_words_and_prompts_steer_the_spelling(whisper: Running, option: str) -> None:
    heard = await whisper.hear(pcm_of(SENSE), language="en", **{option: "AMIABLE"})
    assert "AMIABLE" in heard.text
    assert heard.text.casefold() == SAID.casefold()


async def test_a_model_in_a_folder_of_the_users_own_is_taken(whisper_cache: Path, tmp_path: Path) -> None:
    async with started(
        tmp_path, engine="whisper", folder=str(whisper_cache / "models" / "whisper-base"), download=False, beam=1
    ) as running:
        assert (await running.hear(pcm_of(SENSE))).text == SAID
