"""A band-limited resampler for live audio in small pieces: recordings go through FFmpeg, a session must not hold a decoder."""

from __future__ import annotations

import warnings
from array import array
from fractions import Fraction
from functools import lru_cache
from math import ceil, factorial, pi, sin
from typing import Final

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library's; from Python 3.13 on it is audioop-lts
    from audioop import findfactor

_ZEROS: Final = 17
"""Zero crossings of the windowed sinc on each side: under a Kaiser window of 6.5, what folds back is below 60 dB (a test measures it)."""
_BETA: Final = 6.5
_ROLL_OFF: Final = 0.92
_PHASES: Final = 1024
"""Rows at most: two odd rates would need one for each of thousands of phases; the nearest of so many is within 60 dB too."""
_BYTES: Final = 2
_LOUDEST: Final = 32_767


class Resampler:
    """Mono s16le from one rate to another, whatever the sizes of the pieces.

    source, target: Hz. The result lags by the filter's half length, about 17 periods of the lower rate; `flush` gives what is left.
    Making the first one of a pair of odd rates takes up to 0.1 s.
    """

    def __init__(self, source: int, target: int) -> None:
        ratio = Fraction(target, source)
        self._up, self._down = ratio.numerator, ratio.denominator
        self._rows = _filter(target / source, min(self._up, _PHASES))
        self._width = len(self._rows[0][0])
        self._half = self._width // _BYTES // 2
        self._held = bytes(self._half * _BYTES)
        self._next = 0  # of the target samples, counted in source samples times `up` from the first held sample's filter centre

    def feed(self, pcm: bytes) -> bytes:
        """More samples in, those that are now certain out."""
        held = self._held + pcm
        up, down, width, rows = self._up, self._down, self._width, self._rows
        # Target sample k needs the source samples `half` before and after its place k * down / up.
        places = range(self._next, (len(held) // _BYTES - 2 * self._half - 1) * up + 1, down)
        if not places:
            self._held = held
            return b""
        if len(rows) == 1:  # a whole multiple, as 48 kHz is of 16
            row, gain = rows[0]
            factors = [
                findfactor(held[at : at + width], row) * gain for at in range(places[0] * _BYTES, places[-1] * _BYTES + 1, down * _BYTES)
            ]
        else:
            factors = []
            for place in places:
                centre, phase = divmod(place, up)
                row, gain = rows[phase * len(rows) // up]
                factors.append(findfactor(held[centre * _BYTES : centre * _BYTES + width], row) * gain)
        following = places[-1] + down
        dropped = min(following // up, len(held) // _BYTES)
        self._next = following - dropped * up
        self._held = held[dropped * _BYTES :]
        return _samples(factors)

    def flush(self) -> bytes:
        """The end: as if silence followed."""
        self._held = self._held[: len(self._held) // _BYTES * _BYTES]
        return self.feed(bytes(self._half * _BYTES))


def _samples(values: list[float]) -> bytes:
    try:
        return array("h", map(round, values)).tobytes()
    except OverflowError:  # a filter overshoots at full scale
        return array("h", (max(-_LOUDEST - 1, min(_LOUDEST, round(value))) for value in values)).tobytes()


@lru_cache(maxsize=32)
def _filter(ratio: float, rows: int) -> tuple[tuple[bytes, float], ...]:
    """One row of the filter for each phase that a target sample can have between two source samples; the sessions of a rate share it.

    A row is 16-bit taps and what to multiply by. For audioop's `findfactor` is the sum of samples times taps over that of the taps'
    squares: a row of any scale does, and the factor makes up for it. It is the one product of two rows that Python can do by itself.
    """
    cutoff = min(1.0, ratio) * _ROLL_OFF
    half = ceil(_ZEROS / cutoff)
    taps = [_tap(place / rows, cutoff, half + 1) for place in range((half + 1) * rows + 1)]
    return tuple(_row(taps[p : p + half * rows + 1 : rows][::-1] + taps[rows - p : half * rows - p + 1 : rows]) for p in range(rows))


def _row(taps: list[float]) -> tuple[bytes, float]:
    scale = _LOUDEST / max(taps)
    whole = array("h", (round(tap * scale) for tap in taps))
    return whole.tobytes(), sum(tap * tap for tap in whole) / sum(whole)


def _tap(distance: float, cutoff: float, end: float) -> float:
    """Of the windowed sinc, `distance` samples from its middle; at `end` it is over. Its scale does not matter."""
    x = pi * cutoff * distance
    sinc = sin(x) / x if x else 1.0
    window = 0.0
    for coefficient in _BESSEL:
        window = window * (1.0 - (distance / end) ** 2) + coefficient
    return sinc * window


_BESSEL: Final = tuple((_BETA / 2) ** (2 * k) / factorial(k) ** 2 for k in range(20, -1, -1))
"""The window is I0(beta * sqrt(1 - x²)): a power series in 1 - x², the highest power first."""
