"""Cuts a recording into utterances: at pauses where there are any, leaving out long silences, never over the allowed length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asrproxy.audio.vad import FRAMES_PER_SECOND, LEVEL, QUIETEST, SPEECH

_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the recording for one utterance, in frames of 10 ms from its beginning.

    forced_start, forced_end: cut where no pause was. overlap_before: frames that the span before has as well.
    """

    first: int
    last: int
    forced_start: bool = False
    forced_end: bool = False
    overlap_before: int = 0

    @property
    def start(self) -> float:
        """Seconds."""
        return self.first / FRAMES_PER_SECOND

    @property
    def end(self) -> float:
        """Seconds."""
        return self.last / FRAMES_PER_SECOND


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """An utterance's audio with its place: times and overlap in seconds of the recording, pcm is mono s16le.

    levels: its frames' bytes of `VoiceDetector`, from its first frame on.
    """

    index: int
    start: float
    end: float
    pcm: bytes
    forced_start: bool
    forced_end: bool
    overlap_before: float
    levels: bytes = b""


class Segmenter:
    """Cuts a recording while it comes; what it gives does not depend on the sizes of the parts in which it comes.

    longest: seconds of a piece at most, overlap included. min_silence: seconds of a pause to cut in. overlap: seconds that neighbours
    share where there was none. skip_silence: seconds; silence that lasts longer is in no piece, 0: everything is. Holds the audio of
    one piece and what was fed at once. A recording in which nothing at all is heard has no pieces. Raises ValueError: longest under 1 s.
    """

    def __init__(self, *, sample_rate: int, longest: float, min_silence: float, overlap: float, skip_silence: float) -> None:
        self._cutter = _Cutter(longest=longest, min_silence=min_silence, overlap=overlap, skip_silence=skip_silence)
        self._frame = sample_rate // FRAMES_PER_SECOND * _BYTES
        self._second = sample_rate * _BYTES
        self._pcm = bytearray()
        self._levels = bytearray()
        self._dropped = 0
        self._index = 0

    def feed(self, pcm: bytes, levels: bytes) -> list[Piece]:
        """More of the recording and of its frames (`VoiceDetector`); the two need not keep step. Gives the pieces that are now certain."""
        self._pcm += pcm
        self._levels += levels
        pieces = [self._piece(span) for span in self._cutter.feed(levels)]
        self._drop(self._cutter.needed * self._frame)
        return pieces

    def finish(self) -> list[Piece]:
        """The rest. A last part of less than a frame belongs to the last piece."""
        frames = self._cutter.known
        spans = self._cutter.finish()
        end = self._dropped + len(self._pcm)
        if not frames and self._pcm:
            return [Piece(0, 0.0, end / self._second, bytes(self._pcm), False, False, 0.0)]
        return [self._piece(span, end if span.last == frames else None) for span in spans]

    def _piece(self, span: Span, end: int | None = None) -> Piece:
        """The span's audio; `end` is a byte of the recording, where it is not the end of a frame."""
        first, last = span.first * self._frame, span.last * self._frame if end is None else end
        with memoryview(self._pcm) as view:
            pcm = bytes(view[first - self._dropped : last - self._dropped])
        self._index += 1
        return Piece(
            index=self._index - 1,
            start=span.start,
            end=last / self._second,
            pcm=pcm,
            forced_start=span.forced_start,
            forced_end=span.forced_end,
            overlap_before=span.overlap_before / FRAMES_PER_SECOND,
            levels=self._heard(span),
        )

    def _heard(self, span: Span) -> bytes:
        first = self._dropped // self._frame
        return bytes(self._levels[span.first - first : span.last - first])

    def _drop(self, before: int) -> None:
        count = min(before - self._dropped, len(self._pcm))
        count -= count % self._frame  # levels go by whole frames
        if count > 0:
            del self._pcm[:count]
            del self._levels[: count // self._frame]
            self._dropped += count


def cut(levels: bytes, *, longest: float, min_silence: float, overlap: float, skip_silence: float) -> list[Span]:
    """Where to cut a recording whose frames are `levels` (`VoiceDetector`); parameters in seconds, as `Segmenter` has them.

    Spans are in order, none is over `longest`, and together they cover every frame but those of silences over `skip_silence`.
    """
    cutter = _Cutter(longest=longest, min_silence=min_silence, overlap=overlap, skip_silence=skip_silence)
    return [*cutter.feed(levels), *cutter.finish()]


class _Cutter:
    """The decisions, on frames alone: `needed` is the first frame that may still become part of a span."""

    # A pause is looked for in the last tenth of the allowed length: every cut before that costs calls. An earlier one is taken while the
    # calls so far stay within _BUDGET of the fewest that could hold the sound so far: it is paid from what skipped pauses have saved.
    _LATE: Final = 0.9
    _EARLY: Final = 0.5
    _BUDGET: Final = 1.08
    _PAD: Final = 30  # frames kept round speech: the detector misses soft beginnings and the tails of words
    _FORCED: Final = 60  # frames at the end of the allowed length among which a forced cut takes the quietest
    _FORCED_START: Final = 30  # the same for where the next span begins

    def __init__(self, *, longest: float, min_silence: float, overlap: float, skip_silence: float) -> None:
        if longest < 1:
            raise ValueError("an utterance cannot be shorter than a second")
        self._longest = int(longest * FRAMES_PER_SECOND + 1e-6) - 1  # the recording's last part may be up to a frame longer
        self._pause = max(1, round(min_silence * FRAMES_PER_SECOND))
        self._overlap = min(round(overlap * FRAMES_PER_SECOND), self._longest // 4)
        self._skip = max(round(skip_silence * FRAMES_PER_SECOND), 2 * self._PAD) if skip_silence else None
        self._silence = _Silence()
        self._levels = bytearray()  # the low seven bits
        self._sounds = bytearray()  # 0: clearly silent
        self._base = 0  # the frame of the first of them
        self._covered = 0  # up to here everything is in a span, or skipped
        self._heard = 0  # one after the last frame with sound before `_covered`
        self._first: int | None = None  # of the span under way; None: looking for sound
        self._overlapping = 0
        self._forced = False
        self._scanned = 0
        self._spent = 0  # spans so far, and the frames with sound that they hold
        self._moved = 0

    @property
    def known(self) -> int:
        """Frames fed so far."""
        return self._base + len(self._levels) + self._silence.waiting

    @property
    def needed(self) -> int:
        return self._base

    def feed(self, levels: bytes) -> list[Span]:
        self._take(self._silence.feed(levels))
        spans = list(self._decide(ended=False))
        self._forget()
        return spans

    def finish(self) -> list[Span]:
        self._take(self._silence.finish())
        return list(self._decide(ended=True))

    def _take(self, judged: tuple[bytes, bytes]) -> None:
        levels, sounds = judged
        self._levels += levels
        self._sounds += sounds

    def _decide(self, *, ended: bool) -> Iterator[Span]:
        while True:
            if self._first is None and not self._begin(ended):
                return
            span = self._next(ended)
            if span is None:
                return
            yield span

    def _begin(self, ended: bool) -> bool:
        """Finds where the next span begins; False: not known yet, or there is none."""
        end = self._end
        sound = self._sounds.find(1, self._covered - self._base)
        sound = end if sound < 0 else sound + self._base
        long = self._skip is not None and sound - self._heard > self._skip
        if sound == end:
            if long:
                self._covered = max(self._covered, end - self._PAD)
            if not ended or long or self._covered == end:
                return False
        self._first = max(self._covered, sound - self._PAD) if long else self._covered
        self._overlapping, self._forced, self._scanned = 0, False, self._first
        return True

    def _next(self, ended: bool) -> Span | None:
        """The span under way, if it is certain where it ends."""
        assert self._first is not None  # noqa: S101 - `_decide` begins it
        limit, end = self._first + self._longest, self._end
        silence = self._long_silence(min(end, limit + 1))
        if silence is not None:
            return self._close(silence + self._PAD)
        if end > limit:
            return self._cut(limit)
        if ended and end > self._covered:
            return self._close(end)
        return None

    def _long_silence(self, end: int) -> int | None:
        """The first frame of a silence to skip; it must leave room for its pad within `end`."""
        if self._skip is None:
            return None
        found = self._sounds.find(bytes(self._skip + 1), self._scanned - self._base, end - self._base)
        if found < 0:
            self._scanned = max(self._scanned, end - self._skip)
            return None
        return found + self._base

    def _cut(self, limit: int) -> Span:
        assert self._first is not None  # noqa: S101
        length = self._longest
        window = _Dips(self._levels[self._first - self._base : limit - self._base])
        earliest = max(int(self._LATE * length), self._covered - self._first + 1)
        at = window.pause(earliest, length, self._pause)
        if at is None:
            early = max(int(self._EARLY * length), self._covered - self._first + 1)
            at = window.pause(early, earliest, self._pause) if early < earliest else None
            if at is not None and (self._spent + 1) * length > self._BUDGET * (self._moved + self._sound(self._first + at)):
                at = None
        if at is not None:
            return self._close(self._first + at)
        forced = window.quietest(max(length - self._FORCED, length * 3 // 4), length)
        latest = forced - self._overlap
        start = window.quietest(max(latest - self._FORCED_START, length // 4), latest) if self._overlap else forced
        # A pause after which the next span would begin no earlier than after a forced cut costs no call more, and no seam.
        at = window.pause(max(start, self._covered - self._first + 1), earliest, self._pause)
        if at is not None:
            return self._close(self._first + at)
        return self._close(self._first + forced, resume=self._first + start)

    def _close(self, last: int, *, resume: int | None = None) -> Span:
        """Ends the span under way; `resume`: the cut is forced, and the next span begins there."""
        assert self._first is not None  # noqa: S101
        span = Span(self._first, last, self._forced, resume is not None, self._overlapping)
        self._spent, self._moved = self._spent + 1, self._moved + self._sound(last)
        heard = self._sounds.rfind(1, 0, last - self._base)
        if heard >= 0:
            self._heard = heard + self._base + 1
        self._covered = last
        if resume is None:
            self._first = None
        else:
            self._first, self._forced, self._overlapping, self._scanned = resume, True, last - resume, last
        return span

    def _sound(self, last: int) -> int:
        """Frames with sound that the span under way would add if it ended at `last`."""
        return self._sounds.count(1, self._covered - self._base, last - self._base)

    def _forget(self) -> None:
        """Drops what no span can hold any more."""
        before = self._covered if self._first is None else self._first
        del self._levels[: before - self._base]
        del self._sounds[: before - self._base]
        self._base = before

    @property
    def _end(self) -> int:
        return self._base + len(self._levels)


class _Silence:
    """Tells what is clearly silent: nobody speaks, and it is no louder than the room.

    The room's level is the quietest tenth of a second in each second; it falls at once and rises slowly, so that neither a minute without
    a pause nor a distant voice becomes the room. Both must hold, for a silence is not sent: losing is worse than paying.
    """

    _SECOND: Final = FRAMES_PER_SECOND
    _RISE: Final = 0.2  # dB a second
    _MARGIN: Final = 10  # dB over the room
    _LOUDEST: Final = 40  # dB below full scale; what is louder is never silence, whatever the detector makes of it
    _TABLES: Final = tuple(bytes(int(value >= SPEECH or value < level) for value in range(256)) for level in range(QUIETEST + 1))

    def __init__(self) -> None:
        self._room: float | None = None  # dB below full scale
        self._pending = bytearray()

    @property
    def waiting(self) -> int:
        return len(self._pending)

    def feed(self, frames: bytes) -> tuple[bytes, bytes]:
        """Levels, and for each frame 0 where it is clearly silent, of the whole seconds so far."""
        self._pending += frames
        whole = len(self._pending) // self._SECOND * self._SECOND
        ready = bytes(self._pending[:whole])
        del self._pending[:whole]
        return self._judged(ready)

    def finish(self) -> tuple[bytes, bytes]:
        rest = bytes(self._pending)
        self._pending.clear()
        return self._judged(rest)

    def _judged(self, frames: bytes) -> tuple[bytes, bytes]:
        levels = frames.translate(_LEVELS)
        return levels, b"".join(
            frames[first : first + self._SECOND].translate(self._table(levels[first : first + self._SECOND]))
            for first in range(0, len(frames), self._SECOND)
        )

    def _table(self, second: bytes) -> bytes:
        quiet = sorted(second, reverse=True)[min(10, len(second) - 1)]
        self._room = quiet if self._room is None else max(quiet, self._room - self._RISE)
        return self._TABLES[max(self._LOUDEST, round(self._room) - self._MARGIN)]


_LEVELS: Final = bytes(value & LEVEL for value in range(256))


class _Dips:
    """The quiet places of a stretch that is full: found by level alone, for in noise a detector hears speech everywhere."""

    _SMOOTH: Final = 5  # frames; a click of 10 ms does not end a pause
    _DEEP: Final = 0.6  # of the way from loud to quiet; between words the level falls less
    _FLAT: Final = 8  # dB; a stretch that varies less than this has no pause, only louder and softer sounds
    _LONG: Final = 100  # frames; longer pauses are no better

    def __init__(self, levels: bytes | bytearray) -> None:
        self._levels = levels
        ranked = sorted(levels)
        self._loud, quiet = ranked[len(ranked) // 10], ranked[len(ranked) * 97 // 100]
        self._range = quiet - self._loud

    def pause(self, first: int, last: int, shortest: int) -> int | None:
        """The middle of the longest, quietest, latest pause of at least `shortest` frames between two frames, None: there is none."""
        if self._range < self._FLAT or last - first < shortest:
            return None
        threshold = self._loud + self._DEEP * self._range
        smooth = self._smoothed(first, last)
        best, where, begin = 0.0, None, None
        for index, level in enumerate([*smooth, -1.0]):
            if level >= threshold:
                begin = index if begin is None else begin
            elif begin is not None:
                if index - begin >= shortest:
                    depth = (sum(smooth[begin:index]) / (index - begin) - threshold) / self._range
                    score = min(index - begin, self._LONG) / self._LONG + depth + index / len(smooth)
                    if score > best:
                        best, where = score, first + (begin + index) // 2
                begin = None
        return where

    def quietest(self, first: int, last: int) -> int:
        """The quietest frame between two, the last of several: where a cut hurts least."""
        smooth = self._smoothed(first, last + 1)
        loudest = max(smooth)
        return first + max(index for index, level in enumerate(smooth) if level >= loudest - 1)

    def _smoothed(self, first: int, last: int) -> list[float]:
        half, size = self._SMOOTH // 2, len(self._levels)
        return [
            sum(window) / len(window)
            for window in (self._levels[max(0, min(index, size - 1) - half) : index + half + 1] for index in range(first, last))
        ]
