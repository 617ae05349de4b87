"""How far two texts are apart: the fewest tokens to change, drop or add that make one of the other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from asrproxy.text.tokens import tokens


@dataclass(frozen=True, slots=True)
class Difference:
    """edits: tokens changed, dropped or added. tokens: of the first text. Tokens are words, and of Chinese and Japanese the characters."""

    edits: int
    tokens: int


def difference(first: str, second: str) -> Difference:
    """Between two texts as people read them: case, width and punctuation make none."""
    left, right = ([token.key for token in tokens(text)] for text in (first, second))
    return Difference(edits(left, right), len(left))


def edits(left: Sequence[Hashable], right: Sequence[Hashable]) -> int:
    """The Levenshtein distance, a column of the table at a time.

    Bit-parallel (Hyyrö, A Bit-Vector Algorithm for Computing Levenshtein and Damerau Edit Distances, 2003): a few operations on whole
    numbers for each item of `right`, so that comparing a minute of text does not hold the event loop up.
    """
    if not left or not right:
        return len(left) + len(right)
    places: dict[Hashable, int] = {}
    for place, item in enumerate(left):
        places[item] = places.get(item, 0) | 1 << place
    every, last = (1 << len(left)) - 1, 1 << (len(left) - 1)
    up, down, distance = every, 0, len(left)  # where the column rises by one from a row to the next, and where it falls
    for item in right:
        match = places.get(item, 0)
        diagonal = (((match & up) + up) ^ up) | match | down
        rises = down | (every & ~(diagonal | up))
        falls = diagonal & up
        distance += bool(rises & last) - bool(falls & last)
        rises, falls = (rises << 1 | 1) & every, (falls << 1) & every
        up, down = falls | (every & ~(diagonal | rises)), rises & diagonal
    return distance
