"""Takes a text apart into what is compared, counted and timed: words, and of Chinese and Japanese the characters."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from asrproxy.model import Word

# Han with its extensions, kana, and the iteration marks: scripts written without spaces. Hangul has spaces.
_UNSPACED: Final = (
    "\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_TOKEN: Final = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+(?:['’.](?:(?![{_UNSPACED}])\w)+)*")
_CHARACTER: Final = re.compile(f"[{_UNSPACED}]")
_WIDE_MARKS: Final = frozenset("，。！？、；：「」『』（）《》〈〉【】…—“”‘’·～")


@dataclass(frozen=True, slots=True)
class Token:
    """A word or character: `text[first:last]` of its text. key: what it is compared by. start, end: seconds, None: not known."""

    key: str
    first: int
    last: int
    start: float | None = None
    end: float | None = None


def tokens(text: str, words: tuple[Word, ...] | None = None) -> list[Token]:
    """The tokens of `text`, with times where `words` say the same as the text."""
    plain = [Token(key(match[0]), match.start(), match.end()) for match in _TOKEN.finditer(text)]
    timed = [each for word in words or () for each in _timed(word)]
    if [each[0] for each in timed] != [each.key for each in plain]:
        return plain
    return [Token(each.key, each.first, each.last, start, end) for each, (_, start, end) in zip(plain, timed, strict=True)]


def key(text: str) -> str:
    """Case, width and apostrophes make no difference."""
    return unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("'", "")


def unspaced(character: str) -> bool:
    """Whether it belongs to a script, or is a mark, that is written without a space beside it."""
    return character in _WIDE_MARKS or _CHARACTER.match(character) is not None


def counted(text: str) -> tuple[int, int]:
    """Characters of scripts without spaces, and words of the others."""
    found = [match[0] for match in _TOKEN.finditer(text)]
    characters = sum(1 for each in found if _CHARACTER.match(each))
    return characters, len(found) - characters


def _timed(word: Word) -> list[tuple[str, float, float]]:
    """A vendor's word may be several characters: its time is shared out evenly."""
    parts = [match[0] for match in _TOKEN.finditer(word.text)]
    step = (word.end - word.start) / max(len(parts), 1)
    return [(key(part), word.start + step * index, word.start + step * (index + 1)) for index, part in enumerate(parts)]
