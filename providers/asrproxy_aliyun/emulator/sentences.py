"""Where sentences begin and end in a stream of samples: by loudness, counted in audio time, not in wall time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library's; from Python 3.13 on it is audioop-lts
    from audioop import rms

_FRAME: Final = 0.02
_LOUD: Final = 200
"""Root mean square of a frame with something in it: -44 dB of full scale."""
_LEAD: Final = 0.1
"""Seconds kept before the first loud frame of a sentence, so that a soft beginning is not cut off."""


@dataclass(frozen=True, slots=True)
class Begun:
    """start: seconds of the stream. at: seconds of audio taken in when it was noticed."""

    start: float
    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """start, end: seconds of the stream. at: seconds of audio taken in when it was noticed."""

    start: float
    end: float
    at: float


class SentenceFinder:
    """Feed it samples; it says what begins and ends. max_silence: seconds of quiet that end a sentence."""

    def __init__(self, sample_rate: int, max_silence: float) -> None:
        self.max_silence = max_silence
        self._frame_bytes = 2 * int(sample_rate * _FRAME)
        self._rest = b""
        self._frames = 0
        self._start: float | None = None
        self._last_loud = 0.0

    @property
    def time(self) -> float:
        """Seconds of audio taken in."""
        return self._frames * _FRAME

    @property
    def start(self) -> float | None:
        """Where the sentence under way began; None between sentences."""
        return self._start

    def feed(self, samples: bytes) -> list[Begun | Ended]:
        """samples: mono s16le, any number of bytes."""
        data = self._rest + samples
        whole = len(data) - len(data) % self._frame_bytes
        self._rest = data[whole:]
        found: list[Begun | Ended] = []
        for at in range(0, whole, self._frame_bytes):
            found += self._frame(rms(data[at : at + self._frame_bytes], 2) >= _LOUD)
        return found

    def finish(self) -> list[Ended]:
        """The stream is over: a sentence under way ends here."""
        if self._start is None:
            return []
        ended = Ended(self._start, min(self._last_loud + _LEAD, self.time), self.time)
        self._start = None
        return [ended]

    def _frame(self, loud: bool) -> list[Begun | Ended]:
        before = self.time
        self._frames += 1
        if loud:
            self._last_loud = self.time
            if self._start is None:
                self._start = max(0.0, before - _LEAD)
                return [Begun(self._start, self.time)]
        elif self._start is not None and self.time - self._last_loud >= self.max_silence:
            ended = Ended(self._start, self._last_loud + min(_LEAD, self.max_silence), self.time)
            self._start = None
            return [ended]
        return []


def sentences(samples: bytes, sample_rate: int, max_silence: float) -> list[Ended]:
    """The sentences of a whole recording."""
    finder = SentenceFinder(sample_rate, max_silence)
    return [each for each in finder.feed(samples) if isinstance(each, Ended)] + finder.finish()
