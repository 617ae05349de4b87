"""Live streams on tape: taken down beside the audio that brought each event, played when the same audio has come again. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from asrproxy.plugin import StreamEvent


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the audio of a stream: a number of bytes from its beginning, and the SHA-256 of those."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Take:
    """One stream from beginning to end. marks: what came while there was audio, and when. end: of the audio. closing: what came then."""

    marks: tuple[tuple[Place, StreamEvent], ...]
    end: Place
    closing: tuple[StreamEvent, ...]


class Recorder:
    """Takes down one stream."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._sent = 0
        self._marks: list[tuple[Place, StreamEvent]] = []
        self._end: Place | None = None
        self._closing: list[StreamEvent] = []

    def sent(self, piece: bytes) -> None:
        """A piece of audio went to the vendor."""
        self._digest.update(piece)
        self._sent += len(piece)

    def ended(self) -> None:
        """The audio is over."""
        self._end = self._place()

    def came(self, event: StreamEvent) -> None:
        """The vendor heard something."""
        if self._end is None:
            self._marks.append((self._place(), event))
        else:
            self._closing.append(event)

    def take(self) -> Take | None:
        """All of it; None: the vendor had enough before the audio was over, and nobody can say what that was."""
        return None if self._end is None else Take(tuple(self._marks), self._end, tuple(self._closing))

    def _place(self) -> Place:
        return Place(self._sent, self._digest.hexdigest())


class TapeRunsOut(Exception):
    """No take begins with the audio that came, or none ends where it ended."""


class Playback:
    """Plays the take whose audio comes, however that is cut into pieces.

    Several takes may begin alike; the first goes on whose events, so far, are those that were played. Everything raises TapeRunsOut.
    """

    def __init__(self, takes: Iterable[Take]) -> None:
        self._digest = hashlib.sha256()
        self._heard = 0
        self._played: list[StreamEvent] = []
        self._reels = [_Reel(take) for take in takes]
        self._turn()

    def hear(self, piece: bytes) -> list[StreamEvent]:
        """The events that had come by the end of this piece."""
        events: list[StreamEvent] = []
        rest = memoryview(piece)
        while rest:
            self._keep(reel for reel in self._reels if reel.take.end.bytes > self._heard)
            length = min(len(rest), min(reel.next_place() for reel in self._reels) - self._heard)
            self._digest.update(rest[:length])
            self._heard += length
            rest = rest[length:]
            self._turn()
            events += self._play()
        return events

    def end(self) -> list[StreamEvent]:
        """The audio is over: what is left of the take that ends here."""
        self._keep(reel for reel in self._reels if reel.take.end.bytes == self._heard)
        for reel in self._reels:
            reel.events.extend(reel.take.closing)
        return self._play()

    def _turn(self) -> None:
        """Every reel to where the audio is; those with other audio fall away."""
        here = Place(self._heard, self._digest.hexdigest())
        self._keep(reel for reel in self._reels if reel.turn(here))

    def _keep(self, reels: Iterable[_Reel]) -> None:
        self._reels = list(reels)
        if not self._reels:
            raise TapeRunsOut

    def _play(self) -> list[StreamEvent]:
        for reel in self._reels:
            both = min(len(reel.events), len(self._played))
            if reel.events[:both] == self._played[:both]:
                fresh = reel.events[both:]
                self._played += fresh
                return fresh
        raise TapeRunsOut


class _Reel:
    """A take, turned to where the audio is. events: what came until there."""

    def __init__(self, take: Take) -> None:
        self.take = take
        self.events: list[StreamEvent] = []

    def next_place(self) -> int:
        """Bytes of audio until the next mark, or until the end."""
        mark = self._upcoming()
        return self.take.end.bytes if mark is None else mark[0].bytes

    def turn(self, here: Place) -> bool:
        """Whether its audio is the same until here, as far as it was marked."""
        while (mark := self._upcoming()) and mark[0].bytes == here.bytes:
            if mark[0] != here:
                return False
            self.events.append(mark[1])
        return self.take.end.bytes != here.bytes or self.take.end == here

    def _upcoming(self) -> tuple[Place, StreamEvent] | None:
        return self.take.marks[len(self.events)] if len(self.events) < len(self.take.marks) else None
