"""Finds sentences in live audio by their pauses, for providers that cannot stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asrproxy.audio.vad import FRAMES_PER_SECOND, LEVEL, SPEECH, VoiceDetector
from asrproxy.model import BYTES_PER_SAMPLE

_PAD: Final = 20
"""Frames kept before speech: the detector is late for soft beginnings."""
_MARGIN: Final = 10
"""dB above the quietest of late: louder than that counts as sound, whatever the detector says."""
_ONSET: Final = 5
"""Frames of sound in a row that begin a sentence: a click is not one."""


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """A stretch with sound in it. start, end: seconds since the session began; pcm: mono s16le."""

    start: float
    end: float
    pcm: bytes


class Endpointer:
    """Cuts a live signal at pauses.

    pause: seconds of quiet that end a sentence. longest: seconds at which one is ended without a pause. Holds at most that much audio.
    """

    def __init__(self, *, sample_rate: int, pause: float, longest: float) -> None:
        self._detector = VoiceDetector(sample_rate)
        self._frame = sample_rate // FRAMES_PER_SECOND * BYTES_PER_SAMPLE
        self._pause = round(pause * FRAMES_PER_SECOND)
        self._longest = int(longest * FRAMES_PER_SECOND) - 1
        self._pcm = bytearray()
        self._base = 0  # the frame at which `_pcm` begins
        self._now = 0  # frames judged
        self._first: int | None = None  # of the sentence under way
        self._last_sound = 0
        self._run = 0
        self._floor = 127.0

    @property
    def speaking(self) -> bool:
        """Whether a sentence is under way."""
        return self._first is not None

    @property
    def settled(self) -> float:
        """Seconds of the session: what came before them is in no sentence that is still to come."""
        return self._base / FRAMES_PER_SECOND

    def feed(self, pcm: bytes) -> list[Sentence]:
        """Audio of any size; the sentences that ended in it."""
        self._pcm += pcm
        return self._judge(self._detector.feed(pcm))

    def cut(self) -> Sentence:
        """Ends the sentence under way here, where no more audio comes for now. Its last 30 ms may be heard with the next one."""
        return self._cut(self._now)

    def finish(self) -> list[Sentence]:
        """The session is over: what was being said is a sentence."""
        sentences = self._judge(self._detector.flush())
        if self._first is not None:
            sentences.append(self._cut(self._now))
        return sentences

    def _judge(self, levels: bytes) -> list[Sentence]:
        sentences = []
        for level in levels:
            sounds = self._sounds(level)
            self._run = self._run + 1 if sounds else 0
            if sounds:
                self._last_sound = self._now
            self._now += 1
            if self._first is None:
                if self._run >= _ONSET:
                    self._first = max(self._base, self._now - _ONSET - _PAD)
            elif self._now - self._last_sound > self._pause or self._now - self._first >= self._longest:
                sentences.append(self._cut(self._now))
        if self._first is None:
            self._drop(self._now - _ONSET - _PAD)
        return sentences

    def _sounds(self, level: int) -> bool:
        """Loud against the background, or speech to the detector. The background is followed fast down and slowly up."""
        loudness = -float(level & LEVEL)
        quiet = loudness < self._floor
        self._floor += (loudness - self._floor) * (0.5 if quiet else 0.002)
        return loudness > -60 and (bool(level & SPEECH) or loudness > self._floor + _MARGIN)

    def _cut(self, last: int) -> Sentence:
        first = self._first or 0
        self._first = None
        self._run = 0
        begin, end = ((frame - self._base) * self._frame for frame in (first, last))
        sentence = Sentence(first / FRAMES_PER_SECOND, last / FRAMES_PER_SECOND, bytes(self._pcm[begin:end]))
        self._drop(last)
        return sentence

    def _drop(self, before: int) -> None:
        if before > self._base:
            del self._pcm[: (before - self._base) * self._frame]
            self._base = before
