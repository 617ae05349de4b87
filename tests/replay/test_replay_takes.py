"""The law of live streams on tape: the same audio brings the same events at the same places, however it is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrproxy.plugin import Interim, Sentence, StreamEvent, Word
from asrproxy_replay.takes import Playback, Recorder, Take, TapeRunsOut
from asrproxy_replay.written import take_body, take_of


def take(audio: bytes, came: dict[int, list[str]], closing: list[str]) -> Take:
    """came: the events by the number of bytes after which each came."""
    recorder, index = Recorder(), 0
    cuts = sorted({0, *(place for place in came if place <= len(audio)), len(audio)})
    for text in came.get(0, []):
        recorder.came(Interim(index, 0.0, text))
    for first, last in pairwise(cuts):
        recorder.sent(audio[first:last])
        for text in came.get(last, []):
            recorder.came(Interim(index, 0.0, text))
    recorder.ended()
    for index, text in enumerate(closing):
        recorder.came(Sentence(index, 0.0, 1.0, text, (Word(text, 0.0, 1.0),)))
    made = recorder.take()
    assert made is not None
    return made


def play(playback: Playback, pieces: list[bytes]) -> list[tuple[int, StreamEvent]]:
    """Each event with the number of bytes after which it was played."""
    heard, events = 0, []
    for piece in pieces:
        heard += len(piece)
        events += [(heard, event) for event in playback.hear(piece)]
    return events + [(heard, event) for event in playback.end()]


def cut(audio: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(audio) + 1) for place in places), len(audio)]
    return [audio[first:last] for first, last in pairwise(edges)]


AUDIO = st.binary(min_size=1, max_size=60)
TEXTS = st.lists(st.sampled_from(["天", "地", "玄"]), max_size=3)
CAME = st.dictionaries(st.integers(0, 60), TEXTS, max_size=6)
CUTS = st.lists(st.integers(0, 1000), max_size=8)


@given(AUDIO, CAME, TEXTS, CUTS)
def test_a_take_is_played_as_it_was_recorded(audio: bytes, came: dict[int, list[str]], closing: list[str], cuts: list[int]) -> None:
    made = take(audio, came, closing)
    events = play(Playback([made]), cut(audio, cuts))
    assert [event for _, event in events] == [event for _, event in made.marks] + list(made.closing)
    for (heard, _), (place, _) in zip(events, made.marks, strict=False):
        assert heard >= place.bytes


@given(AUDIO, CAME, TEXTS)
def test_a_take_is_the_same_after_it_was_written(audio: bytes, came: dict[int, list[str]], closing: list[str]) -> None:
    made = take(audio, came, closing)
    assert take_of(take_body(made)) == made


@given(AUDIO, AUDIO, CAME, CUTS)
def test_other_audio_is_not_taken_for_it(audio: bytes, other: bytes, came: dict[int, list[str]], cuts: list[int]) -> None:
    if audio == other:
        return
    with pytest.raises(TapeRunsOut):
        play(Playback([take(audio, came, ["end"])]), cut(other, cuts))


@given(AUDIO, AUDIO, CAME, CUTS, st.booleans())
def test_of_two_that_begin_alike_each_is_found(
    audio: bytes, more: bytes, came: dict[int, list[str]], cuts: list[int], longer: bool
) -> None:
    """A clip and the recording that it was cut from: the vendor heard the same while the audio was the same."""
    short, long = take(audio, came, ["short"]), take(audio + more, came, ["long"])
    played = play(Playback([long, short] if longer else [short, long]), cut(audio, cuts))
    assert [event for _, event in played] == [event for _, event in short.marks] + list(short.closing)
    played = play(Playback([long, short] if longer else [short, long]), cut(audio + more, cuts))
    assert [event for _, event in played] == [event for _, event in long.marks] + list(long.closing)


def test_nothing_recorded_runs_out_at_once() -> None:
    with pytest.raises(TapeRunsOut):
        Playback([])


def test_a_stream_whose_beginning_was_played_and_that_goes_another_way_runs_out() -> None:
    playback = Playback([take(b"abcdef", {3: ["天"]}, [])])
    assert playback.hear(b"abc") == [Interim(0, 0.0, "天")]
    with pytest.raises(TapeRunsOut):
        playback.hear(b"xyz")
