"""English by the engine moonshine, which is what a sidecar with no configuration answers with."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from asrproxy.plugin import UnsupportedParameter
from tests.local.conftest import BECKETT, RATE, SAID, SENSE, TWO_CITIES, Local, Recording, package_recording, pcm_of
from tests.local.error_rates import word_errors


def test_settings_that_go_with_whisper_only_are_refused_by_name(local: Local) -> None:
    from asrproxy_local.settings import LocalSettings

    for settings in ({"folder": "/models"}, {"model": "small"}, {"beam": 1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            LocalSettings.model_validate(settings)
    with pytest.raises(ValueError, match="engine: whisper"):
        LocalSettings(language="zh-CN")
    with pytest.raises(ValueError, match="BCP 47"):
        LocalSettings(engine="whisper", language="tlh")


async def test_the_recording_that_ships_here_is_heard_word_for_word(local: Local) -> None:
    async with local() as running:
        heard = await running.hear(pcm_of(SENSE))
    assert (heard.text, heard.language, heard.words) == (SAID, "en", None)


async def test_long_readings_are_heard_within_the_error_rate_that_was_promised(local: Local) -> None:
    async with local() as running:
        heard = await running.hear(package_recording("two_cities.wav"))
    assert word_errors([TWO_CITIES], [heard.text]) <= 13 / 181 + 0.03


async def test_short_recordings_are_heard_within_the_error_rate_that_was_promised(
    local: Local, recordings: dict[str, list[Recording]]
) -> None:
    short = [*recordings["en"], Recording(package_recording("beckett.wav"), BECKETT)]
    async with local() as running:
        heard = await asyncio.gather(*(running.hear(each.pcm, language="en-US") for each in short))
    assert word_errors([each.text for each in short], [each.text for each in heard]) <= 3 / 114 + 0.03


async def test_what_is_heard_does_not_depend_on_what_was_heard_before(local: Local) -> None:
    """The library's voice-activity detector would carry one caller's audio over into the next one's text."""
    reading, sentence = package_recording("beckett.wav"), pcm_of(SENSE)
    async with local() as running:
        first = (await running.hear(sentence)).text
        alone = (await running.hear(reading)).text
        together = await asyncio.gather(*(running.hear(each) for each in (sentence, reading, sentence)))
    assert [each.text for each in together] == [first, alone, first]


@pytest.mark.parametrize("sound", ["silence", "hiss", "tone", "click", "nothing"])
async def test_where_nobody_speaks_the_text_is_empty(local: Local, sound: str) -> None:
    async with local() as running:
        assert (await running.hear(sounds()[sound])).text == ""


async def test_punctuation_is_left_out_where_it_is_not_wanted(local: Local) -> None:
    async with local() as running:
        heard = await running.hear(pcm_of(SENSE), punctuation=False)
        assert heard.text == SAID.removesuffix(".")
        assert (await running.hear(pcm_of(SENSE), punctuation=True)).text == SAID


async def test_what_the_engine_has_not_is_refused_by_name(local: Local) -> None:
    async with local() as running:
        for option, value in {"words": True, "itn": True, "vocabulary": "Dashwood", "prompt": "Dashwood", "temperature": 0.0}.items():
            with pytest.raises(UnsupportedParameter) as refused:
                await running.hear(b"", **{option: value})
            assert refused.value.param == option
        with pytest.raises(UnsupportedParameter) as refused:
            await running.hear(b"", language="zh-CN")
        assert refused.value.param == "language"


def sounds() -> dict[str, bytes]:
    """Five seconds in which nobody speaks, and less."""
    time = np.arange(5 * RATE) / RATE
    return {
        "silence": bytes(2 * 5 * RATE),
        "hiss": np.random.default_rng(1).normal(0, 1000, 5 * RATE).astype("<i2").tobytes(),
        "tone": (8000 * np.sin(2 * np.pi * 440 * time)).astype("<i2").tobytes(),
        "click": bytes(2 * 80) + (30_000).to_bytes(2, "little") * 8 + bytes(2 * 80),
        "nothing": b"",
    }
