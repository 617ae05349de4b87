"""What a reading lacked is put where it was said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asrproxy.model import Word
from asrproxy.text.gap import filled
from asrproxy.text.seam import Reading
from asrproxy.text.tokens import tokens

NAMES = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet"]


def spoken(names: list[str]) -> tuple[Word, ...]:
    return tuple(Word(name, index * 0.5, index * 0.5 + 0.4) for index, name in enumerate(names))


@given(st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_the_words_are_all_there_in_order(first: int, size: int, marked: bool) -> None:
    last = min(first + size, len(NAMES))
    words = spoken(NAMES)
    kept, missing = words[:first] + words[last:], words[first:last]
    text = " ".join(f"{word.text}," if marked else word.text for word in kept)
    whole = filled(Reading(text, kept), Reading(" ".join(word.text for word in missing), missing), at=(first + last) * 0.25, language="en")
    assert whole.words == words
    assert [each.key for each in tokens(whole.text)] == NAMES


def test_marks_and_script_stay_as_they_were_written() -> None:
    words = tuple(Word(each, start, start + 0.2) for each, start in (("你", 0.0), ("好", 0.3), ("再", 9.0), ("见", 9.3)))
    missing = tuple(Word(each, start, start + 0.2) for each, start in (("今", 4.0), ("天", 4.3)))
    assert filled(Reading("你好，再见。", words), Reading("今天。", missing), at=5.0, language="zh-CN").text == "你好，今天。再见。"


def test_where_text_and_words_differ_the_words_are_what_is_told() -> None:
    words = (Word("twenty", 0.0, 0.3), Word("one", 0.4, 0.6), Word("bye", 9.0, 9.3))
    whole = filled(Reading("21 bye", words), Reading("days", (Word("days", 4.0, 4.4),)), at=5.0, language="en")
    assert whole.text == "twenty one days bye"
    assert [word.text for word in whole.words or ()] == ["twenty", "one", "days", "bye"]
