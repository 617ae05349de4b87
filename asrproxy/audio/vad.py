"""Says for each 10 ms of a recording how loud it is and whether anything is said in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAMES_PER_SECOND: Final = 100
SPEECH: Final = 0x80
LEVEL: Final = 0x7F
QUIETEST: Final = 127

_AGGRESSIVENESS: Final = 2
_BLOCK: Final = 3  # frames judged together: webrtcvad takes 30 ms at 55 % of what three times 10 ms cost
_RATES: Final = (8_000, 16_000, 32_000, 48_000)  # what webrtcvad takes
_BYTES: Final = 2


class VoiceDetector:
    """Levels and speech of a mono s16le recording that comes in pieces of any size.

    `feed` and `flush` give one byte for each complete 10 ms: bit 7 (`SPEECH`) says that something is said, the low seven bits (`LEVEL`)
    are the frame's RMS in dB below full scale, 0 to 127. What they give together does not depend on the sizes of the pieces.
    Raises ValueError: a rate that has no whole 10 ms.
    """

    def __init__(self, sample_rate: int) -> None:
        import webrtcvad

        if sample_rate < _RATES[0] or sample_rate % FRAMES_PER_SECOND:
            raise ValueError(f"no voice detection at {sample_rate} Hz")
        self._detector = webrtcvad.Vad(_AGGRESSIVENESS)
        self._frame = sample_rate // FRAMES_PER_SECOND * _BYTES
        self._rate = max(rate for rate in _RATES if rate <= sample_rate)
        self._resampled = self._rate != sample_rate
        self._floor = _NoiseFloor()
        self._waiting = bytearray()

    def feed(self, pcm: bytes) -> bytes:
        """The frames that are now certain; up to two more wait for the next piece."""
        self._waiting += pcm
        whole = len(self._waiting) // (_BLOCK * self._frame) * _BLOCK
        return self._judge(whole)

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
            block = pcm[first * self._frame : last * self._frame]
            loud = self._floor.exceeded(levels[first:last])
            heard = self._detector.is_speech(self._heard(block, last - first), self._rate)
            if loud or heard:
                for index in range(first, last):
                    levels[index] |= SPEECH
        return bytes(levels)

    def _heard(self, block: bytes, frames: int) -> bytes:
        """The block at a rate that webrtcvad takes; which samples are picked matters little to its six sub-band energies."""
        if not self._resampled:
            return block
        import numpy as np

        samples = np.frombuffer(block, "<i2")
        wanted = frames * self._rate // FRAMES_PER_SECOND
        return samples[np.arange(wanted) * len(samples) // wanted].tobytes()


def voiced_seconds(levels: bytes) -> float:
    """Seconds in which something is said."""
    return len(levels.translate(None, delete=_SILENT)) / FRAMES_PER_SECOND


_SILENT: Final = bytes(range(SPEECH))


class _NoiseFloor:
    """The level of the room: falls at once, rises slowly, so that a minute of speech without a pause does not become the room."""

    _MARGIN: Final = 12.0  # dB over the floor that nothing but somebody or something near makes
    _RISE: Final = 0.1 * _BLOCK / FRAMES_PER_SECOND  # dB a block: 0.1 dB a second
    _LOWEST: Final = -70.0  # below it is nothing that an engine could read

    def __init__(self) -> None:
        self._level = 0.0

    def exceeded(self, levels: bytes | bytearray) -> bool:
        loudest, quietest = -min(levels), -max(levels)
        self._level = max(self._LOWEST, min(self._level + self._RISE, quietest))
        return loudest > self._level + self._MARGIN


def _levels(pcm: bytes, frame: int) -> bytes:
    import numpy as np

    samples: NDArray[np.float32] = np.frombuffer(pcm, "<i2").astype(np.float32).reshape(-1, frame)
    power = np.einsum("ij,ij->i", samples, samples) / (frame * 32768.0**2)
    decibels = -10 * np.log10(np.maximum(power, 1e-13))
    return np.clip(np.rint(decibels), 0, QUIETEST).astype(np.uint8).tobytes()
