"""The way of one request, top to bottom: body, audio, policy, provider, transcript. Only this file knows the order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from asrproxy import live
from asrproxy.audio import wav
from asrproxy.audio.decode import Block, Decoders, RawFormat
from asrproxy.audio.spool import Spool
from asrproxy.config.models import DEFAULT_ROUTE, LongAudioSettings, ScaledTimeout
from asrproxy.drain import DrainLimit
from asrproxy.errors import AsrError, AudioTooLong, DeadlineExceeded, Draining, InvalidAudio, UnknownRoute, UnsupportedParameter
from asrproxy.failure import RecordingFailed
from asrproxy.long_audio import Listener, LongRecording, Progress, Work, count_calls
from asrproxy.model import AttemptRecord, AudioFormat, Options, Segment, StreamEvent, Traffic, Transcript, Utterance
from asrproxy.plugin import Context, Trail
from asrproxy.policy.stack import RouteStack
from asrproxy.remember import SegmentMemory
from asrproxy.stages import Stages
from asrproxy.trace import Span
from asrproxy.whole_audio import WholeRecording

SHORTEST: Final = 0.01
"""Seconds: less than one frame of speech analysis is no audio."""


class Partial(StrEnum):
    """What becomes of a long recording of which one segment failed for good."""

    REFUSE = "refuse"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose order it is.

    received: a moment on the loop's clock. caller: an allow-listed name, or `other`. trace: the request's span. called: hears of every call
    that is made for it.
    """

    request_id: str
    received: float
    caller: str = "other"
    trace: Span | None = None
    called: Callable[[AttemptRecord], None] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What one caller asks for. timeout: seconds from its arrival, None: the policy's."""

    origin: Origin
    route: str = DEFAULT_ROUTE
    options: Options = field(default_factory=Options)
    raw: RawFormat | None = None
    partial: Partial = Partial.REFUSE
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A named order of providers with its policy: how long a request may take and how a long recording is cut."""

    stack: RouteStack
    timeout: ScaledTimeout
    long_audio: LongAudioSettings

    @property
    def currencies(self) -> frozenset[str]:
        """What calls of it may cost."""
        return frozenset(member.currency for member in self.stack.members if member.currency is not None)

    def has(self, name: str) -> str:
        """What to ask for in place of a parameter that was refused, as the end of a sentence; empty where there is nothing to name."""
        languages = {each for member in self.stack.members for each in member.capabilities.languages or ()}
        return f"; its languages are {', '.join(sorted(languages))}" if name == "language" else ""


class Recognizer:
    """Turns recordings into transcripts over the routes of one configuration.

    max_audio: seconds of a recording at most. memory: remembers finished segments of long recordings. drain: ends what takes too long then.
    """

    def __init__(
        self, *, routes: Mapping[str, Route], decoders: Decoders, max_audio: float, memory: SegmentMemory, drain: DrainLimit
    ) -> None:
        self.routes: Final = routes
        self._drain = drain
        self._decoders = decoders
        self._max_audio = max_audio
        self.memory: Final = memory

    def accept(self, order: Order) -> Route:
        """The order's route, before any audio is read. Raises UnknownRoute, UnsupportedParameter."""
        route = self.routes.get(order.route)
        if route is None:
            raise UnknownRoute(f"no route {order.route!r}; the routes are {', '.join(sorted(self.routes))}", param="route")
        if (name := route.stack.unsupported(order.options)) is not None:
            asked = _written(getattr(order.options, name, None))
            raise UnsupportedParameter(f"no provider of route {order.route!r} can honour {name}={asked}{route.has(name)}", param=name)
        return route

    async def transcribe(self, body: Spool, order: Order, stages: Stages, listener: Listener | None = None) -> Transcript:
        """A recording to its transcript. The body may still be growing. Raises AsrError; `RecordingFailed` holds finished segments."""
        route = self.accept(order)
        capabilities = route.stack.capabilities_for(order.options)
        longest = min(route.long_audio.max_segment, capabilities.longest)
        if (utterance := self._fitting(body, order, capabilities.formats, longest)) is not None:
            stages.ended("decode")
            async with self._drain.heeded():
                return await self._short(utterance, route, order, stages, listener)
        recording: LongRecording | WholeRecording | None = None
        target = capabilities.formats[0]
        try:
            async with self._drain.heeded(), asyncio.timeout(None) as limit:
                clock = _Clock(order, route.timeout, body, limit)
                async with self._decoders.decode(
                    body, target, raw=order.raw, whole=longest, longest=self._max_audio, stages=stages
                ) as blocks:
                    first = await anext(blocks, None)
                    stages.ended("decode")
                    if first is None or len(first.pcm) < SHORTEST * target.bytes_per_second:
                        raise InvalidAudio("the recording holds no audio")
                    if first.levels is None:
                        utterance = Utterance(first.pcm, target)
                        clock.heard(utterance.duration)
                        return await self._short(utterance, route, order, stages, listener)
                    work = self._work(route, order, target, longest, clock, stages)
                    whole = capabilities.whole
                    recording = LongRecording(work, listener) if whole is None else WholeRecording(work, whole, listener)
                    return await recording.transcribe(_chained(first, blocks))
        except TimeoutError as error:
            late = DeadlineExceeded("the request's timeout ran out")
            raise (late if recording is None else recording.failed(late)) from error
        except Draining as error:
            raise (error if recording is None else recording.failed(error)) from error

    async def listen(self, audio: AsyncIterator[bytes], sample_rate: int, order: Order) -> AsyncGenerator[StreamEvent, None]:
        """Live audio (s16le mono at `sample_rate` Hz) to its sentences; each has the policy's timeout from the moment it ended."""
        route = self.accept(order)
        time = asyncio.get_running_loop().time

        def context() -> Context:
            return self._context(order, time() + route.timeout.base, Traffic.LIVE)

        longest = min(route.long_audio.max_segment, route.stack.capabilities_for(order.options).longest)
        async with aclosing(live.listen(route.stack, audio, AudioFormat(sample_rate), context, longest=longest)) as events:
            async for event in events:
                yield event

    def _work(self, route: Route, order: Order, target: AudioFormat, longest: float, clock: _Clock, stages: Stages) -> Work:
        return Work(
            route=order.route,
            call=route.stack.call,
            settings=route.long_audio,
            longest=longest,
            format=target,
            memory=self.memory,
            context=lambda index: self._context(order, clock.deadline(), Traffic.LONG, index),
            heard=clock.heard,
            allow_holes=order.partial is Partial.ALLOW,
            stages=stages,
            language=order.options.language,
        )

    def _fitting(self, body: Spool, order: Order, formats: tuple[AudioFormat, ...], longest: float) -> Utterance | None:
        """The recording as it is, where it needs no decoder: a short one, all there, already in a form that the provider takes."""
        if not body.complete or (order.raw is None and not wav.may_fit(body.head(wav.HEAD), formats)):
            return None
        if (data := body.data()) is None:
            return None
        if order.raw is None:
            utterance = wav.fitting(data, formats)
        elif order.raw.encoding == "pcm_s16le" and (asis := AudioFormat(order.raw.sample_rate, order.raw.channels)) in formats:
            utterance = Utterance(memoryview(data)[: len(data) // 2 * 2], asis)
        else:
            return None
        if utterance is None or utterance.duration > longest:
            return None
        if utterance.duration > self._max_audio:
            raise AudioTooLong(f"the recording is longer than server.max_audio ({self._max_audio:g} s)")
        if utterance.duration < SHORTEST:
            raise InvalidAudio("the recording holds no audio")
        return utterance

    def _context(self, order: Order, deadline: float, traffic: Traffic, segment: int = 0) -> Context:
        trace = order.origin.trace
        return Context(
            request_id=order.origin.request_id,
            deadline=deadline,
            options=order.options,
            segment=segment,
            traffic=traffic,
            trail=Trail(order.origin.called),
            voiced=self._decoders.voiced,
            traceparent=None if trace is None else trace.traceparent,
            tracestate=None if trace is None else trace.state,
            route=order.route,
            caller=order.origin.caller,
            trace=trace,
        )

    async def _short(self, utterance: Utterance, route: Route, order: Order, stages: Stages, listener: Listener | None) -> Transcript:
        """A recording that is one utterance: one segment."""
        allowed = _allowed(order, route.timeout, utterance.duration)
        started = order.origin.received if order.timeout is not None else asyncio.get_running_loop().time()
        context = self._context(order, started + allowed, Traffic.SHORT)
        try:
            recognition = await route.stack.call(utterance, context)
        except AsrError as error:
            if not context.trail.records:
                raise
            raise RecordingFailed(error, (), tuple(context.trail.records)) from error
        finally:
            stages.ended("recognize")
            count_calls(stages, context.trail)
        segment = Segment(
            index=0,
            start=0.0,
            end=utterance.duration,
            text=recognition.text,
            provider=recognition.provider,
            attempts=context.trail.calls(),
            words=recognition.words,
            suspect=recognition.suspect,
            language=recognition.language,
        )
        if listener is not None:
            await listener(Progress(1, 1, utterance.duration, utterance.duration))
            await listener(segment)
        return Transcript(
            text=segment.text,
            language=recognition.language or order.options.language,
            duration=utterance.duration,
            complete=True,
            provider=segment.provider,
            segments=(segment,),
            attempts=tuple(context.trail.records),
        )


class _Clock:
    """Until when the work on a recording may go on, while its length is still being found out.

    A caller's own timeout counts from the request's arrival. The policy's counts from the end of the upload (the caller's pace is not
    ours) and grows with the recording.
    """

    def __init__(self, order: Order, timeout: ScaledTimeout, body: Spool, limit: asyncio.Timeout) -> None:
        self._order, self._timeout, self._body, self._limit = order, timeout, body, limit
        self._time = asyncio.get_running_loop().time
        self._uploaded: float | None = None
        self._seconds = 0.0
        self._move()

    def heard(self, seconds: float) -> None:
        """The recording is at least that long."""
        self._seconds = max(self._seconds, seconds)
        self._move()

    def deadline(self) -> float:
        """A moment on the loop's clock."""
        if self._order.timeout is not None:
            return self._order.origin.received + _allowed(self._order, self._timeout, self._seconds)
        return (self._time() if self._uploaded is None else self._uploaded) + self._timeout.of(self._seconds)

    def _move(self) -> None:
        if self._uploaded is None and self._body.complete:
            self._uploaded = self._time()
        if self._order.timeout is not None or self._uploaded is not None:
            self._limit.reschedule(self.deadline())


def _allowed(order: Order, timeout: ScaledTimeout, seconds: float) -> float:
    """Seconds that a recording of `seconds` may take: the caller's wish, at most the policy's."""
    policy = timeout.of(seconds)
    return policy if order.timeout is None else min(order.timeout, policy)


async def _chained(first: Block, rest: AsyncIterator[Block]) -> AsyncIterator[Block]:
    yield first
    async for block in rest:
        yield block


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
