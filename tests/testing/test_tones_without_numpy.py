"""The tone alphabet is heard where numpy is not installed: in the slim image, and where the package came without extras."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.testing import looks
from asrproxy.testing.tones import CHARACTERS, dictation, synthesize

TURNS = (400 / 8_000, 650 / 8_000, 1500 / 8_000, 3300 / 8_000)

HEARS = """
import sys
if {absent}:
    sys.modules["numpy"] = None
from asrproxy.testing.tones import decode, dictation
for rate in (8_000, 16_000, 44_100):
    for each in decode(dictation(6, seed=3).render(rate), rate):
        print(rate, each.text, round(each.start, 3), round(each.end, 3))
assert {absent} or "numpy" in sys.modules
"""


@pytest.fixture(scope="module")
def heard() -> dict[bool, list[list[str]]]:
    found = {}
    for absent in (False, True):
        code = HEARS.format(absent=absent)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ))
        found[absent] = [line.split() for line in done.stdout.splitlines()]
    return found


def test_without_numpy_every_symbol_is_heard(heard: dict[bool, list[list[str]]]) -> None:
    for rate in ("8000", "16000", "44100"):
        assert "".join(text for each, text, *_ in heard[True] if each == rate) == dictation(6, seed=3).text


def test_and_at_the_same_times(heard: dict[bool, list[list[str]]]) -> None:
    for plain, quick in zip(heard[True], heard[False], strict=True):
        assert plain[:2] == quick[:2]
        assert [float(each) for each in plain[2:]] == pytest.approx([float(each) for each in quick[2:]], abs=0.0011)


@given(
    text=st.text(CHARACTERS[:20] + " ", max_size=4),
    noise=st.integers(0, 8_000),
    seed=st.integers(0, 9),
    cut=st.integers(0, 2_000),
    hop=st.sampled_from([40, 55]),
)
@settings(max_examples=40, deadline=None)
def test_both_ways_of_looking_see_the_same_in_any_sound(text: str, noise: int, seed: int, cut: int, hop: int) -> None:
    clean = np.frombuffer(synthesize(text, 8_000), "<i2")[cut:]
    added = np.random.default_rng(seed).integers(-noise, noise + 1, len(clean))
    pcm = np.clip(clean + added, -32_768, 32_767).astype("<i2").tobytes()
    plain, quick = looks.plainly(pcm, TURNS, hop, 6), looks.with_numpy(pcm, TURNS, hop, 6)
    assert list(plain.energy) == pytest.approx(list(quick.energy), rel=1e-3, abs=0.5)
    assert len(plain.amplitude) == len(quick.amplitude) == len(TURNS)
    for ours, theirs in zip(plain.amplitude, quick.amplitude, strict=True):
        assert list(ours) == pytest.approx(list(theirs), rel=1e-3, abs=0.5)
