"""Where an utterance is cut for whisper, which leaves out sentences of a window that holds several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

Stretch = tuple[int, int]
"""First sample and the one after the last."""

PAUSE: Final = 0.8
"""Seconds of a pause that always ends a piece. At 0.5 s English is torn into phrases of two words, and more of it is wrong."""
LONGEST: Final = 15.0
"""Seconds of a piece that is cut at shorter pauses, too, the longest first. One without any may be longer."""
MARGIN: Final = 0.8
"""Seconds of what surrounds the speech that are kept with it, at most half of a pause: closer cuts make the first and last words worse."""


def pieces(speech: Sequence[Stretch], samples: int, rate: int) -> list[Stretch]:
    """What to recognise by itself, in order and without overlaps, of an utterance of `samples` at `rate` Hz.

    speech: where somebody speaks, in order, apart. Every stretch of it is whole in one piece.
    """
    if not speech:
        return []
    runs = _runs(speech, rate)
    margin = round(MARGIN * rate)
    found: list[Stretch] = []
    for number, (start, end) in enumerate(runs):
        before = start - runs[number - 1][1] if number else 2 * start
        after = runs[number + 1][0] - end if number + 1 < len(runs) else 2 * (samples - end)
        found.append((start - min(margin, before // 2), end + min(margin, after // 2)))
    return found


def _runs(speech: Sequence[Stretch], rate: int) -> list[Stretch]:
    start, end = speech[0][0], speech[-1][1]
    if len(speech) == 1:
        return [(start, end)]
    widest, cut = max((speech[index][0] - speech[index - 1][1], index) for index in range(1, len(speech)))
    if widest >= PAUSE * rate or end - start > LONGEST * rate:
        return _runs(speech[:cut], rate) + _runs(speech[cut:], rate)
    return [(start, end)]
