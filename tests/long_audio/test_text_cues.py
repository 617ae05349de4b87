"""Subtitles: every word in order, readable, with times that players accept."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.errors import Unavailable
from asrproxy.model import Segment, Transcript, Word
from asrproxy.text.cues import CHINESE_COLUMNS, COLUMNS, LINES, LONGEST, cues, srt, vtt
from asrproxy.text.tokens import tokens, unspaced

SPOKEN = ["it", "was", "the", "best,", "of", "times.", "epoch", "incredulity;", "Winter", "“hope”"]
ENGLISH = st.lists(st.sampled_from(SPOKEN), min_size=1, max_size=80)
CHINESE = st.lists(st.sampled_from(["今", "天", "气", "很好", "，", "。", "我们", "去公园", "A4", "、"]), min_size=1, max_size=120)
ANY = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=120)


def transcript(*segments: Segment) -> Transcript:
    return Transcript(
        text="", language=None, duration=segments[-1].end if segments else 0.0, complete=True, provider="p", segments=segments
    )


def said(text: str, start: float = 0.0, end: float = 30.0, words: tuple[Word, ...] | None = None) -> Segment:
    return Segment(index=0, start=start, end=end, text=text, provider="p", words=words)


def keys(text: str) -> list[str]:
    return [each.key for each in tokens(text)]


def width(line: str) -> int:
    return sum(2 if unspaced(character) else 1 for character in line)


def test_srt_and_vtt_as_players_read_them() -> None:
    spoken = transcript(said("Stay <here> & wait.", 0.5, 3.0), said("今天天气很好。", 3725.25, 3727.0))
    assert srt(spoken) == ("1\n00:00:00,500 --> 00:00:03,000\nStay <here> & wait.\n\n2\n01:02:05,250 --> 01:02:07,000\n今天天气很好。\n\n")
    assert vtt(spoken) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:03.000\nStay &lt;here&gt; &amp; wait.\n\n01:02:05.250 --> 01:02:07.000\n今天天气很好。\n\n"
    )


def test_nothing_said_is_an_empty_file_that_is_still_one() -> None:
    assert srt(transcript(said(""))) == ""
    assert vtt(transcript()) == "WEBVTT\n\n"


def test_a_hole_has_no_cue() -> None:
    hole = Segment(index=1, start=10, end=20, text="", provider=None, error=Unavailable("down"))
    assert [cue.lines for cue in cues(transcript(said("one.", 0, 10), hole, said("three.", 20, 30)))] == [("one.",), ("three.",)]


def test_a_cue_begins_with_its_first_word_and_ends_with_its_last() -> None:
    words = tuple(Word(text, start, start + 0.4) for text, start in [("So", 1.0), ("we", 1.5), ("went", 2.0), ("Then", 6.0), ("home", 6.5)])
    got = cues(transcript(said("So we went. Then home!", 0, 10, words)))
    assert [(cue.start, cue.end, cue.lines) for cue in got] == [(1.0, 2.4, ("So we went.",)), (6.0, 6.9, ("Then home!",))]


def test_words_that_say_it_otherwise_than_the_text_keep_their_times() -> None:
    words = (Word("twenty", 2.0, 2.4), Word("three", 2.5, 3.0))
    assert [(cue.start, cue.end, cue.lines) for cue in cues(transcript(said("23.", 0, 10, words)))] == [(2.0, 3.0, ("twenty three",))]


@given(text=st.one_of(ENGLISH.map(" ".join), CHINESE.map("".join)), seconds=st.floats(1, 59), timed=st.booleans())
@settings(max_examples=300, deadline=None)
def test_cues_are_readable_and_lack_nothing(text: str, seconds: float, timed: bool) -> None:
    found = tokens(text)
    step = seconds / max(len(found), 1)
    words = tuple(Word(text[each.first : each.last], step * index, step * (index + 1)) for index, each in enumerate(found))
    got = cues(transcript(said(text, 0.0, seconds, words if timed and words else None)))
    assert keys(" ".join(line for cue in got for line in cue.lines)) == keys(text)
    assert re.sub(r"\s", "", "".join(line for cue in got for line in cue.lines)) == re.sub(r"\s", "", text)
    for cue in got:
        assert 0 <= cue.start < cue.end
        assert len(cue.lines) <= LINES
        assert cue.end - cue.start <= max(LONGEST, step * 6) + 0.01
        assert all(width(line) <= (COLUMNS if " " in text else max(CHINESE_COLUMNS, COLUMNS)) for line in cue.lines)
    assert all(before.end <= after.start + 0.0011 for before, after in pairwise(got))


@given(texts=st.lists(ANY, max_size=4))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_the_file(texts: list[str]) -> None:
    spoken = transcript(*(said(text, 10.0 * index, 10.0 * index + 9) for index, text in enumerate(texts)))
    written = vtt(spoken)
    assert written.count("-->") == len(cues(spoken))
    blocks = written.rstrip("\n").split("\n\n")[1:]
    assert len(blocks) == len(cues(spoken))
    time = r"\d{2,}:\d\d:\d\d[.,]\d{3}"
    assert all(re.match(rf"{time} --> {time}\n.", block) for block in blocks)
    assert all(re.fullmatch(rf"\d+\n{time} --> {time}\n.+", block, re.S) for block in srt(spoken).split("\n\n")[:-1])
