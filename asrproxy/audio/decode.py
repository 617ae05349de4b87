"""Recordings to mono 16-bit PCM, through a small pool of long-lived decoder processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from types import MappingProxyType
from typing import Final, Literal

from asrproxy.audio import protocol
from asrproxy.audio.child import Child, Died
from asrproxy.audio.protocol import Job, Kind
from asrproxy.audio.sniff import HEAD, sniff
from asrproxy.audio.spool import Spool
from asrproxy.cores import cores
from asrproxy.errors import AudioTooLong, Draining, InvalidAudio, Overloaded, UnsupportedMedia
from asrproxy.events import Noted, Observer, ignore
from asrproxy.figures import DecoderFigures
from asrproxy.model import AudioFormat, Utterance
from asrproxy.stages import Stages

Encoding = Literal["pcm_s16le", "mulaw", "alaw"]

START: Final = 30.0
"""Seconds that a new process may take until it can decode: its own start on a busy machine says nothing about a recording."""

Frame = tuple[Kind, bytes | bytearray, int]

_DETECTED: Final = (8_000, 16_000)  # rates at which voice detection works without converting first

LONG_PER_WORKER: Final = 4
"""Decoders of long recordings for each one of short ones: they mostly wait, for whoever sends the audio or takes the blocks."""


@dataclass(frozen=True, slots=True)
class RawFormat:
    """A headerless body, as its sender describes it."""

    encoding: Encoding
    sample_rate: int
    channels: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive samples, mono s16le at the rate that was asked for.

    levels: a byte for each 10 ms, see `asrproxy.audio.vad`; those of all blocks together cover the recording, a block's own may lag by
    two frames. None: the recording is this one block, short enough that nobody has to look for pauses.
    """

    pcm: bytes
    levels: bytes | None


class Decoders:
    """Decoder processes: started on demand, kept for the next recording, ended when unused for `idle` seconds.

    decoder: `av`, `pydub`, or `auto`, which is av where it is installed. workers: processes for short recordings at most, 0: one a core;
    long ones have `LONG_PER_WORKER` times as many of their own, so that nobody short waits behind a slow sender. Past that, requests wait
    their turn. timeout: seconds in which a decoder has to get on; waiting for its sender or its taker does not count. memory: bytes of
    address space that a process may add to its own.
    A decoder that hangs, crashes, or whose request was given up is killed; only that request is lost, and the next one gets a new process.
    """

    def __init__(
        self,
        *,
        decoder: Literal["auto", "av", "pydub"],
        workers: int,
        idle: float,
        timeout: float,
        memory: int,
        announce: Observer = ignore,
    ) -> None:
        self._decoder: str = decoder if decoder != "auto" else "auto" if find_spec("av") else "pydub"
        self._workers = workers or cores()
        self._idle, self._timeout, self._memory, self._announce = idle, timeout, memory, announce
        self._short = asyncio.Semaphore(self._workers)
        self._long = asyncio.Semaphore(self._workers * LONG_PER_WORKER)
        self._resting: dict[Child, asyncio.TimerHandle] = {}
        self._busy: set[Child] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._started = self._crashed = self._hung = 0
        self._closed = False

    def decode(
        self, body: Spool, target: AudioFormat, *, raw: RawFormat | None, whole: float, longest: float, stages: Stages | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Block]]:
        """A recording's samples. Leaving the context before the last block ends the work on it.

        raw: what a headerless body holds; None: the body says it itself. The body may still grow; what can be decoded from the
        beginning is, once it is more than its spool keeps in memory. whole: a recording of at most this many seconds is one block without
        levels; a longer one comes in blocks of about a second, a few of which wait for their taker at most. longest: seconds. stages: of
        the request that it is decoded for.
        Raises InvalidAudio, UnsupportedMedia, AudioTooLong (also after blocks), and what the body failed with.
        """
        if target.channels != 1:
            raise ValueError("decoded audio is mono")
        return _held(self._blocks(body, target, raw, whole, longest, stages))

    async def convert(self, utterance: Utterance, target: AudioFormat) -> Utterance:
        """The same audio at another rate."""
        if utterance.format == target:
            return utterance
        body = Spool.of(utterance.pcm)
        try:
            raw = RawFormat("pcm_s16le", utterance.format.sample_rate, utterance.format.channels)
            async with self.decode(body, target, raw=raw, whole=inf, longest=inf) as blocks:
                return Utterance(b"".join([block.pcm async for block in blocks]), target, utterance.start)
        finally:
            body.close()

    async def voiced(self, utterance: Utterance) -> float:
        """Seconds of speech in it."""
        body = Spool.of(utterance.pcm)
        form = utterance.format
        rate = form.sample_rate if form.sample_rate in _DETECTED else _DETECTED[-1]
        job = Job("pcm_s16le", rate, body.size, True, inf, inf, form.sample_rate, form.channels, voiced=True)
        try:
            async with aclosing(self._frames(body, lambda: job)) as frames:
                async for _, payload, _ in frames:
                    return float(protocol.VALUE.unpack(payload)[0])
        finally:
            body.close()
        raise AssertionError("a job that ends without a value")

    def figures(self) -> DecoderFigures:
        """The processes now."""
        return DecoderFigures(len(self._busy), len(self._resting), self._started, self._crashed, self._hung)

    def status(self) -> dict[str, object]:
        """For `/v1/status`: processes now, and how many were started, crashed and hung so far."""
        return {
            "decoder": self._decoder,
            "workers": self._workers,
            "busy": sorted(child.pid for child in self._busy),
            "idle": sorted(child.pid for child in self._resting),
            "started": self._started,
            "crashed": self._crashed,
            "hung": self._hung,
        }

    async def aclose(self) -> None:
        """Ends every process; whoever still waits for one gets Draining."""
        self._closed = True
        for child in (*self._resting, *self._busy):
            self._end(child)
        while self._ending:
            await asyncio.gather(*self._ending)

    async def _blocks(
        self, body: Spool, target: AudioFormat, raw: RawFormat | None, whole: float, longest: float, stages: Stages | None
    ) -> AsyncGenerator[Block, None]:
        if raw is None:
            while body.size < HEAD and not body.complete:
                await body.grown(body.size)
            container = sniff(body.head(HEAD))
            kind, source_rate, channels, grows = container.kind.value, 0, 0, container.grows
        else:
            kind, source_rate, channels, grows = raw.encoding, raw.sample_rate, raw.channels, True
        # A process is taken for a body that is all there, or that is too large to wait for in memory.
        while not body.complete and not (grows and body.spooled and self._decoder != "pydub"):
            await body.grown(body.size)
        if not body.size:
            raise InvalidAudio("the body is empty: send a recording")

        if stages is not None:
            stages.ended("receive")

        def job() -> Job:
            return Job(kind, target.sample_rate, body.size, body.complete, whole, longest, source_rate, channels)

        async with aclosing(self._frames(body, job, stages)) as frames:
            async for _, payload, levels in frames:
                if levels == protocol.NO_LEVELS:
                    yield Block(bytes(payload), None)
                else:
                    split = len(payload) - levels
                    yield Block(bytes(payload[:split]), bytes(payload[split:]))

    async def _frames(self, body: Spool, job: Callable[[], Job], stages: Stages | None = None) -> AsyncGenerator[Frame, None]:
        """What a decoder says to a job. A frame that is the last is given out when the process is free for others already."""
        place = _Place(self._short if body.complete else self._long)
        while True:
            stopped, last = False, None
            async with place:
                if stages is not None:
                    stages.ended("queue")
                child = await self._lent(job(), body)
                try:
                    while last is None:
                        frame = await self._heard(child)
                        match frame[0]:
                            case Kind.NEED:
                                await body.grown(protocol.POSITION.unpack(frame[1])[0])
                                child.tell(Kind.SIZE, protocol.SIZE.pack(body.size, body.complete))
                            case Kind.LONG:
                                stopped = not await place.move(self._long)
                                child.tell(Kind.STOP if stopped else Kind.GO)
                            case Kind.BLOCK:
                                yield frame
                            case Kind.FAILED:
                                raise _failure(frame[1])
                            case _:
                                last = frame
                finally:
                    self._give_back(child)
            if not stopped:
                break
            place = _Place(self._long)  # it is long and has to wait for its turn among those
        if last[0] is not Kind.DONE:
            yield last

    async def _heard(self, child: Child) -> Frame:
        try:
            async with asyncio.timeout(self._timeout):
                return await child.hear()
        except TimeoutError as error:
            self._hung += 1
            self._announce(Noted("warning", "decoder_hung", {"pid": child.pid, "seconds": self._timeout}))
            raise InvalidAudio(f"the decoder made nothing of this audio for {self._timeout:g} s and was ended") from error
        except Died as error:
            if self._closed:
                raise Draining("the proxy is shutting down") from error
            self._crashed += 1
            how = await child.how_it_ended()
            self._announce(Noted("warning", "decoder_crashed", {"pid": child.pid, "how": how}))
            raise InvalidAudio(f"the decoder crashed on this audio ({how})") from error

    async def _lent(self, job: Job, body: Spool) -> Child:
        """A process that has the job. One that had died in its sleep is passed over."""
        while not self._closed:
            child = self._woken() or await self._new()
            try:
                child.begin(job, body)
            except Died:
                self._end(child)
            except BaseException:  # the body was closed, or there is no room for it: nobody else would give the process back
                self._end(child)
                raise
            else:
                return child
        raise Draining("the proxy is shutting down")

    def _woken(self) -> Child | None:
        """The process that rested shortest, so that those too many come to their end."""
        if not self._resting:
            return None
        child, timer = self._resting.popitem()
        timer.cancel()
        self._busy.add(child)
        return child

    async def _new(self) -> Child:
        child = await Child.start(self._decoder, self._memory)
        self._started += 1
        self._busy.add(child)
        try:
            async with asyncio.timeout(START):
                kind, payload, _ = await child.hear()
            if kind is not Kind.READY:
                raise _failure(payload)
            self._decoder = payload.decode()  # what `auto` came to
        except (Died, TimeoutError) as error:
            self._end(child)
            raise Overloaded("a decoder process could not be started; try again later", retry_after=5.0) from error
        except BaseException:
            self._end(child)
            raise
        return child

    def _give_back(self, child: Child) -> None:
        self._busy.discard(child)
        if child.free and not self._closed and len(self._resting) < self._workers:
            self._resting[child] = asyncio.get_running_loop().call_later(self._idle, self._end, child)
        else:
            self._end(child)

    def _end(self, child: Child) -> None:
        self._busy.discard(child)
        if (timer := self._resting.pop(child, None)) is not None:
            timer.cancel()
        child.kill()
        ending = asyncio.get_running_loop().create_task(child.wait())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class _Place:
    """A place among those who may use a process."""

    def __init__(self, lane: asyncio.Semaphore) -> None:
        self._lane = lane

    async def __aenter__(self) -> None:
        await self._lane.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lane.release()

    async def move(self, lane: asyncio.Semaphore) -> bool:
        """To another lane, if there is room at once."""
        if lane is not self._lane:
            if lane.locked():
                return False
            await lane.acquire()  # does not wait
            self._lane.release()
            self._lane = lane
        return True


@asynccontextmanager
async def _held(blocks: AsyncGenerator[Block, None]) -> AsyncIterator[AsyncIterator[Block]]:
    async with aclosing(blocks):
        yield blocks


_ERRORS: Final = MappingProxyType({kind.__name__: kind for kind in (InvalidAudio, UnsupportedMedia, AudioTooLong)})


def _failure(payload: bytes | bytearray) -> Exception:
    name, message = json.loads(payload)
    kind = _ERRORS.get(name)
    return kind(message) if kind is not None else RuntimeError(f"the decoder failed: {name}: {message}")
