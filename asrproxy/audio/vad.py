"""Says for each 10 ms of a recording how loud it is and whether somebody seems to speak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAMES_PER_SECOND: Final = 100
SPEECH: Final = 0x80
LEVEL: Final = 0x7F
QUIETEST: Final = 127

_AGGRESSIVENESS: Final = 3  # bench/vad.py: the only mode that finds the pauses of clean speech; what it misses are the tails of words
_BLOCK: Final = 3  # frames judged together: one call for 30 ms costs 60 % of three for 10 ms
_RATES: Final = (8_000, 16_000, 32_000, 48_000)  # what webrtcvad takes
_BYTES: Final = 2


class VoiceDetector:
    """Levels and speech of a mono s16le recording that comes in pieces of any size.

    `feed` and `flush` give one byte for each complete 10 ms: bit 7 (`SPEECH`) says that somebody speaks, the low seven bits (`LEVEL`)
    are the frame's RMS in dB below full scale, 0 to 127. What they give together does not depend on the sizes of the pieces.
    Steady tones count as speech, steady noise may: what is silence is for the levels to say as well (segment.py).
    Raises ValueError: a rate under 8 kHz or without a whole number of samples in 10 ms.
    """

    def __init__(self, sample_rate: int) -> None:
        import webrtcvad

        if sample_rate < _RATES[0] or sample_rate % FRAMES_PER_SECOND:
            raise ValueError(f"no voice detection at {sample_rate} Hz")
        self._detector = webrtcvad.Vad(_AGGRESSIVENESS)
        self._frame = sample_rate // FRAMES_PER_SECOND * _BYTES
        self._rate = max(rate for rate in _RATES if rate <= sample_rate)
        self._resampled = self._rate != sample_rate
        self._waiting = bytearray()

    def feed(self, pcm: bytes) -> bytes:
        """The frames that are now certain; up to two more wait for the next piece."""
        self._waiting += pcm
        return self._judge(len(self._waiting) // (_BLOCK * self._frame) * _BLOCK)

    def flush(self) -> bytes:
        """The frames that waited; a last part of less than 10 ms has none."""
        levels = self._judge(len(self._waiting) // self._frame)
        self._waiting.clear()
        return levels

    def _judge(self, frames: int) -> bytes:
        if not frames:
            return b""
        pcm = bytes(self._waiting[: frames * self._frame])
        del self._waiting[: frames * self._frame]
        levels = bytearray(_levels(pcm, self._frame // _BYTES))
        for first in range(0, frames, _BLOCK):
            last = min(first + _BLOCK, frames)
            if self._detector.is_speech(self._heard(pcm[first * self._frame : last * self._frame], last - first), self._rate):
                levels[first:last] = levels[first:last].translate(_SPOKEN)
        return bytes(levels)

    def _heard(self, block: bytes, frames: int) -> bytes:
        """The block at a rate that webrtcvad takes; picking the nearest samples is near enough for its six sub-band energies."""
        if not self._resampled:
            return block
        import numpy as np

        samples = np.frombuffer(block, "<i2")
        wanted = frames * self._rate // FRAMES_PER_SECOND
        return samples[np.arange(wanted) * len(samples) // wanted].tobytes()


def voiced_seconds(levels: bytes) -> float:
    """Seconds in which somebody speaks."""
    return len(levels.translate(None, delete=_UNVOICED)) / FRAMES_PER_SECOND


_UNVOICED: Final = bytes(range(SPEECH))
_SPOKEN: Final = bytes(value | SPEECH for value in range(256))


def _levels(pcm: bytes, frame: int) -> bytes:
    import numpy as np

    samples: NDArray[np.float32] = np.frombuffer(pcm, "<i2").astype(np.float32).reshape(-1, frame)
    power = np.einsum("ij,ij->i", samples, samples) / np.float32(frame * 32768.0**2)
    decibels = -10 * np.log10(np.maximum(power, np.float32(1e-13)))
    levels: NDArray[np.uint8] = np.clip(np.rint(decibels), 0, QUIETEST).astype(np.uint8)
    return levels.tobytes()
