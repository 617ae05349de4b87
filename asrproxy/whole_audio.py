"""A recording sent whole, where a provider has a way made for that; what that way does not give is cut and asked for as usual."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Final

from asrproxy.audio.decode import Block
from asrproxy.audio.segment import Piece, Segmenter
from asrproxy.audio.vad import FRAMES_PER_SECOND, LEVEL, voiced_seconds
from asrproxy.errors import AsrError, DeadlineExceeded
from asrproxy.failure import RecordingFailed
from asrproxy.long_audio import (
    Listener,
    LongRecording,
    Progress,
    Work,
    calls,
    count_calls,
    forget_frames,
    shifted,
    transcript_of,
    voiced_between,
)
from asrproxy.model import BYTES_PER_SAMPLE, AttemptRecord, Recognition, Segment, Transcript, Utterance, Word
from asrproxy.text import coverage

_SILENT: Final = 40
"""Decibels below full scale: a piece in which nobody speaks and nothing is louder is not sent."""


class WholeRecording:
    """One recording in as few calls as a provider takes it in, one after the other: each holds its samples, 115 MB an hour.

    A segment is what the vendor calls a sentence. A call that fails for good is made up for by cutting its stretch (`LongRecording`), and
    so is a stretch of clear speech in which no sentence lies.
    """

    def __init__(self, work: Work, whole: float, listener: Listener | None) -> None:
        """whole: seconds of one call."""
        settings = work.settings
        self._work, self._listener = work, listener
        self._time = asyncio.get_running_loop().time
        self._segmenter = Segmenter(
            sample_rate=work.format.sample_rate, longest=whole, min_silence=settings.min_silence, overlap=settings.overlap, skip_silence=0
        )
        self._segments: list[Segment] = []
        self._attempts: list[AttemptRecord] = []
        self._inner: tuple[LongRecording, int, float] | None = None  # what is being cut, segments before it, and its first second
        self._seconds = 0.0

    async def transcribe(self, blocks: AsyncIterator[Block]) -> Transcript:
        """Raises RecordingFailed with the finished segments inside, and what the listener raised."""
        try:
            async with aclosing(self._pieces(blocks)) as pieces:
                async for piece in pieces:
                    await self._take(piece)
                    await self._progress(piece.end)
        except RecordingFailed:
            raise
        except AsrError as error:
            raise self.failed(error) from error
        finally:
            self._work.stages.ended("recognize")
        await self._progress(self._seconds)
        return transcript_of(tuple(self._segments), seconds=self._seconds, language=self._work.language, attempts=tuple(self._attempts))

    def failed(self, cause: AsrError) -> RecordingFailed:
        """The cause with everything that was finished before it."""
        if self._inner is None:
            return RecordingFailed(cause, tuple(self._segments), tuple(self._attempts))
        recording, before, start = self._inner
        return self._around(recording.failed(cause), before, start)

    async def _pieces(self, blocks: AsyncIterator[Block]) -> AsyncGenerator[Piece, None]:
        stages, bytes_per_second = self._work.stages, self._work.format.bytes_per_second
        async for block in blocks:
            self._seconds += len(block.pcm) / bytes_per_second
            self._work.heard(self._seconds)
            began = self._time()
            found = self._segmenter.feed(block.pcm, block.levels or b"")
            stages.between("segment", began, self._time())
            for piece in found:
                yield piece
        for piece in self._segmenter.finish():
            yield piece

    async def _take(self, piece: Piece) -> None:
        """One piece to its segments."""
        if not voiced_seconds(piece.levels) and all(level & LEVEL > _SILENT for level in piece.levels):
            return
        try:
            recognition, attempts = await self._recognition(piece)
        except DeadlineExceeded:
            raise
        except AsrError as error:
            forget_frames(error)
            await self._cut(piece, 0.0, piece.end - piece.start, self._tell)
            return
        sentences = list(self._of(piece, recognition, attempts))
        for start, end in self._bare(piece, recognition):
            while sentences and sentences[0].start < piece.start + end:
                await self._tell(sentences.pop(0))
            await self._ask_again(piece, start, end)
        for sentence in sentences:
            await self._tell(sentence)

    async def _recognition(self, piece: Piece) -> tuple[Recognition, int]:
        """What the piece's call gave, and how many calls that took: none, it was remembered."""
        work = self._work
        utterance = Utterance(piece.pcm, work.format, piece.start)
        context = work.context(len(self._segments))
        key = await work.memory.key(utterance, context.options, work.route)
        if key is not None and (recalled := await work.memory.recall(key)) is not None:
            return recalled, 0
        before = len(self._attempts)
        try:
            recognition = await work.call(utterance, context)
        finally:
            self._attempts += (replace(record, segment=context.segment) for record in context.trail.records)
            count_calls(work.stages, context.trail)
        if key is not None and not recognition.suspect:
            await work.memory.keep(key, recognition)
        return recognition, calls(self._attempts[before:])

    def _of(self, piece: Piece, recognition: Recognition, attempts: int) -> Iterator[Segment]:
        """A segment for each sentence; one for the whole piece where the vendor does not say where they are."""
        sentences = recognition.sentences
        if sentences is None:
            sentences = (Word(recognition.text, 0.0, piece.end - piece.start),)
        words = list(recognition.words or ())
        for number, sentence in enumerate(sentences):
            last = number == len(sentences) - 1
            its = words if last else [word for word in words if word.start < sentences[number + 1].start]
            words = words[len(its) :]
            yield Segment(
                index=0,
                start=piece.start + sentence.start,
                end=piece.start + sentence.end,
                text=sentence.text,
                provider=recognition.provider,
                attempts=attempts,
                words=None if recognition.words is None else shifted(tuple(its), piece.start),
                # Where one call ends and the next begins without a pause, both have heard the same second: both are kept.
                suspect=recognition.suspect or (piece.forced_start and not number) or (piece.forced_end and last),
                cached=not attempts,
                language=recognition.language,
            )

    def _bare(self, piece: Piece, recognition: Recognition) -> list[tuple[float, float]]:
        """Stretches of clear speech in which no sentence lies, in seconds of the piece."""
        if not self._work.settings.recheck or recognition.sentences is None:
            return []
        voiced = partial(voiced_between, piece.levels)
        return coverage.bare_stretches(recognition.sentences, voiced, start=0.0, end=piece.end - piece.start)

    async def _cut(self, piece: Piece, start: float, end: float, told: Callable[[Segment], Awaitable[None]]) -> None:
        """What is said between two times, in seconds of the piece, the usual way. Raises RecordingFailed."""
        before, offset = len(self._segments), piece.start + start
        first, last = (round(moment * FRAMES_PER_SECOND) for moment in (start, end))
        frame = self._work.format.sample_rate // FRAMES_PER_SECOND * BYTES_PER_SAMPLE
        # The last part of a recording may be less than a frame: it goes with the last stretch.
        pcm = piece.pcm[first * frame :] if last == len(piece.levels) else piece.pcm[first * frame : last * frame]

        async def moved(event: Segment | Progress) -> None:
            if isinstance(event, Segment):
                await told(_moved(event, offset, before))

        recording = LongRecording(self._work, moved)
        self._inner = (recording, before, offset)
        try:
            transcript = await recording.transcribe(_only(Block(pcm, piece.levels[first:last])))
        except RecordingFailed as error:
            raise self._around(error, before, offset) from error
        self._inner = None
        self._attempts += (replace(record, segment=record.segment + before) for record in transcript.attempts)

    async def _ask_again(self, piece: Piece, start: float, end: float) -> None:
        """For a stretch without words. Where that fails, the first reading stands, with a segment that says so."""
        found: list[Segment] = []

        async def told(segment: Segment) -> None:
            found.append(segment)

        try:
            await self._cut(piece, start, end, told)
        except RecordingFailed as error:
            self._inner, self._attempts = None, list(error.attempts)
            found = found or [
                Segment(index=0, start=piece.start + start, end=piece.start + end, text="", provider=None, attempts=0, suspect=True)
            ]
        for segment in found:
            await self._tell(segment)

    async def _tell(self, segment: Segment) -> None:
        segment = replace(segment, index=len(self._segments))
        self._segments.append(segment)
        if self._listener is not None:
            await self._listener(segment)

    async def _progress(self, seconds: float) -> None:
        if self._listener is not None:
            count = len(self._segments)
            await self._listener(Progress(count, count, seconds, self._seconds))

    def _around(self, error: RecordingFailed, before: int, offset: float) -> RecordingFailed:
        """What was finished before the stretch that was being cut, then what was of it."""
        segments = (*self._segments[:before], *(_moved(segment, offset, before) for segment in error.segments))
        attempts = (*self._attempts, *(replace(record, segment=record.segment + before) for record in error.attempts))
        return RecordingFailed(error.cause, segments, attempts)


def _moved(segment: Segment, by: float, before: int) -> Segment:
    """The segment `by` seconds later, behind `before` others."""
    return replace(segment, index=segment.index + before, start=segment.start + by, end=segment.end + by, words=shifted(segment.words, by))


async def _only(block: Block) -> AsyncIterator[Block]:
    yield block
