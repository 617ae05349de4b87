"""Texts joined as their language writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrproxy.model import Word
from asrproxy.text.coverage import bare_stretches, far_too_few
from asrproxy.text.join import join


@pytest.mark.parametrize(
    ("texts", "language", "joined"),
    [
        (["今天天气", "很好。", "我们走吧"], "zh-CN", "今天天气很好。我们走吧"),
        (["今日は", "いい天気です"], None, "今日はいい天気です"),
        (["It was the best", "of times,", "it was"], "en-US", "It was the best of times, it was"),
        (["오늘은", "날씨가"], "ko-KR", "오늘은 날씨가"),
        (["我买了iPhone", "很贵"], "zh", "我买了iPhone很贵"),
        (["他说open", "source很好"], "zh", "他说open source很好"),
        (["电话是138", "0013"], "zh", "电话是138 0013"),
        (["We met.", ", and left"], None, "We met. and left"),
        (["We met", ", and left"], None, "We met, and left"),
        (["好。", "，走吧"], "zh", "好。走吧"),
        (["about", ".5 percent"], "en", "about .5 percent"),
        (["", "  one ", "", "two\n"], None, "one two"),
        ([], "en", ""),
    ],
)
def test_seams_read_as_the_language_writes(texts: list[str], language: str | None, joined: str) -> None:
    assert join(texts, language) == joined


@given(texts=st.lists(st.text(max_size=20), max_size=6), language=st.sampled_from([None, "zh-CN", "en-US", "ja"]))
def test_no_letter_or_digit_is_lost_doubled_or_moved(texts: list[str], language: str | None) -> None:
    assert [each for each in join(texts, language) if each.isalnum()] == [each for text in texts for each in text if each.isalnum()]


@pytest.mark.parametrize(
    ("text", "voiced", "missing"),
    [
        ("", 2.0, False),  # a cough
        ("", 4.0, True),
        ("好", 20.0, True),
        ("广州市房地产中介协会分析", 3.5, False),
        ("And so my fellow Americans", 4.0, False),
        ("And so my", 30.0, True),
        ("一二三四五六七八九十" * 2, 20.0, False),  # read out slowly
    ],
)
def test_far_too_few_words_for_the_speech_are_noticed(text: str, voiced: float, missing: bool) -> None:
    assert far_too_few(text, voiced) is missing


def test_a_stretch_with_speech_and_no_word_is_found() -> None:
    words = (Word("a", 1.0, 1.2), Word("b", 9.0, 9.3), Word("c", 10.0, 10.2))
    assert bare_stretches(words, lambda start, end: (end - start) * 0.8, start=0.0, end=12.0) == [(1.2, 9.0)]
    assert bare_stretches((), lambda start, end: end - start, start=5.0, end=9.0) == [(5.0, 9.0)]
    assert bare_stretches(words, lambda start, end: 0.0, start=0.0, end=12.0) == []
