"""Down-mix and resampling keep the speech band clean and every channel heard."""

from __future__ import annotations

import shutil
from array import array
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from asrproxy.audio.decode import Decoders
from asrproxy.model import AudioFormat, Utterance
from asrproxy.testing import tones
from tests.audio.audio_encoding import encoded, level, samples, sine

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEREO = ("wav", "pcm_s16le", 44_100, "stereo", "s16", {})
MONO = ("wav", "pcm_s16le", 44_100, "mono", "s16", {})


def middle(pcm: bytes, rate: int = 16_000) -> bytes:
    """Without the ends, where a tone that is switched on and off has every frequency."""
    return bytes(pcm)[rate // 2 : -rate // 2]


@pytest.mark.parametrize(("rate", "frequency"), [(16_000, 10_000), (16_000, 9_000), (16_000, 20_000), (8_000, 5_000), (8_000, 10_000)])
@pytest.mark.parametrize("form", [MONO, STEREO])
async def test_what_lies_above_the_new_band_is_gone(decoders: Decoders, decode: Any, rate: int, frequency: int, form: Any) -> None:
    tone = sine(frequency, 44_100, 2.0)
    [block] = await decode(decoders, encoded(tone, form), rate)
    before = level((tone * 32767).astype("<i2").tobytes())
    assert level(middle(block.pcm, rate)) <= before - 60


@pytest.mark.parametrize("rate", [8_000, 16_000])
async def test_what_lies_within_the_band_keeps_its_level(decoders: Decoders, decode: Any, rate: int) -> None:
    tone = sine(3_000, 44_100, 2.0)
    [block] = await decode(decoders, encoded(tone, STEREO), rate)
    before = level((tone * 32767).astype("<i2").tobytes())
    assert level(middle(block.pcm, rate)) == pytest.approx(before, abs=0.5)


@pytest.mark.parametrize("speaking", [0, 1])
async def test_one_silent_channel_does_not_hide_the_other(decoders: Decoders, decode: Any, speaking: int) -> None:
    voice = samples(44_100)
    rows = [voice * (row == speaking) for row in range(2)]
    [block] = await decode(decoders, encoded(None, STEREO, rows))
    assert tones.text_of(tones.decode(block.pcm, 16_000)) == "天地玄黄宇宙洪荒"


@pytest.mark.parametrize("layout", ["5.1", "7.1", "quad"])
async def test_speech_in_the_middle_of_many_channels_is_heard(decoders: Decoders, decode: Any, layout: str) -> None:
    voice = samples(48_000)
    count = {"5.1": 6, "7.1": 8, "quad": 4}[layout]
    rows = [voice * (row == (2 if count > 4 else 0)) for row in range(count)]
    [block] = await decode(decoders, encoded(None, ("wav", "pcm_s16le", 48_000, layout, "s16", {}), rows))
    assert tones.text_of(tones.decode(block.pcm, 16_000)) == "天地玄黄宇宙洪荒"


async def test_an_utterance_is_converted_to_another_rate(decoders: Decoders) -> None:
    tone = (sine(3_000, 16_000, 2.0) + sine(6_000, 16_000, 2.0)) / 2
    utterance = Utterance((tone * 32767).astype("<i2").tobytes(), AudioFormat(16_000), start=7.5)
    made = await decoders.convert(utterance, AudioFormat(8_000))
    assert (made.format, made.start) == (AudioFormat(8_000), 7.5)
    assert made.duration == pytest.approx(2.0, abs=0.01)
    spectrum = np.abs(np.fft.rfft(np.asarray(array("h", middle(bytes(made.pcm), 8_000)), dtype=float)))
    frequencies = np.fft.rfftfreq(len(middle(bytes(made.pcm), 8_000)) // 2, 1 / 8_000)
    assert frequencies[spectrum.argmax()] == pytest.approx(3_000, abs=5)
    folded = spectrum[np.abs(frequencies - 2_000) < 20].max()
    assert 20 * np.log10(spectrum.max() / folded) > 60


async def test_speech_is_told_from_silence(decoders: Decoders) -> None:
    silence = Utterance(bytes(2 * 16_000 * 2), AudioFormat(16_000))
    speech = Utterance(tones.synthesize("天地玄黄宇宙洪荒" * 2, 16_000), AudioFormat(16_000))
    assert await decoders.voiced(silence) == 0
    assert 1.0 < await decoders.voiced(speech) <= speech.duration


async def test_why_pydub_is_not_asked_to_resample() -> None:
    """`set_frame_rate` folds a 10 kHz tone into the speech band almost as loud as it was."""
    from pydub import AudioSegment

    tone = (sine(10_000, 44_100, 2.0) * 32767).astype("<i2").tobytes()
    segment = AudioSegment(tone, frame_rate=44_100, sample_width=2, channels=1).set_frame_rate(16_000)
    assert level(middle(segment.raw_data)) > level(tone) - 6


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")
async def test_why_pydub_is_not_asked_to_read() -> None:
    """`from_file` puts its parameters behind the output, where ffmpeg does not look: the rate stays."""
    from pydub import AudioSegment

    flac = encoded(sine(1_000, 44_100, 0.5), ("flac", "flac", 44_100, "mono", "s16", {}))
    assert AudioSegment.from_file(BytesIO(flac), parameters=["-ar", "16000"]).frame_rate == 44_100
