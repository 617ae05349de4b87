"""The voice detector: one byte for each 10 ms, the same however the audio comes, and nothing said is taken for silence."""

from __future__ import annotations

import math
import random
from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.audio.segment import cut
from asrproxy.audio.vad import LEVEL, QUIETEST, SPEECH, VoiceDetector, voiced_seconds


def detected(pcm: bytes, sample_rate: int = 16_000) -> bytes:
    detector = VoiceDetector(sample_rate)
    return detector.feed(pcm) + detector.flush()


def tone(seconds: float, *frequencies: float, amplitude: float = 6000, sample_rate: int = 16_000) -> bytes:
    moments = (index / sample_rate for index in range(round(seconds * sample_rate)))
    return array("h", (int(sum(amplitude * math.sin(2 * math.pi * each * at) for each in frequencies)) for at in moments)).tobytes()


@given(seed=st.integers(0, 999), length=st.integers(0, 4000), sizes=st.lists(st.integers(1, 1500), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_the_sizes_of_the_parts_make_no_difference(seed: int, length: int, sizes: list[int]) -> None:
    pcm = random.Random(seed).randbytes(length * 2)
    detector = VoiceDetector(16_000)
    got, position, index = b"", 0, 0
    while position < len(pcm):
        size = sizes[index % len(sizes)]
        got, position, index = got + detector.feed(pcm[position : position + size]), position + size, index + 1
    got += detector.flush()
    assert got == detected(pcm)
    assert len(got) == length // 160


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 24_000, 44_100, 48_000])
def test_levels_are_decibels_below_full_scale(sample_rate: int) -> None:
    levels = detected(tone(1, 1000, amplitude=3276.8, sample_rate=sample_rate), sample_rate)
    assert len(levels) == 100
    assert {level & LEVEL for level in levels} == {23}  # a sine a tenth as high as can be: 20 dB, and 3 for its RMS
    assert {level & LEVEL for level in detected(bytes(sample_rate), sample_rate)} == {QUIETEST}


def test_a_rate_without_whole_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="11025"):
        VoiceDetector(11_025)


@pytest.mark.parametrize("frequencies", [(440, 1330), (700, 2100), (1000, 3300)])
def test_steady_tones_are_something_said_and_digital_silence_is_not(frequencies: tuple[float, float]) -> None:
    levels = detected(bytes(32_000) + tone(2, *frequencies) + bytes(64_000))
    assert all(level & SPEECH for level in levels[105:295])
    assert not any(level & SPEECH for level in levels[330:])
    assert 1.8 <= voiced_seconds(levels) <= 2.4


def test_tones_that_go_on_for_minutes_are_all_sent() -> None:
    symbol = tone(0.2, 440, 1330) + tone(0.2, 700, 2100)
    levels = detected(bytes(160_000) + symbol * 200 + bytes(320_000))
    spans = cut(levels, longest=59, min_silence=0.3, overlap=2, skip_silence=3)
    assert spans[0].first in range(450, 501)
    assert spans[-1].last in range(8500, 8580)
    assert all(after.first <= before.last for before, after in pairwise(spans))
