"""The way of one live session: audio as it is spoken to sentences as they end, by a provider's streaming or through cuts at pauses."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

from asrproxy.audio.endpoint import Endpointer
from asrproxy.audio.endpoint import Sentence as Stretch
from asrproxy.audio.resample import Resampler
from asrproxy.errors import AsrError, CircuitOpen, DeadlineExceeded, ProviderError, RateLimited, UnsupportedParameter
from asrproxy.model import AudioFormat, Interim, Sentence, StreamEvent, Utterance, Word
from asrproxy.plugin import Context
from asrproxy.policy.stack import ProviderStack, RouteStack

PAUSE: Final = 0.6
"""Seconds of quiet that end a sentence for a provider that cannot stream: longer than between words, shorter than between speakers."""
AHEAD: Final = 3
"""Sentences recognised side by side in one session: talk goes on while the last one is being worked on."""

MakeContext = Callable[[], Context]


async def listen(
    route: RouteStack, audio: AsyncIterator[bytes], source: AudioFormat, context: MakeContext, *, longest: float
) -> AsyncIterator[StreamEvent]:
    """Sentences in order, with times of the session. audio: s16le mono at `source`. longest: seconds of one utterance.

    Providers that stream come first in the route's order; when one fails, the next gets the audio since the last finished sentence.
    With none that streams, the session is cut at pauses and each sentence is a call like any other. Raises AsrError.
    """
    options = context().options
    streaming = [member for member in route.members if member.capabilities.streaming and not _cannot(member, context())]
    if not streaming:
        if (name := route.unsupported(options)) is not None:
            raise UnsupportedParameter(f"no provider of route {route.name!r} can honour {name}", param=name)
        async for event in _by_sentences(route, audio, source, context, longest):
            yield event
        return
    replay = _Replay(audio, source.bytes_per_second)
    failure: AsrError = UnsupportedParameter(f"no provider of route {route.name!r} streams")
    for member in streaming:
        try:
            async for event in _over(member, replay, source, context):
                yield event
            return
        except (ProviderError, CircuitOpen, RateLimited) as error:
            failure = error
    raise failure


def _cannot(member: ProviderStack, context: Context) -> bool:
    asked = set(context.options.asked()) - member.capabilities.options
    return bool(asked) or not member.capabilities.speaks(context.options.language)


async def _over(member: ProviderStack, replay: _Replay, source: AudioFormat, context: MakeContext) -> AsyncIterator[StreamEvent]:
    """One provider's own streaming; its sentences go on counting where an earlier one's ended."""
    target = source if source in member.capabilities.formats else member.capabilities.formats[0]
    pieces = replay.again() if target == source else _resampled(replay.again(), source, target)
    offset, first = replay.offset, replay.sentences
    live = context()
    async with member.live(live) as provider:
        async for event in provider.stream(pieces, target, live):
            moved = _moved(event, offset, first)
            if isinstance(moved, Sentence):
                replay.done(moved.end, moved.index + 1)
            yield moved


def _moved(event: StreamEvent, by: float, first: int) -> StreamEvent:
    if isinstance(event, Interim):
        return Interim(event.index + first, event.start + by, event.text)
    words = None if event.words is None else tuple(Word(each.text, each.start + by, each.end + by) for each in event.words)
    return Sentence(event.index + first, event.start + by, event.end + by, event.text, words)


async def _resampled(pieces: AsyncIterator[bytes], source: AudioFormat, target: AudioFormat) -> AsyncIterator[bytes]:
    resampler = Resampler(source.sample_rate, target.sample_rate)
    async for piece in pieces:
        if out := resampler.feed(piece):
            yield out
    yield resampler.flush()


class _Replay:
    """A session's audio, kept from the end of the last finished sentence on, so that another provider can take over there.

    offset: seconds of the session at which the kept audio begins. sentences: how many are finished.
    """

    LONGEST: Final = 60.0
    """Seconds kept at most: a provider that finishes no sentence for longer than this loses what is older."""

    def __init__(self, audio: AsyncIterator[bytes], bytes_per_second: int) -> None:
        self._audio = audio
        self._bytes_per_second = bytes_per_second
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self.offset = 0.0
        self.sentences = 0

    async def again(self) -> AsyncIterator[bytes]:
        """What is kept, then what comes."""
        for piece in tuple(self._kept):
            yield piece
        while not self._ended:
            try:
                piece = await anext(self._audio)
            except StopAsyncIteration:
                self._ended = True
                return
            self._kept.append(piece)
            self._size += len(piece)
            while self._size > self.LONGEST * self._bytes_per_second and len(self._kept) > 1:
                self._forget()
            yield piece

    def done(self, end: float, sentences: int) -> None:
        """A sentence is finished at `end` seconds of the session: what came before is not needed again."""
        self.sentences = sentences
        while self._kept and self.offset + len(self._kept[0]) / self._bytes_per_second <= end:
            self._forget()

    def _forget(self) -> None:
        piece = self._kept.popleft()
        self._size -= len(piece)
        self.offset += len(piece) / self._bytes_per_second


async def _by_sentences(
    route: RouteStack, audio: AsyncIterator[bytes], source: AudioFormat, context: MakeContext, longest: float
) -> AsyncIterator[StreamEvent]:
    """Cuts at pauses; at most `AHEAD` sentences are being recognised while the next is heard, and they are told in order."""
    target = route.capabilities_for(context().options).formats[0]
    pieces = audio if target == source else _resampled(audio, source, target)
    endpointer = Endpointer(sample_rate=target.sample_rate, pause=PAUSE, longest=longest)
    calls: deque[asyncio.Task[Sentence]] = deque()
    count = 0

    async def recognized(index: int, stretch: Stretch) -> Sentence:
        own = replace(context(), segment=index)
        recognition = await route.call(Utterance(stretch.pcm, target, stretch.start), own)
        words = None
        if recognition.words is not None:
            words = tuple(Word(each.text, each.start + stretch.start, each.end + stretch.start) for each in recognition.words)
        return Sentence(index, stretch.start, stretch.end, recognition.text, words)

    def begin(stretches: list[Stretch]) -> None:
        nonlocal count
        for stretch in stretches:
            calls.append(asyncio.create_task(recognized(count, stretch)))
            count += 1

    try:
        async for piece in pieces:
            begin(endpointer.feed(piece))
            while calls and (calls[0].done() or len(calls) > AHEAD):
                if (sentence := await calls.popleft()).text:
                    yield sentence
        begin(endpointer.finish())
        while calls:
            if (sentence := await calls.popleft()).text:
                yield sentence
    except TimeoutError as error:
        raise DeadlineExceeded("a sentence was not recognised in time") from error
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
