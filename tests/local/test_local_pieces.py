"""Where an utterance is cut for whisper, without an engine."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from asrproxy_local.pieces import LONGEST, MARGIN, PAUSE, Stretch, pieces

RATE = 1000
LENGTHS = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 9000)), max_size=20)
"""Milliseconds: a pause and the speech after it."""


def speech_of(lengths: list[tuple[int, int]]) -> list[Stretch]:
    found, end = [], 0
    for pause, speech in lengths:
        found.append((end + pause, end + pause + speech))
        end += pause + speech
    return found


@given(LENGTHS, st.integers(0, 3000))
def test_all_speech_is_in_exactly_one_piece_and_no_piece_holds_two_sentences_that_could_be_apart(
    lengths: list[tuple[int, int]], tail: int
) -> None:
    speech = speech_of(lengths)
    samples = (speech[-1][1] if speech else 0) + tail
    found = pieces(speech, samples, RATE)
    assert all(0 <= start < end <= samples for start, end in found)
    assert all(one[1] <= other[0] for one, other in pairwise(found))
    for stretch in speech:
        assert sum(start <= stretch[0] and stretch[1] <= end for start, end in found) == 1
    for start, end in found:
        inside = [each for each in speech if start <= each[0] and each[1] <= end]
        assert all(other[0] - one[1] < PAUSE * RATE for one, other in pairwise(inside))
        assert len(inside) == 1 or inside[-1][1] - inside[0][0] <= LONGEST * RATE
        assert max(inside[0][0] - start, end - inside[-1][1]) <= MARGIN * RATE


def test_a_long_piece_is_cut_at_its_longest_pause_and_keeps_half_of_it() -> None:
    speech = [(0, 6000), (6300, 12_000), (12_600, 18_000)]
    assert pieces(speech, 18_000, RATE) == [(0, 12_300), (12_300, 18_000)]
