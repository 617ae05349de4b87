"""How far a text is from what was said."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import jiwer
from zhconv import convert


def word_errors(said: Sequence[str], heard: Sequence[str]) -> float:
    """Word error rate: lower case, no punctuation, apostrophes kept, all sentences counted together."""
    output = jiwer.process_words([_words(text) for text in said], [_words(text) for text in heard])
    return float(output.wer)


def character_errors(said: Sequence[str], heard: Sequence[str]) -> float:
    """Character error rate: simplified, letters and digits only, all sentences counted together."""
    output = jiwer.process_characters([_characters(text) for text in said], [_characters(text) for text in heard])
    return float(output.cer)


def _words(text: str) -> str:
    return " ".join("".join(each if each.isalnum() or each == "'" else " " for each in text.lower()).split())


def _characters(text: str) -> str:
    return "".join(each for each in convert(text, "zh-hans") if unicodedata.category(each)[0] in "LN")
