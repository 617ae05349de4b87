"""The way of one live session: audio as it is spoken to sentences as they end, by a provider's streaming or through cuts at pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from typing import Protocol

from asrproxy.audio.replay import Replay
from asrproxy.audio.resample import Resampler
from asrproxy.cuts import MakeContext, by_sentences
from asrproxy.errors import AsrError, UnsupportedParameter
from asrproxy.failure import RecordingFailed
from asrproxy.model import AudioFormat, Interim, Options, Recognition, Sentence, StreamEvent, Utterance, Word
from asrproxy.plugin import Context, Trail
from asrproxy.policy.failover import MOVES_ON, PATIENCE, missing, summary
from asrproxy.policy.spending import Member
from asrproxy.policy.stack import RouteStack


async def listen(
    route: RouteStack, audio: AsyncIterator[bytes], source: AudioFormat, context: MakeContext, *, longest: float
) -> AsyncGenerator[StreamEvent, None]:
    """Sentences in order, numbered from 0, with times of the session. audio: s16le mono at `source`. longest: seconds of one utterance.

    Providers are asked in the route's order, those that cannot answer now last. One that streams has the session to itself; neighbours
    that cannot stream share it, each sentence being a call with failover among them. When one fails for good, the next gets the audio
    since the last finished sentence, and keeps the session. Raises AsrError; RecordingFailed with what each provider was asked and said.
    """
    trail = context().trail
    left = _legs(route, context(), longest, trail)
    if not left:
        raise UnsupportedParameter(f"no provider of route {route.name!r} can serve this session")
    replay = Replay(audio, source.bytes_per_second) if len(left) > 1 else _Once(audio)
    errors: list[tuple[str, AsrError]] = []
    before: _Leg | None = None
    try:
        while left:
            leg = next((each for each in left if each.available()), left[0])
            left.remove(leg)
            if before is not None:
                route.moved_on(context(), before.first, leg.first, errors[-1][1])
            patience = PATIENCE if left else context().patience
            try:
                async with aclosing(_told(leg, replay, source, _patient(context, patience))) as events:
                    async for event in events:
                        yield event
                return
            except MOVES_ON as error:
                errors.append((leg.name, error))
                before = leg
        failure = summary(route.name, errors, late=False)
        raise RecordingFailed(failure, (), tuple(trail.records)) from failure
    finally:
        errors.clear()  # an error's traceback holds this frame
        await replay.aclose()


class Kept(Protocol):
    """A session's audio: see `Replay`."""

    sentences: int
    speaking: bool

    @property
    def offset(self) -> float: ...
    def again(self) -> AsyncIterator[bytes]: ...
    def done(self, end: float, sentences: int) -> None: ...
    async def aclose(self) -> None: ...


class _Once:
    """Audio for a session that nobody could take over: nothing is kept."""

    offset = 0.0

    def __init__(self, audio: AsyncIterator[bytes]) -> None:
        self._audio = audio
        self.sentences = 0
        self.speaking = False

    def again(self) -> AsyncIterator[bytes]:
        return self._audio

    def done(self, end: float, sentences: int) -> None:
        self.sentences = sentences

    async def aclose(self) -> None:
        """Nothing to end."""


class _Leg(Protocol):
    """One way to go through a session.

    first: its first provider. format: what it wants, given what the session has. settles: it tells of quiet stretches too.
    """

    @property
    def name(self) -> str: ...
    @property
    def first(self) -> str: ...
    @property
    def settles(self) -> bool: ...
    def available(self) -> bool: ...
    def format(self, source: AudioFormat) -> AudioFormat: ...
    def events(self, audio: AsyncIterator[bytes], format: AudioFormat, context: MakeContext) -> AsyncGenerator[StreamEvent, None]: ...


class _Streaming:
    """A provider's own streaming. trail: what came of it is written there."""

    settles = False

    def __init__(self, member: Member, trail: Trail) -> None:
        self._member, self._trail = member, trail
        self.name = self.first = member.name

    def available(self) -> bool:
        return self._member.available().ready

    def format(self, source: AudioFormat) -> AudioFormat:
        formats = self._member.capabilities.formats
        return source if source in formats else formats[0]

    def events(self, audio: AsyncIterator[bytes], format: AudioFormat, context: MakeContext) -> AsyncGenerator[StreamEvent, None]:
        return self._member.stream(audio, format, replace(context(), trail=self._trail))


class _Cutting:
    """Neighbours that cannot stream, through cuts at pauses. trail: what came of a sentence that failed is written there."""

    settles = True

    def __init__(self, route: RouteStack, options: Options, longest: float, trail: Trail) -> None:
        self._route, self._trail = route, trail
        self._capabilities = route.capabilities_for(options)
        self._longest = min(longest, self._capabilities.longest)
        self.name = ", ".join(member.name for member in route.members)
        self.first = route.members[0].name

    def available(self) -> bool:
        return any(member.available().ready for member in self._route.members)

    def format(self, source: AudioFormat) -> AudioFormat:
        return self._capabilities.formats[0]

    def events(self, audio: AsyncIterator[bytes], format: AudioFormat, context: MakeContext) -> AsyncGenerator[StreamEvent, None]:
        return by_sentences(self._call, audio, format, context, longest=self._longest)

    async def _call(self, utterance: Utterance, context: Context) -> Recognition:
        try:
            return await self._route.call(utterance, context)
        except AsrError:
            self._trail.records.extend(context.trail.records)
            raise


def _legs(route: RouteStack, context: Context, longest: float, trail: Trail) -> list[_Leg]:
    options = context.options
    able = [
        each for each in route.ordered(context) if each.capabilities.speaks(options.language) and not missing(each.capabilities, options)
    ]
    legs: list[_Leg] = []
    for streaming, group in groupby(able, key=lambda member: member.capabilities.streaming):
        some: Sequence[Member] = tuple(group)
        legs += [_Streaming(each, trail) for each in some] if streaming else [_Cutting(route.only(some), options, longest, trail)]
    return legs


async def _told(leg: _Leg, replay: Kept, source: AudioFormat, context: MakeContext) -> AsyncGenerator[StreamEvent, None]:
    """What one leg says, with the session's times and numbers; what has no text in it is taken note of, but not told."""
    target = leg.format(source)
    offset, first, told = replay.offset, replay.sentences, 0
    replay.speaking = leg.settles
    pieces = replay.again() if target == source else _resampled(replay.again(), source, target)
    async with aclosing(leg.events(pieces, target, context)) as events:
        async for event in events:
            if isinstance(event, Interim):
                replay.speaking = True
                if event.text:
                    yield Interim(first + told, event.start + offset, event.text)
                continue
            sentence = _moved(event, offset, first + told)
            told += bool(event.text)
            replay.speaking = leg.settles
            replay.done(sentence.end, first + told)
            if event.text:
                yield sentence


def _moved(sentence: Sentence, by: float, index: int) -> Sentence:
    words = None if sentence.words is None else tuple(Word(each.text, each.start + by, each.end + by) for each in sentence.words)
    return replace(sentence, index=index, start=sentence.start + by, end=sentence.end + by, words=words)


def _patient(context: MakeContext, patience: float) -> MakeContext:
    return lambda: replace(context(), patience=patience)


async def _resampled(pieces: AsyncIterator[bytes], source: AudioFormat, target: AudioFormat) -> AsyncIterator[bytes]:
    # In a thread: two odd rates have a filter that takes a while to make. The next session of the two has it at once.
    resampler = await asyncio.to_thread(Resampler, source.sample_rate, target.sample_rate)
    async for piece in pieces:
        if out := resampler.feed(piece):
            yield out
    yield resampler.flush()
