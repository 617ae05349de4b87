"""A recording longer than an utterance: cut, recognised side by side, checked, stitched, told in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from asrproxy.audio.decode import Block
from asrproxy.audio.segment import Piece, Segmenter
from asrproxy.audio.vad import FRAMES_PER_SECOND, LEVEL, voiced_seconds
from asrproxy.config.models import LongAudioSettings
from asrproxy.errors import AsrError
from asrproxy.failure import RecordingFailed
from asrproxy.model import BYTES_PER_SAMPLE, AttemptRecord, AudioFormat, Recognition, Segment, Transcript, Utterance, Word
from asrproxy.plugin import Call, Context, Trail
from asrproxy.remember import SegmentMemory
from asrproxy.stages import Stages
from asrproxy.text import coverage, join, seam
from asrproxy.text.gap import filled
from asrproxy.text.seam import Reading
from asrproxy.text.tokens import counted


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a recording is: segments and seconds, done and known so far (the totals grow until all of it is decoded)."""

    done: int
    total: int
    seconds_done: float
    seconds_total: float


_ASKED: Final = 3
"""Stretches without words of one piece that are asked for again: where music plays all the time there would be no end of them."""

Listener = Callable[[Segment | Progress], Awaitable[None]]


@dataclass(slots=True)
class _Slot:
    """A piece on its way from cut to told. seconds: of the recording that are done with it, skipped silence before it included."""

    piece: Piece
    seconds: float
    segment: Segment | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return self.segment is not None and self.segment.error is not None


@dataclass(frozen=True, slots=True)
class Work:
    """What one request wants of a long recording, whichever way it is sent.

    call: a route's. longest: seconds of an utterance. context: makes the context of a call made now. heard: is told how many seconds
    are known so far. allow_holes: a segment that fails for good leaves a hole instead of ending the recording. stages: of the request.
    language: what the caller says it is, where the vendor does not say.
    """

    route: str
    call: Call
    settings: LongAudioSettings
    longest: float
    format: AudioFormat
    memory: SegmentMemory
    context: Callable[[int], Context]
    heard: Callable[[float], None]
    allow_holes: bool
    stages: Stages
    language: str | None = None


class LongRecording:
    """One recording's pipeline. At most `settings.concurrency` utterances are under way, and no more is decoded than they need."""

    def __init__(self, work: Work, listener: Listener | None) -> None:
        settings = work.settings
        self._route, self._call, self._settings, self._format = work.route, work.call, settings, work.format
        self._memory, self._context, self._heard, self._allow_holes = work.memory, work.context, work.heard, work.allow_holes
        self._listener, self._stages, self._language = listener, work.stages, work.language
        self._segmenter = Segmenter(
            sample_rate=work.format.sample_rate,
            longest=work.longest,
            min_silence=settings.min_silence,
            overlap=settings.overlap,
            skip_silence=settings.skip_silence,
        )
        self._free = asyncio.Semaphore(settings.concurrency)
        self._telling = asyncio.Lock()
        self._slots: list[_Slot] = []
        self._told = 0
        self._progress_told: Progress | None = None
        self._seconds = 0.0
        self._all_cut = False
        self._failure: AsrError | None = None

    async def transcribe(self, blocks: AsyncIterator[Block]) -> Transcript:
        """Raises RecordingFailed with the finished segments inside, and what the listener raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._cut(blocks, tasks)
        except ExceptionGroup as errors:  # the first is what happened: the one who listened has gone, or a defect
            raise errors.exceptions[0] from errors
        finally:
            self._stages.ended("recognize")
        self._all_cut = True
        await self._tell()  # what waited for a neighbour that never came
        if self._failure is not None:
            raise self.failed(self._failure)
        began = time.monotonic()
        transcript = self._transcript()
        self._stages.between("stitch", began, time.monotonic())
        return transcript

    async def _cut(self, blocks: AsyncIterator[Block], tasks: asyncio.TaskGroup) -> None:
        """Sets a task going for each piece, as soon as there is a place for it."""
        try:
            async with aclosing(self._pieces(blocks)) as pieces:
                async for piece in pieces:
                    await self._free.acquire()
                    if self._failure is not None:
                        break
                    slot = _Slot(piece, piece.end - (self._slots[-1].piece.end if self._slots else 0.0))
                    self._slots.append(slot)
                    tasks.create_task(self._work(slot))
        except AsrError as error:  # the rest of the recording cannot be decoded; what is under way has been paid for
            self._failure = self._failure or error

    def failed(self, cause: AsrError) -> RecordingFailed:
        """The cause with everything that was finished before it."""
        finished = tuple(slot.segment for slot in self._slots if slot.segment is not None and not slot.failed)
        return RecordingFailed(cause, finished, self._attempts())

    async def _pieces(self, blocks: AsyncIterator[Block]) -> AsyncGenerator[Piece, None]:
        asked = time.monotonic()
        async for block in blocks:
            got = time.monotonic()
            self._stages.between("decode", asked, got)
            self._seconds += len(block.pcm) / self._format.bytes_per_second
            self._heard(self._seconds)
            pieces = self._segmenter.feed(block.pcm, block.levels or b"")
            self._stages.between("segment", got, time.monotonic())
            for piece in pieces:
                yield piece
            asked = time.monotonic()
        for piece in self._segmenter.finish():
            yield piece

    async def _work(self, slot: _Slot) -> None:
        """One piece to its segment; gives its place back however that ends."""
        try:
            slot.segment = await self._segment(slot)
        except AsrError as error:
            forget_frames(error)
            slot.segment = Segment(
                index=slot.piece.index,
                start=slot.piece.start,
                end=slot.piece.end,
                text="",
                provider=error.provider,
                attempts=calls(slot.attempts),
                error=error,
            )
            if not self._allow_holes:
                self._failure = self._failure or error
        finally:
            slot.piece = replace(slot.piece, pcm=b"")  # the samples are not needed any more
            self._free.release()
        await self._tell()

    async def _segment(self, slot: _Slot) -> Segment:
        piece = slot.piece
        utterance = Utterance(piece.pcm, self._format, piece.start)
        context = self._context(piece.index)
        key = await self._memory.key(utterance, context.options, self._route)
        recognition = None if key is None else await self._memory.recall(key)
        cached = recognition is not None
        if recognition is None:
            recognition = await self._recognition(piece, utterance, context, slot.attempts)
            if key is not None and not recognition.suspect:
                await self._memory.keep(key, recognition)
        return Segment(
            index=piece.index,
            start=piece.start,
            end=piece.end,
            text=recognition.text,
            provider=recognition.provider,
            attempts=calls(slot.attempts),
            words=shifted(recognition.words, piece.start),
            suspect=recognition.suspect,
            cached=cached,
            language=recognition.language,
        )

    async def _recognition(self, piece: Piece, utterance: Utterance, context: Context, attempts: list[AttemptRecord]) -> Recognition:
        """One call, and where clear speech came back as no or far too few words, one more for that."""
        first = await self._called(utterance, context, attempts)
        if not self._settings.recheck:
            return first
        voiced = voiced_seconds(piece.levels)
        if coverage.far_too_few(first.text, voiced):
            second = await self._halves(piece, context, attempts)
            best = second if second is not None and len(second.text) > len(first.text) else first
            return replace(best, suspect=coverage.far_too_few(best.text, voiced))
        return await self._filled(piece, first, attempts)

    async def _filled(self, piece: Piece, reading: Recognition, attempts: list[AttemptRecord]) -> Recognition:
        """The reading with what is said in stretches for which it has no words: each is asked for by itself."""
        if not reading.words:
            return reading
        voiced = partial(voiced_between, piece.levels)
        bare = coverage.bare_stretches(reading.words, voiced, start=0.0, end=piece.end - piece.start)
        worst = sorted(bare, key=lambda each: voiced(*each), reverse=True)[:_ASKED]
        told, suspect = Reading(reading.text, reading.words), reading.suspect or len(bare) > len(worst)
        for start, end in worst:
            try:
                missing = await self._called(self._stretch(piece, start, end), self._context(piece.index), attempts)
            except AsrError:
                suspect = True  # the first reading stands
                continue
            suspect = suspect or not missing.text
            told = filled(told, Reading(missing.text, shifted(missing.words, start)), at=(start + end) / 2, language=reading.language)
        return replace(reading, text=told.text, words=told.words, suspect=suspect)

    def _stretch(self, piece: Piece, start: float, end: float) -> Utterance:
        """From `start` to `end`, seconds of the piece."""
        first, last = (round(moment * self._format.sample_rate) * BYTES_PER_SAMPLE for moment in (start, end))
        return Utterance(memoryview(piece.pcm)[first:last], self._format, piece.start + start)

    async def _halves(self, piece: Piece, context: Context, attempts: list[AttemptRecord]) -> Recognition | None:
        """The piece cut at its quietest place near the middle. None: that failed, and the first reading stands."""
        middle = _quietest(piece.levels) / FRAMES_PER_SECOND
        halves = (self._stretch(piece, 0.0, middle), self._stretch(piece, middle, piece.end - piece.start))
        readings = []
        for half in halves:
            try:
                readings.append(await self._called(half, self._context(piece.index), attempts))
            except AsrError:
                return None
        left, right = readings
        words = None
        if left.words is not None and right.words is not None:
            words = left.words + (shifted(right.words, middle) or ())
        language = left.language or right.language or context.options.language
        return replace(left, text=join.join((left.text, right.text), language), words=words)

    async def _called(self, utterance: Utterance, context: Context, attempts: list[AttemptRecord]) -> Recognition:
        try:
            return await self._call(utterance, context)
        finally:
            attempts.extend(replace(record, segment=context.segment) for record in context.trail.records)
            count_calls(self._stages, context.trail)

    async def _tell(self) -> None:
        """Merges the seams that have both sides and tells, in order, what cannot change any more."""
        async with self._telling:
            while self._told < len(self._slots) and (slot := self._slots[self._told]).segment is not None:
                follower = self._slots[self._told + 1] if self._told + 1 < len(self._slots) else None
                if slot.piece.forced_end and follower is None and not self._all_cut:
                    return
                if follower is not None and follower.piece.forced_start:
                    if follower.segment is None:
                        return
                    began = time.monotonic()
                    _merge(slot, follower)
                    self._stages.between("stitch", began, time.monotonic())
                self._told += 1
                if self._listener is not None and (self._allow_holes or not slot.failed):
                    await self._listener(slot.segment)
            if self._listener is not None and (progress := self._progress()) != self._progress_told:
                self._progress_told = progress
                await self._listener(progress)

    def _progress(self) -> Progress:
        done = [slot for slot in self._slots if slot.segment is not None]
        if self._all_cut and len(done) == len(self._slots):
            return Progress(len(done), len(done), self._seconds, self._seconds)  # silence at the end is nobody's
        return Progress(len(done), len(self._slots), sum(slot.seconds for slot in done), self._seconds)

    def _attempts(self) -> tuple[AttemptRecord, ...]:
        return tuple(record for slot in self._slots for record in slot.attempts)

    def _transcript(self) -> Transcript:
        segments = tuple(slot.segment for slot in self._slots if slot.segment is not None)
        return transcript_of(segments, seconds=self._seconds, language=self._language, attempts=self._attempts())


def transcript_of(
    segments: tuple[Segment, ...], *, seconds: float, language: str | None, attempts: tuple[AttemptRecord, ...]
) -> Transcript:
    """The segments joined. language: where they do not say."""
    if not segments:  # nothing but silence: still a recording with one segment
        segments = (Segment(index=0, start=0.0, end=seconds, text="", provider=None, attempts=0),)
    providers = {segment.provider for segment in segments if segment.error is None}
    language = next((segment.language for segment in segments if segment.language), language)
    return Transcript(
        text=join.join((segment.text for segment in segments if segment.text), language),
        language=language,
        duration=seconds,
        complete=all(segment.error is None for segment in segments),
        provider=providers.pop() if len(providers) == 1 else None,
        segments=segments,
        attempts=attempts,
    )


def count_calls(stages: Stages, trail: Trail) -> None:
    """Adds what one answer took to the request's stages."""
    stages.add("attempt", sum(record.seconds for record in trail.records))
    if trail.waited:
        stages.add("limit_wait", trail.waited)
    if trail.paused:
        stages.add("pause", trail.paused)


def voiced_between(levels: bytes, start: float, end: float) -> float:
    """Seconds of speech between two times, in seconds from the first of the frames."""
    return voiced_seconds(levels[round(start * FRAMES_PER_SECOND) : round(end * FRAMES_PER_SECOND)])


def _merge(left: _Slot, right: _Slot) -> None:
    """The two readings of the stretch that both heard become one, or both stay and are flagged."""
    if left.segment is None or right.segment is None or left.failed or right.failed:
        return
    merged = seam.merge(
        Reading(left.segment.text, left.segment.words),
        Reading(right.segment.text, right.segment.words),
        start=right.piece.start,
        end=left.piece.end,
        fastest=_fastest(left, right),
    )
    left.segment = _with(left.segment, merged.left, merged.suspect)
    right.segment = _with(right.segment, merged.right, merged.suspect)
    if not merged.suspect:  # else both hold words of the stretch that they share
        moment = _between(merged, (right.piece.start + left.piece.end) / 2)
        left.segment, right.segment = replace(left.segment, end=moment), replace(right.segment, start=moment)


def _fastest(*slots: _Slot) -> float:
    """Tokens a second in the stretch that two pieces share: at most twice what either has on average where somebody speaks."""
    paces = [
        sum(counted(slot.segment.text)) / voiced
        for slot in slots
        if slot.segment is not None and (voiced := voiced_seconds(slot.piece.levels)) >= coverage.LEAST_SECONDS
    ]
    return min(seam.FASTEST, 2 * max(paces, default=seam.FASTEST))


def _between(merged: seam.Seam, middle: float) -> float:
    """Where one segment ends and the next begins: the middle of what both heard, moved to where no word is cut."""
    last = merged.left.words[-1].end if merged.left.words else middle
    first = merged.right.words[0].start if merged.right.words else middle
    return (last + first) / 2 if last > first else min(max(middle, last), first)


def _with(segment: Segment, reading: seam.Reading, suspect: bool) -> Segment:
    return replace(segment, text=reading.text, words=reading.words, suspect=segment.suspect or suspect)


def _quietest(levels: bytes) -> int:
    """The frame in the middle third around which a fifth of a second is quietest; levels are dB below full scale."""
    quiet = [level & LEVEL for level in levels]
    third, width = len(quiet) // 3, FRAMES_PER_SECOND // 10
    middle = range(max(third, width), max(len(quiet) - third, width + 1))
    return max(middle, key=lambda frame: sum(quiet[frame - width : frame + width]), default=len(quiet) // 2)


def shifted(words: tuple[Word, ...] | None, by: float) -> tuple[Word, ...] | None:
    """The same words, `by` seconds later."""
    return None if words is None else tuple(Word(word.text, word.start + by, word.end + by) for word in words)


def calls(attempts: list[AttemptRecord]) -> int:
    """How many of the records are of calls that were made."""
    return sum(record.outcome != "skipped" for record in attempts)


def forget_frames(error: BaseException) -> None:
    """Tracebacks hold the frames that hold the samples: an hour of holes would be an hour of audio in memory."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
