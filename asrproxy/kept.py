"""What of a live session's audio may have to be heard again, by another connection or another provider."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from asrproxy.model import BYTES_PER_SAMPLE

_QUIET: Final = 20.0
_LONGEST: Final = 120.0
_COARSE: Final = 1.0


class KeptAudio:
    """A session's audio (mono s16le) from the end of its last finished sentence on. Positions are bytes of the session.

    While no sentence is open, what was given to a recogniser more than twenty seconds ago is let go: a sentence that it has not noticed by
    then is none. By the clock, not by the length of the audio, since a caller may send faster than it speaks. Two minutes are the most
    that is kept. begin, end: of what is kept. time: seconds on any steady clock.
    """

    def __init__(self, bytes_per_second: int, *, time: Callable[[], float]) -> None:
        self._rate = bytes_per_second
        self._time = time
        self._audio = bytearray()
        self._given: deque[tuple[float, int]] = deque()  # (moment, position): all before the position had been given by then
        self.begin = 0

    @property
    def end(self) -> int:
        return self.begin + len(self._audio)

    def append(self, samples: bytes) -> None:
        self._audio += samples

    def part(self, begin: int, end: int) -> bytes:
        """What is kept between two positions."""
        return bytes(self._audio[max(0, begin - self.begin) : max(0, end - self.begin)])

    def settled(self, moment: float) -> None:
        """A sentence that ended at `moment`, in seconds of the session, is final: what came before is not needed again."""
        self._forget(self.position(moment))

    def given(self, position: int, *, speaking: bool) -> None:
        """All before `position` has been given to the recogniser. speaking: a sentence is open there, as far as it has said."""
        now = self._time()
        if not self._given or now - self._given[-1][0] >= _COARSE:
            self._given.append((now, position))
        old = self.begin
        while self._given and self._given[0][0] <= now - _QUIET:
            old = self._given.popleft()[1]
        if not speaking:
            self._forget(old)
        self._forget(position - self.position(_LONGEST))

    def position(self, moment: float) -> int:
        """Of a moment in seconds of the session: the beginning of a sample."""
        return int(moment * self._rate) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE

    def _forget(self, before: int) -> None:
        drop = min(before, self.end) - self.begin
        if drop > 0:
            del self._audio[:drop]
            self.begin += drop
