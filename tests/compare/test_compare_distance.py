"""The distance of two texts is Levenshtein's, over what people read."""

from __future__ import annotations

import jiwer
from hypothesis import given
from hypothesis import strategies as st

from asrproxy.text.distance import Difference, difference, edits

_ITEMS = st.lists(st.sampled_from("abcd"), max_size=90)


@given(_ITEMS, _ITEMS)
def test_it_is_the_fewest_edits(left: list[str], right: list[str]) -> None:
    row = list(range(len(right) + 1))
    for place, item in enumerate(left, 1):
        above, row = row, [place]
        for column, other in enumerate(right, 1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (item != other)))
    assert edits(left, right) == row[-1]


@given(_ITEMS, _ITEMS, _ITEMS)
def test_it_is_a_metric(a: list[str], b: list[str], c: list[str]) -> None:
    assert edits(a, a) == 0
    assert edits(a, b) == edits(b, a)
    assert edits(a, c) <= edits(a, b) + edits(b, c)


@given(
    st.lists(st.sampled_from(["so", "it", "was", "best"]), min_size=1, max_size=30),
    st.lists(st.sampled_from(["so", "it", "was", "worst"]), max_size=30),
)
def test_for_words_it_is_jiwers_word_error_rate(reference: list[str], heard: list[str]) -> None:
    found = difference(" ".join(reference), " ".join(heard))
    assert found.tokens == len(reference)
    assert abs(found.edits / found.tokens - jiwer.wer(" ".join(reference), " ".join(heard))) < 1e-9


def test_what_people_do_not_hear_makes_no_difference() -> None:
    assert difference("It was, the BEST of times!", "it was the best of times") == Difference(0, 6)
    assert difference("天地玄黄，宇宙洪荒。", "天地玄黄宇宙洪慌") == Difference(1, 8)
    assert difference("", "two words") == Difference(2, 0)
