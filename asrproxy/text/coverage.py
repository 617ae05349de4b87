"""Compares how much was said with how much came back as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asrproxy.model import Word
from asrproxy.text.tokens import counted

# People say 5 to 6 syllables a second (Pellegrino, Coupé and Marsico, Language 87, 2011: Mandarin 5.2, English 6.2); a Mandarin one is a
# character, and an English word has about one and a half. Of read and spoken recordings there came 3.9 to 5.1 characters and 2.2 to 4.4
# words for each second that our detector calls speech. Less than about a quarter of the slowest is far too few: nobody speaks like that,
# while a vendor that dropped most of what was said is caught.
CHARACTERS_PER_SECOND: Final = 0.8
WORDS_PER_SECOND: Final = 0.5
LEAST_SECONDS: Final = 3.0
"""Less speech than this is not judged: a cough, a laugh and a door make a second or two of it and no words."""


def far_too_few(text: str, voiced: float) -> bool:
    """Whether `text` cannot be all of `voiced` seconds of speech."""
    if voiced < LEAST_SECONDS:
        return False
    characters, words = counted(text)
    return characters / CHARACTERS_PER_SECOND + words / WORDS_PER_SECOND < voiced


def bare_stretches(
    words: tuple[Word, ...], voiced: Callable[[float, float], float], *, start: float, end: float
) -> list[tuple[float, float]]:
    """Stretches between `start` and `end` in which there is speech and no word: to be asked for again, cut differently.

    voiced: seconds of speech between two times. All times are seconds on one clock.
    """
    edges = [start, *(time for word in words for time in (word.start, word.end)), end]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return [(left, right) for left, right in gaps if right > left and voiced(left, right) >= LEAST_SECONDS]
