"""Punctuation, scripts, language tags, without an engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrproxy_local.languages import of_tag, script_of, whisper_speaks
from asrproxy_local.punctuation import without_punctuation
from asrproxy_local.whisper import in_script


@pytest.mark.parametrize(
    ("marked", "bare"),
    [
        ("Ever tried. Ever failed.", "Ever tried Ever failed"),
        ("In short,, the period -- so far.", "In short the period so far"),
        ("It's 3.5 km, at 10:30; don't!", "It's 3.5 km at 10:30 don't"),
        ("A well-known price: 1,000.", "A well-known price 1,000"),
        ("“Do you hear me?”", "Do you hear me"),
        ("近几年,不但我用书给女儿压岁,也劝说亲朋。", "近几年不但我用书给女儿压岁也劝说亲朋"),
        ("你好,世界!3.5公里。", "你好世界3.5公里"),
        ("", ""),
    ],
)
def test_sentence_marks_go_and_what_belongs_to_a_word_or_number_stays(marked: str, bare: str) -> None:
    assert without_punctuation(marked) == bare


@given(st.text(alphabet="ab 1.,'-?!。，天", max_size=40))
def test_no_letter_or_digit_is_lost_with_the_marks(text: str) -> None:
    bare = without_punctuation(text)
    assert [each for each in bare if each.isalnum()] == [each for each in text if each.isalnum()]
    assert without_punctuation(bare) == bare


@given(
    st.lists(st.sampled_from(["廣州", "市", "溫度", "軟件", "頭髮", "发", "乾", "幹", "皇后", "后來"]), max_size=12),
    st.sampled_from(["zh-hans", "zh-hant"]),
)
def test_words_are_in_the_script_of_their_text(words: list[str], script: str) -> None:
    timed = [(word, float(index), index + 1.0) for index, word in enumerate(words)]
    text, converted = in_script("".join(words), timed, script)  # type: ignore[arg-type]
    assert converted is not None
    assert "".join(word for word, _, _ in converted) == text
    assert [(start, end) for _, start, end in converted] == [(start, end) for _, start, end in timed]


def test_tags_are_read_as_whisper_means_them() -> None:
    assert [of_tag(tag) for tag in ("zh-CN", "zh_TW", "cmn-Hans-CN", "EN-us", "nb", "fil")] == ["zh", "zh", "zh", "en", "no", "tl"]
    assert [whisper_speaks(tag) for tag in ("zh", "en-GB", "tlh", "")] == [True, True, False, False]
    scripts = [script_of(tag) for tag in ("zh", "zh-CN", "zh-SG", "zh-TW", "zh-Hant-MO", "zh_HK")]
    assert scripts == ["zh-hans", "zh-hans", "zh-hans", "zh-hant", "zh-hant", "zh-hant"]
