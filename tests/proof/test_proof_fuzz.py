"""Damaged recordings of every codec cost no decoder process and no memory: the short form of `python -m bench.fuzz_decode`."""

from __future__ import annotations

import asyncio

from bench.fuzz_decode import damaged, fuzz
from tests.audio.audio_encoding import NAMES

INPUTS = 300


async def test_damaged_recordings_crash_nothing_and_hang_nothing() -> None:
    found = await asyncio.wait_for(fuzz(iter(range(INPUTS)), seed=1), 240)
    assert found.inputs == INPUTS >= len(NAMES)
    assert found.ended == {}
    assert set(found.outcomes) <= {"decoded", "InvalidAudio", "UnsupportedMedia", "AudioTooLong"}
    assert found.outcomes["decoded"] > INPUTS / 10, "most are damaged so far that nobody looks into them"
    assert max(found.memory) < 200


async def test_inputs_that_once_hung_a_decoder_are_refused_at_once() -> None:
    """Headers that claim hundreds of megahertz."""
    hung = [8744, 13713, 25392, 29901]
    found = await asyncio.wait_for(fuzz(iter(hung), seed=0), 240)
    assert found.outcomes == {"InvalidAudio": len(hung)}


def test_an_input_can_be_made_again_from_its_number() -> None:
    assert damaged(7, 42) == damaged(7, 42) != damaged(8, 42)
