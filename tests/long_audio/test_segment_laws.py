"""Cutting a recording: what holds for every recording, whatever is in it."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.audio.segment import Piece, Segmenter, Span, cut

RATE = 8_000
FRAME = RATE // 100 * 2
SPOKEN, ROOM, QUIET = 0x80 | 20, 70, 25

stretch = st.tuples(
    st.sampled_from([SPOKEN, SPOKEN, ROOM, ROOM, QUIET, 0x80 | 30, 127]), st.integers(1, 900), st.sampled_from([0, 0, 1, 4])
)
recordings = st.lists(stretch, max_size=14).map(
    lambda parts: bytes(
        (level & 0x80) | min(127, (level & 0x7F) + (index * 7919 % (swing + 1)))
        for level, frames, swing in parts
        for index in range(frames)
    )
)
limits = st.fixed_dictionaries({
    "longest": st.sampled_from([2.0, 5.0, 12.34, 59.0]),
    "min_silence": st.sampled_from([0.1, 0.3, 1.0]),
    "overlap": st.sampled_from([0.0, 0.5, 2.0]),
    "skip_silence": st.sampled_from([0.0, 1.0, 3.0]),
})  # fmt: skip


def audible(levels: bytes) -> list[bool]:
    """What nobody may call silence: speech, or as loud as speech."""
    return [level >= 0x80 or level < 40 for level in levels]


@given(levels=recordings, parameters=limits)
@settings(max_examples=300, deadline=None)
def test_every_sound_is_in_a_span_in_order_and_within_the_limit(levels: bytes, parameters: dict[str, float]) -> None:
    spans = cut(levels, **parameters)
    covered = bytearray(len(levels))
    for span in spans:
        assert 0 <= span.first < span.last <= len(levels)
        assert span.last - span.first < parameters["longest"] * 100
        covered[span.first : span.last] = b"\1" * (span.last - span.first)
    for before, after in pairwise(spans):
        assert before.first < after.first
        assert before.last < after.last
        assert before.last - after.first == after.overlap_before or (after.overlap_before == 0 and after.first >= before.last)
        assert before.forced_end == after.forced_start
    assert all(here for here, sound in zip(covered, audible(levels), strict=True) if sound)


@given(levels=recordings, parameters=limits)
@settings(max_examples=200, deadline=None)
def test_only_silence_longer_than_asked_is_left_out(levels: bytes, parameters: dict[str, float]) -> None:
    edges = [(0, 0), *((span.first, span.last) for span in cut(levels, **parameters)), (len(levels), len(levels))]
    sounds = audible(levels)
    for (_, left), (right, _) in pairwise(edges):
        if left < right:
            before = next((index for index in range(left, 0, -1) if sounds[index - 1]), 0)
            after = next((index for index in range(right, len(levels)) if sounds[index]), len(levels))
            assert after - before > parameters["skip_silence"] * 100 > 0


@given(levels=recordings, parameters=limits)
@settings(max_examples=150, deadline=None)
def test_a_forced_cut_overlaps_and_a_cut_in_a_pause_does_not(levels: bytes, parameters: dict[str, float]) -> None:
    for span in cut(levels, **parameters):
        wanted = min(parameters["overlap"], parameters["longest"] / 4 - 0.02) * 100
        assert (span.overlap_before >= math.floor(wanted)) if span.forced_start else span.overlap_before == 0


@given(
    levels=recordings,
    parameters=limits,
    tail=st.integers(0, FRAME - 1).map(lambda size: size // 2 * 2),
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=8),
)
@settings(max_examples=120, deadline=None)
def test_a_recording_that_comes_in_parts_is_cut_as_if_it_came_whole(
    levels: bytes, parameters: dict[str, float], tail: int, sizes: list[int]
) -> None:
    pcm = samples(len(levels) * FRAME + tail)
    segmenter = Segmenter(sample_rate=RATE, **parameters)
    pieces: list[Piece] = []
    position = index = 0
    while position < len(levels):
        size = sizes[index % len(sizes)]
        last = position + size >= len(levels)
        pieces += segmenter.feed(pcm[position * FRAME : None if last else (position + size) * FRAME], levels[position : position + size])
        position, index = position + size, index + 1
    if not levels:
        pieces += segmenter.feed(pcm, b"")
    pieces += segmenter.finish()
    spans = cut(levels, **parameters)
    if not levels:
        assert b"".join(piece.pcm for piece in pieces) == pcm
        return
    assert [place(piece) for piece in pieces] == [(span.start, *place_of(span)) for span in spans]
    assert [piece.index for piece in pieces] == list(range(len(pieces)))
    for piece, span in zip(pieces, spans, strict=True):
        end = len(pcm) if span.last == len(levels) else span.last * FRAME
        assert piece.pcm == pcm[span.first * FRAME : end]
        assert piece.end == end / (RATE * 2)
        assert piece.end - piece.start <= parameters["longest"]


def place(piece: Piece) -> tuple[float, bool, bool, float]:
    return piece.start, piece.forced_start, piece.forced_end, piece.overlap_before


def place_of(span: Span) -> tuple[bool, bool, float]:
    return span.forced_start, span.forced_end, span.overlap_before / 100


def samples(size: int) -> bytes:
    pattern = bytes(range(251)) * (size // 251 + 1)
    return pattern[:size]
