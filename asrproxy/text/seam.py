"""Merges the readings of two neighbours that share a stretch of the recording, so that its words stand once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from asrproxy.model import Word
from asrproxy.text.join import CLOSING
from asrproxy.text.tokens import Token, tokens

_MATCH: Final = 1.0
_DIFFERENT: Final = -0.8  # also a token that only one reading has
_EDGE: Final = -0.3  # a token at the cut edge of a reading, half heard: it may be anything
_CERTAIN: Final = 1.4  # two tokens that agree with nothing between them, and half a sound heard as something else at each edge
_RIVAL: Final = 0.5
_APART: Final = 0.2  # seconds by which the two readings may time the same word differently
FASTEST: Final = 14.0  # tokens a second that nobody exceeds: how far a shared stretch may reach into a text without times
_STOPS: Final = ".。"
_AFTER: Final = "".join(CLOSING) + "”’」』）》)]"  # written close to the word before


@dataclass(frozen=True, slots=True)
class Reading:
    """What was recognised of one utterance. words: timed in seconds of the recording, None: not known."""

    text: str
    words: tuple[Word, ...] | None = None


@dataclass(frozen=True, slots=True)
class Seam:
    """The two readings without what they share twice. suspect: in doubt, then every word of both was kept."""

    left: Reading
    right: Reading
    suspect: bool


def merge(left: Reading, right: Reading, *, start: float, end: float, fastest: float = FASTEST) -> Seam:
    """Puts the seam where both readings agree, far from either's cut edge.

    start, end: the shared stretch in seconds of the recording; `start` is where the right reading's audio begins, `end` where the left's
    ends. A sound cut in half at an edge is whole in the other reading: left of the seam the left one counts, right of it the right one.
    fastest: tokens a second that are not exceeded there; only texts without times need it. The lower, the fewer seams are in doubt.
    """
    ours, theirs = tokens(left.text, left.words), tokens(right.text, right.words)
    if not ours or not theirs:
        return Seam(left, right, False)
    if end <= start:
        return _apart(left, right, ours, theirs, suspect=False)
    tail = _first_within(ours, start, end, fastest)
    head = _last_within(theirs, start, end, fastest)
    if tail == len(ours) or head == 0:
        return _apart(left, right, ours, theirs, suspect=False)
    pairs, certain = _aligned(ours[tail:], theirs[:head])
    if not certain:
        return _apart(left, right, ours, theirs, suspect=True)
    pairs = [(tail + mine, its) for mine, its in pairs]
    # Where one reading has nothing after, or before, what they share, the other's edge is all there is: it stays.
    if pairs[-1][1] == len(theirs) - 1 and pairs[-1][0] < len(ours) - 1:
        return Seam(left, Reading("", None if right.words is None else ()), False)
    if pairs[0][0] == 0 and pairs[0][1] > 0:
        return Seam(Reading("", None if left.words is None else ()), right, False)
    pair = _best(pairs)
    if pair is None:
        return _apart(left, right, ours, theirs, suspect=True)
    return _joined(left, right, ours, theirs, *pair, middle=(start + end) / 2)


def _best(pairs: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The pair to put the seam at: the one that keeps what only one reading has, and of those the middle one.

    None: each reading has something that the other lacks, and there is no place where both stay.
    """
    kept = [mine - its for mine, its in pairs]
    most = max(kept)
    middle = (len(pairs) - 1) / 2
    index = min((each for each in range(len(pairs)) if kept[each] == most), key=lambda each: abs(each - middle))
    before = any(later > earlier for earlier, later in pairwise(kept[index:]))
    after = any(later < earlier for earlier, later in pairwise(kept[: index + 1]))
    return None if before or after else pairs[index]


def _first_within(own: Sequence[Token], start: float, end: float, fastest: float) -> int:
    """The first token of the left reading that may lie in the shared stretch."""
    if own[0].start is None:
        return max(0, len(own) - round((end - start) * fastest) - 2)
    return next((index for index, each in enumerate(own) if each.end is not None and each.end > start - _APART), len(own))


def _last_within(own: Sequence[Token], start: float, end: float, fastest: float) -> int:
    """One after the last token of the right reading that may lie in the shared stretch."""
    if own[0].start is None:
        return min(len(own), round((end - start) * fastest) + 2)
    return next((index for index, each in enumerate(own) if each.start is not None and each.start >= end + _APART), len(own))


def _aligned(tail: Sequence[Token], head: Sequence[Token]) -> tuple[list[tuple[int, int]], bool]:
    """The pairs that agree in the best way to lay `head` over the end of `tail`, and whether it is better than any other.

    A local alignment (Smith and Waterman, 1981) that pays for what it leaves out at the two cut edges: the head's first, the tail's last.
    """
    score = [[0.0] * len(head) for _ in tail]
    came: dict[tuple[int, int], tuple[int, int] | None] = {}
    origin: dict[tuple[int, int], tuple[int, int]] = {}
    for row, mine in enumerate(tail):
        for column, its in enumerate(head):
            best, source = _edge(column), None
            if row and column and score[row - 1][column - 1] > best:
                best, source = score[row - 1][column - 1], (row - 1, column - 1)
            best += _MATCH - _distance(mine, its) if _agree(mine, its) else _DIFFERENT
            if row and score[row - 1][column] + _DIFFERENT > best:
                best, source = score[row - 1][column] + _DIFFERENT, (row - 1, column)
            if column and score[row][column - 1] + _DIFFERENT > best:
                best, source = score[row][column - 1] + _DIFFERENT, (row, column - 1)
            score[row][column], came[row, column] = best, source
            origin[row, column] = origin[source] if source else (row, column)
    ends = [
        (score[row][column] + _edge(len(tail) - 1 - row), row, column)
        for row in range(len(tail))
        for column in range(len(head))
        if _agree(tail[row], head[column])
    ]
    if not ends:
        return [], False
    total, row, column = max(ends)
    path: list[tuple[int, int]] = []
    step: tuple[int, int] | None = (row, column)
    while step is not None:
        path.append(step)
        step = came[step]
    pairs = [(mine, its) for mine, its in reversed(path) if _agree(tail[mine], head[its])]
    if _timed(tail, head):  # a single word that agrees at the same moment is proof enough, and there is no other way
        return pairs, total > 0
    # Where something is said over and over, the readings fit over each other in several ways, and the longest is not the likeliest: a way
    # from edge to edge counts whatever its length, another one if it has half as much for it.
    for value, row, column in ends:
        began = origin[row, column]
        whole = began[1] <= 1 and row >= len(tail) - 2
        if began != path[-1] and value >= max(_CERTAIN - 1e-9, 0.0 if whole else _RIVAL * total):
            return pairs, False
    return pairs, total >= _CERTAIN - 1e-9


def _edge(left_out: int) -> float:
    """The cut halves one sound; more than that left out at an edge is less and less likely to be its doing."""
    return _EDGE * (left_out + max(0, left_out - 1))


def _agree(mine: Token, its: Token) -> bool:
    return mine.key == its.key and _distance(mine, its) <= _APART


def _distance(mine: Token, its: Token) -> float:
    """Seconds between the two; 0 where times are not known."""
    if mine.start is None or mine.end is None or its.start is None or its.end is None:
        return 0.0
    return abs(mine.start + mine.end - its.start - its.end) / 2


def _timed(tail: Sequence[Token], head: Sequence[Token]) -> bool:
    return tail[0].start is not None and head[0].start is not None


def _joined(left: Reading, right: Reading, ours: Sequence[Token], theirs: Sequence[Token], mine: int, its: int, *, middle: float) -> Seam:
    """The left reading to its token `mine`, the right one after its token `its`; the marks between are the right one's.

    The left one's mark may be a full stop that its vendor put where the audio ended.
    """
    after = its + 1
    begin = theirs[after].first if after < len(theirs) else len(right.text)
    between = right.text[theirs[its].last : begin]
    closing = between[: len(between) - len(between.lstrip(_AFTER))]
    opening = between[len(closing) :].strip()
    if after == len(theirs):
        opening, closing = "", between.strip()
    kept = left.text[: ours[mine].last] + closing
    rest = opening + right.text[begin:]
    edge, moment = ours[mine].end or middle, theirs[its].end or middle
    return Seam(Reading(kept, _words(left.words, before=edge)), Reading(rest, _words(right.words, after=moment)), False)


def _words(words: tuple[Word, ...] | None, *, before: float = math.inf, after: float = -math.inf) -> tuple[Word, ...] | None:
    return None if words is None else tuple(word for word in words if after < (word.start + word.end) / 2 <= before)


def _apart(left: Reading, right: Reading, ours: Sequence[Token], theirs: Sequence[Token], *, suspect: bool) -> Seam:
    """Every word of both: only what the cut itself put there is mended, a full stop and the capital after it."""
    text, rest = left.text.rstrip(), right.text
    if text.endswith(tuple(_STOPS)) and not text.endswith(".."):
        text = text[:-1]
        word = rest[theirs[0].first : theirs[0].last]
        lower = word[:1].lower() + word[1:]
        elsewhere = {reading.text[each.first : each.last] for reading, own in ((left, ours), (right, theirs)) for each in own}
        if lower != word and lower in elsewhere:
            rest = rest[: theirs[0].first] + lower + rest[theirs[0].last :]
    return Seam(Reading(text, left.words), Reading(rest, right.words), suspect)
