"""A band-limited resampler for live audio in small pieces: recordings go through FFmpeg, a session must not hold a decoder."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ZEROS: Final = 24
"""Zero crossings of the windowed sinc on each side: under a Kaiser window of 9, what folds back is far below 60 dB (a test measures it)."""
_BETA: Final = 9.0
_ROLL_OFF: Final = 0.92
_PHASES: Final = 1024
"""Rows at most: two odd rates would need one for each of thousands of phases; the nearest of so many is within 60 dB too."""


class Resampler:
    """Mono s16le from one rate to another, whatever the sizes of the pieces.

    source, target: Hz. The result lags by the filter's half length, about 24 periods of the lower rate; `flush` gives what is left.
    """

    def __init__(self, source: int, target: int) -> None:
        import numpy as np

        ratio = Fraction(target, source)
        self._up, self._down = ratio.numerator, ratio.denominator
        self._rows = _filter(target / source, min(self._up, _PHASES))
        self._half = self._rows.shape[1] // 2
        self._held = np.zeros(self._half, np.float32)
        self._next = 0  # of the target samples, counted in source samples times `up` from the first held sample's filter centre
        self._odd = b""

    def feed(self, pcm: bytes) -> bytes:
        """More samples in, those that are now certain out."""
        import numpy as np

        pcm = self._odd + pcm
        self._odd = pcm[len(pcm) // 2 * 2 :]
        samples = np.frombuffer(pcm, "<i2", count=len(pcm) // 2).astype(np.float32)
        return self._through(samples)

    def flush(self) -> bytes:
        """The end: as if silence followed."""
        import numpy as np

        return self._through(np.zeros(self._half, np.float32))

    def _through(self, samples: NDArray[np.float32]) -> bytes:
        import numpy as np

        held = np.concatenate((self._held, samples))
        # Target sample k needs the source samples `half` before and after its place k * down / up.
        last = (len(held) - 2 * self._half - 1) * self._up
        if last < self._next:
            self._held = held
            return b""
        places = np.arange(self._next, last + 1, self._down)
        centres, phases = places // self._up, places % self._up
        windows = np.lib.stride_tricks.sliding_window_view(held, 2 * self._half + 1)
        if len(self._rows) == 1:  # a whole multiple, as 48 kHz is of 16: a product of matrices is ten times as quick
            out = windows[centres] @ self._rows[0]
        else:
            out = np.einsum("ij,ij->i", windows[centres], self._rows[phases * len(self._rows) // self._up])
        following = int(places[-1]) + self._down
        dropped = min(following // self._up, len(held))
        self._next = following - dropped * self._up
        self._held = held[dropped:]
        return bytes(np.clip(np.rint(out), -32768, 32767).astype("<i2").tobytes())


@lru_cache(maxsize=32)
def _filter(ratio: float, rows: int) -> NDArray[np.float32]:
    """One row of the filter for each phase that a target sample can have between two source samples; the sessions of a rate share it."""
    import numpy as np

    cutoff = min(1.0, ratio) * _ROLL_OFF
    half = int(np.ceil(_ZEROS / cutoff))
    distance = np.arange(-half, half + 1)[None, :] - np.arange(rows)[:, None] / rows
    window = np.i0(_BETA * np.sqrt(np.clip(1 - (distance / (half + 1)) ** 2, 0, None))) / np.i0(_BETA)
    taps = cutoff * np.sinc(cutoff * distance) * window
    normal: NDArray[np.float32] = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    return normal
