"""Which utterances are alike in length, so that their latencies can be compared."""

from __future__ import annotations

from math import frexp


def length_class(seconds: float) -> int:
    """A whole number that is the same for utterances of nearly one length: one for each doubling, all below a second together."""
    return max(0, frexp(seconds)[1])
