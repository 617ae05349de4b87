"""Says for each 10 ms of a recording how loud it is and whether somebody seems to speak."""

from __future__ import annotations

import warnings
from array import array
from bisect import bisect
from typing import Final

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library's; from Python 3.13 on it is audioop-lts
    from audioop import lin2lin, rms

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
        # The extension module itself: the Python one beside it, two lines round each of these, loads importlib.metadata to tell its
        # version, which is 2 MB and 20 ms of a decoder process.
        import _webrtcvad

        if sample_rate < _RATES[0] or sample_rate % FRAMES_PER_SECOND:
            raise ValueError(f"no voice detection at {sample_rate} Hz")
        self._process = _webrtcvad.process
        self._detector = _webrtcvad.create()
        _webrtcvad.init(self._detector)
        _webrtcvad.set_mode(self._detector, _AGGRESSIVENESS)
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
        block, process, detector, rate = _BLOCK * self._frame, self._process, self._detector, self._rate
        for first in range(0, len(pcm), block):
            heard = pcm[first : first + block]
            if self._resampled:
                heard = self._heard(heard, len(heard) // self._frame)
            if process(detector, rate, heard, len(heard) // _BYTES):
                place = slice(first // self._frame, first // self._frame + _BLOCK)
                levels[place] = levels[place].translate(_SPOKEN)
        return bytes(levels)

    def _heard(self, block: bytes, frames: int) -> bytes:
        """The block at a rate that webrtcvad takes; picking the nearest samples is near enough for its six sub-band energies."""
        samples = memoryview(block).cast("h")
        wanted = frames * self._rate // FRAMES_PER_SECOND
        return array("h", (samples[at * len(samples) // wanted] for at in range(wanted))).tobytes()


def voiced_seconds(levels: bytes) -> float:
    """Seconds in which somebody speaks."""
    return len(levels.translate(None, delete=_UNVOICED)) / FRAMES_PER_SECOND


_UNVOICED: Final = bytes(range(SPEECH))
_SPOKEN: Final = bytes(value | SPEECH for value in range(256))


def _levels(pcm: bytes, frame: int) -> bytes:
    """With audioop: numpy would be faster, and 12 MB in every decoder process."""
    wide = lin2lin(pcm, _BYTES, _WIDE)  # a whole number is all that `rms` gives: of 16 bits, too rough for quiet frames
    step = _WIDE * frame
    return bytes([QUIETEST - bisect(_STEPS, rms(wide[first : first + step], _WIDE)) for first in range(0, len(wide), step)])


_WIDE: Final = 4
_STEPS: Final = tuple(2.0**31 * 10 ** (-(level - 0.5) / 20) for level in range(QUIETEST, 0, -1))
"""The weakest signal of each level from 126 up to 0."""
