"""Live audio for providers that cannot stream: cut at pauses, each sentence a call like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from asrproxy.audio.endpoint import Endpointer
from asrproxy.audio.endpoint import Sentence as Stretch
from asrproxy.model import AudioFormat, Sentence, Utterance, Word
from asrproxy.plugin import Call, Context

PAUSE: Final = 0.6
"""Seconds of quiet that end a sentence: longer than between words, shorter than between speakers."""
STILL: Final = 2.0
"""Seconds in which no audio comes at all that end one too: a caller whose microphone is switched off sends no quiet."""
AHEAD: Final = 3
"""Sentences recognised side by side in one session: talk goes on while the last one is being worked on."""
QUIET: Final = 5.0
"""Seconds without a sentence that are told as one with nothing in it."""

MakeContext = Callable[[], Context]


async def by_sentences(
    call: Call, pieces: AsyncIterator[bytes], format: AudioFormat, context: MakeContext, *, longest: float
) -> AsyncGenerator[Sentence, None]:
    """Sentences in order, numbered from 0, with times of the audio given.

    One in which nothing was recognised has an empty text, and so has a stretch of quiet, so that whoever keeps the audio can let it go.
    pieces: s16le mono at `format`. longest: seconds of one sentence. At most `AHEAD` are being recognised while the next is heard; after
    that the audio is not read on. Raises what the first sentence that failed raised, or what `pieces` raised.
    """
    calls: asyncio.Queue[asyncio.Task[Sentence] | None] = asyncio.Queue()
    room = asyncio.Semaphore(AHEAD)

    async def recognized(index: int, stretch: Stretch) -> Sentence:
        if not stretch.pcm:
            return Sentence(index, stretch.start, stretch.end, "")
        recognition = await call(Utterance(stretch.pcm, format, stretch.start), replace(context(), segment=index))
        words = None
        if recognition.words is not None:
            words = tuple(Word(each.text, each.start + stretch.start, each.end + stretch.start) for each in recognition.words)
        return Sentence(index, stretch.start, stretch.end, recognition.text, words, recognition.provider)

    async def hear() -> None:
        endpointer = Endpointer(sample_rate=format.sample_rate, pause=PAUSE, longest=longest)
        try:
            async with aclosing(_stretches(pieces, endpointer)) as stretches:
                index = 0
                async for stretch in stretches:  # one with nothing in it costs no call
                    await room.acquire()
                    calls.put_nowait(asyncio.create_task(recognized(index, stretch), name="live-sentence"))
                    index += 1
        finally:
            calls.put_nowait(None)

    hearing = asyncio.create_task(hear(), name="live-hearing")
    try:
        while (task := await calls.get()) is not None:
            yield await task
            room.release()
        await hearing
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        left: list[asyncio.Task[Sentence]] = []
        while not calls.empty() and (task := calls.get_nowait()) is not None:
            task.cancel()
            left.append(task)
        await asyncio.gather(*left, return_exceptions=True)


async def _stretches(pieces: AsyncIterator[bytes], endpointer: Endpointer) -> AsyncGenerator[Stretch, None]:
    """Stretches with sound in them, as they end, and stretches of quiet. A pause in the audio's coming ends a sentence as quiet does."""
    coming: asyncio.Future[bytes] | None = None
    told = 0.0
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(pieces))
            done, _ = await asyncio.wait([coming], timeout=STILL if endpointer.speaking else None)
            if not done:
                yield endpointer.cut()
                told = endpointer.settled
                continue
            piece, coming = coming, None
            try:
                ended = endpointer.feed(piece.result())
            except StopAsyncIteration:
                break
            for each in ended:
                yield each
            told = endpointer.settled if ended else told
            if endpointer.settled - told >= QUIET:
                yield Stretch(told, endpointer.settled, b"")
                told = endpointer.settled
        for each in endpointer.finish():
            yield each
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
