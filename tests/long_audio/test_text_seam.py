"""Two readings of neighbours that share a stretch: every word once, or both kept and said so."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asrproxy.model import Word
from asrproxy.text.join import join
from asrproxy.text.seam import Reading, merge
from asrproxy.text.tokens import tokens

HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"
LATIN = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima"]
LATIN += ["mike", "november", "oscar", "papa", "quebec", "romeo"]
symbols = st.integers(0, 17)


def keys(text: str) -> list[str]:
    return [each.key for each in tokens(text)]


def merged(left: str, right: str, seconds: float = 2.0) -> str:
    seam = merge(Reading(left), Reading(right), start=10.0, end=10.0 + seconds)
    return join([seam.left.text, seam.right.text])


@pytest.mark.parametrize(
    ("left", "right", "whole"),
    [
        ("今天的天气非常好，我们去公", "非常好，我们去公园散步吧。", "今天的天气非常好，我们去公园散步吧。"),
        ("今天的天气非常好，我们去公。", "常好，我们去公园散步吧。", "今天的天气非常好，我们去公园散步吧。"),
        (
            "It was the best of times, it was.",
            "Best of times, it was the worst of times.",
            "It was the best of times, it was the worst of times.",
        ),
        ("we met on Monday and talked ab", "ay and talked about money", "we met on Monday and talked about money"),
        ("请打开iPhone的设", "开 iPhone 的设置页面", "请打开iPhone的设置页面"),
        ("Ask not what your country", "what your country. Can do for you", "Ask not what your country. Can do for you"),
    ],
)
def test_what_both_heard_stands_once(left: str, right: str, whole: str) -> None:
    assert merged(left, right) == whole


def test_a_stop_where_the_audio_ended_is_not_a_stop_in_the_text() -> None:
    assert merged("so we went to the.", "went to the market yesterday.") == "so we went to the market yesterday."


def test_readings_that_do_not_agree_are_both_kept_and_said_to_be_in_doubt() -> None:
    seam = merge(Reading("we saw a cat on the mat."), Reading("Three dogs ran past a cat."), start=10.0, end=12.0)
    assert seam.suspect
    assert keys(seam.left.text + " " + seam.right.text) == keys("we saw a cat on the mat three dogs ran past a cat")


def test_a_word_said_over_and_over_is_kept_rather_than_lost() -> None:
    seam = merge(Reading("no no no no"), Reading("no no no no"), start=10.0, end=11.0)
    assert seam.suspect
    assert len(keys(seam.left.text) + keys(seam.right.text)) == 8


def test_times_tell_a_repeated_word_from_a_doubled_one() -> None:
    spoken = [Word("no", 8.0 + 0.5 * index, 8.4 + 0.5 * index) for index in range(12)]
    left, right = tuple(spoken[:8]), tuple(spoken[4:])
    seam = merge(Reading("no " * 8, left), Reading("no " * 8, right), start=9.9, end=12.0)
    assert not seam.suspect
    assert (seam.left.words or ()) + (seam.right.words or ()) == tuple(spoken)
    assert len(keys(seam.left.text) + keys(seam.right.text)) == 12


def test_a_word_that_one_reading_lacks_is_not_lost() -> None:
    whole = "alpha bravo charlie delta echo foxtrot golf"
    assert merged("alpha bravo charlie delta echo foxtrot", "bravo charlie echo foxtrot golf") == whole
    assert merged("alpha bravo charlie echo foxtrot", "bravo charlie delta echo foxtrot golf") == whole


@given(
    spoken=st.lists(symbols, min_size=12, max_size=40),
    share=st.integers(4, 10),
    cut=st.integers(0, 40),
    edges=st.tuples(*(st.sampled_from(["whole", "missing", "wrong"]) for _ in range(2))),
    wrong=st.tuples(symbols, symbols),
    han=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_no_symbol_is_lost_at_a_forced_cut(
    spoken: list[int], share: int, cut: int, edges: tuple[str, str], wrong: tuple[int, int], han: bool
) -> None:
    """A symbol that the cut halves may be heard as another or not at all; by text alone every symbol is there once, in order."""
    end = share + cut % (len(spoken) - share + 1)
    left, right = spoken[:end], spoken[end - share :]
    if edges[0] != "whole":
        left = left[:-1] + ([wrong[0]] if edges[0] == "wrong" else [])
    if edges[1] != "whole":
        right = ([wrong[1]] if edges[1] == "wrong" else []) + right[1:]

    def write(said: list[int]) -> str:
        return "".join(HAN[each] for each in said) if han else " ".join(LATIN[each] for each in said)

    seam = merge(Reading(write(left)), Reading(write(right)), start=10.0, end=10.0 + share / 5)
    got = keys(seam.left.text) + keys(seam.right.text)
    if seam.suspect:
        assert got == keys(write(left + right))
    elif end == len(spoken) and edges[0] != "whole":
        assert got[: len(spoken) - 1] == keys(write(spoken))[:-1]
    else:
        assert errors(got, keys(write(spoken))) <= 1


@given(
    said=st.lists(symbols, min_size=1, max_size=24),
    length=st.integers(24, 80),
    share=st.integers(4, 14),
    cut=st.integers(0, 80),
    edges=st.tuples(*(st.sampled_from(["whole", "missing", "wrong"]) for _ in range(2))),
    wrong=st.tuples(symbols, symbols),
    fastest=st.sampled_from([8.0, 11.0, 14.0]),
)
@settings(max_examples=600, deadline=None)
def test_where_the_same_is_said_over_and_over_nothing_is_lost(
    said: list[int], length: int, share: int, cut: int, edges: tuple[str, str], wrong: tuple[int, int], fastest: float
) -> None:
    """A list repeated without end lies over itself in several ways: both readings stay, or the one way there is is the right one."""
    spoken = (said * length)[:length]
    end = share + 2 + cut % (length - share - 2)
    left, right = spoken[:end], spoken[end - share :]
    if edges[0] != "whole":
        left = left[:-1] + ([wrong[0]] if edges[0] == "wrong" else [])
    if edges[1] != "whole":
        right = ([wrong[1]] if edges[1] == "wrong" else []) + right[1:]
    seam = merge(
        Reading("".join(HAN[each] for each in left)),
        Reading("".join(HAN[each] for each in right)),
        start=10.0,
        end=10.0 + share / 5.5,
        fastest=fastest,
    )
    got = keys(seam.left.text) + keys(seam.right.text)
    if seam.suspect:
        assert got == [HAN[each] for each in left + right]
    else:
        assert errors(got, [HAN[each] for each in spoken]) <= 1


@given(spoken=st.permutations(range(18)), share=st.integers(4, 10), edges=st.tuples(symbols, symbols))
@settings(max_examples=200, deadline=None)
def test_distinct_symbols_are_never_in_doubt(spoken: list[int], share: int, edges: tuple[int, int]) -> None:
    left, right = [*spoken[:12], edges[0]][:13], spoken[12 - share :]
    seam = merge(
        Reading(" ".join(LATIN[each] for each in left)), Reading(" ".join(LATIN[each] for each in right)), start=0.0, end=share / 5
    )
    assume(edges[0] not in spoken[12 - share : 12])
    assert not seam.suspect
    assert keys(seam.left.text) + keys(seam.right.text) == [LATIN[each] for each in spoken]


@given(
    spoken=st.lists(symbols, min_size=10, max_size=40),
    share=st.integers(3, 10),
    cut=st.integers(0, 40),
    jitter=st.floats(-0.08, 0.08),
    joined=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_with_times_every_symbol_is_there_once(spoken: list[int], share: int, cut: int, jitter: float, joined: bool) -> None:
    end = share + cut % (len(spoken) - share + 1)
    words = [Word(HAN[each], 0.4 * index, 0.4 * index + 0.35) for index, each in enumerate(spoken)]
    right = tuple(Word(word.text, word.start + jitter, word.end + jitter) for word in words[end - share :])
    seam = merge(
        Reading("".join(word.text for word in words[:end]), tuple(words[:end])),
        Reading("".join(word.text for word in right), right),
        start=0.4 * (end - share) - 0.02,
        end=0.4 * end - 0.02,
    )
    got = [*(seam.left.words or ()), *(seam.right.words or ())]
    assert not seam.suspect
    assert [word.text for word in got] == [HAN[each] for each in spoken]
    assert seam.left.text + seam.right.text == "".join(HAN[each] for each in spoken)
    assert all(before.start < after.start for before, after in pairwise(got))


def errors(got: list[str], wanted: list[str]) -> int:
    """Levenshtein's distance."""
    row = list(range(len(wanted) + 1))
    for index, mine in enumerate(got, 1):
        above, row = row, [index]
        for column, its in enumerate(wanted):
            row.append(min(above[column] + (mine != its), above[column + 1] + 1, row[column] + 1))
    return row[-1]
