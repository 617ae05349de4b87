"""A band-limited resampler for live audio in small pieces: recordings go through FFmpeg, a session must not hold a decoder."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ZEROS: Final = 24
"""Zero crossings of the windowed sinc on each side: under a Kaiser window of 9, what folds back is far below 60 dB (a test measures it)."""
_BETA: Final = 9.0
_ROLL_OFF: Final = 0.92


class Resampler:
    """Mono s16le from one rate to another, whatever the sizes of the pieces.

    source, target: Hz. The result lags by the filter's half length, about 24 periods of the lower rate; `flush` gives what is left.
    """

    def __init__(self, source: int, target: int) -> None:
        import numpy as np

        ratio = Fraction(target, source)
        self._up, self._down = ratio.numerator, ratio.denominator
        cutoff = min(1.0, target / source) * _ROLL_OFF
        self._half = int(np.ceil(_ZEROS / cutoff))
        taps = np.arange(-self._half, self._half + 1)
        # One row of the filter for each phase that a target sample can have between two source samples.
        phases = np.arange(self._up)[:, None] / self._up
        distance = taps[None, :] - phases
        window = np.i0(_BETA * np.sqrt(np.clip(1 - (distance / (self._half + 1)) ** 2, 0, None))) / np.i0(_BETA)
        rows = cutoff * np.sinc(cutoff * distance) * window
        self._rows: NDArray[np.float32] = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
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
        out = np.einsum("ij,ij->i", windows[centres], self._rows[phases])
        following = int(places[-1]) + self._down
        dropped = min(following // self._up, len(held))
        self._next = following - dropped * self._up
        self._held = held[dropped:]
        return bytes(np.clip(np.rint(out), -32768, 32767).astype("<i2").tobytes())
