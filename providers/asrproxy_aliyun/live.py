"""Live audio through SpeechTranscriber: one stream to the caller, as many tasks at the vendor as it takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Final

from asrproxy.plugin import (
    AsrError,
    AudioFormat,
    Context,
    Interim,
    ProviderError,
    Sentence,
    StreamEvent,
    Unavailable,
    Unreachable,
    Utterance,
    Word,
)
from asrproxy_aliyun.backlog import Backlog
from asrproxy_aliyun.parameters import start_payload
from asrproxy_aliyun.protocol import Began, Changed, Ended, Finished, Happening, Namespace, State, Task
from asrproxy_aliyun.settings import AliyunSettings
from asrproxy_aliyun.status import TokenRefused
from asrproxy_aliyun.timeline import Timeline
from asrproxy_aliyun.token import Token, TokenLease
from asrproxy_aliyun.websocket import Line, Lines, frame_size

_FILL: Final = 0.1
_STILL: Final = 2.0
"""Seconds in which a caller who was speaking sends nothing, after which the sentence is ended by silence."""
_SENTENCE_SILENCE: Final = 0.8  # what NLS takes for a sentence's end unless told
_PAUSES: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds at most before a try; drawn from 0 on, since a gateway that restarts drops everybody at once."""
_LASTED: Final = 5.0
"""Seconds after which a task was no failure, though its line broke."""
_LAST_WORDS: Final = 20.0
"""Seconds for which a line is mended once the caller has ended: somebody waits for the last sentence and says nothing any more."""
_AUDIBLE: Final = 328  # -40 dB of full scale
_SPOKEN: Final = 0.25
"""The share of clear speech in what was sent that makes silence on the vendor's side a fault."""


class Live:
    """One caller's stream.

    What was sent since the last final sentence is kept. When the line breaks, a new task begins with that, so nothing is lost; and
    because it begins where the last final sentence ended, nothing comes twice. The caller's session outlives several lines, which no
    retry of a whole call could give it: that is why this provider connects again by itself, within the context's patience.

    Where the caller pauses, a little silence is sent, or NLS hangs up after ten seconds; where it pauses in the middle of a sentence, as
    much as ends the sentence. The times that come back are corrected for it.
    """

    def __init__(self, settings: AliyunSettings, lines: Lines, lease: TokenLease, *, format: AudioFormat, context: Context) -> None:
        self._settings = settings
        self._lines = lines
        self._lease = lease
        self._format = format
        self._rate = format.bytes_per_second
        self._context = context
        self._options = context.options
        self._backlog = Backlog(self._rate)
        self._index = 0
        self._failures = 0
        self._failing_since = 0.0
        self._heard = 0.0  # how far the audio had been sent when NLS last said something
        self._doubted = False
        # Of the current task: when it began; whether a sentence is open and where that began; whether NLS was told that the audio is over.
        self._began: float | None = None
        self._open = False
        self._start = 0.0
        self._stopped = False

    async def events(self, audio: AsyncIterator[bytes]) -> AsyncGenerator[StreamEvent, None]:
        """Until the audio ends and its last sentence is final. Raises a ProviderError once it cannot go on, or what `audio` raised."""
        intake = asyncio.create_task(self._backlog.fill(audio), name="aliyun-live-intake")
        try:
            while not self._backlog.done:
                async with aclosing(self._one_task()) as events:
                    async for event in events:
                        yield event
            await intake
        finally:
            intake.cancel()
            await asyncio.gather(intake, return_exceptions=True)

    async def _one_task(self) -> AsyncGenerator[StreamEvent, None]:
        """The sentences of one task; returns when it is over or its line broke, and another may go on."""
        self._began = None
        try:
            async with aclosing(self._sentences()) as events:
                async for event in events:
                    if isinstance(event, Sentence):
                        self._failures = 0
                    yield event
        except ProviderError as error:
            if not error.retryable:
                raise
            await self._wait(error)

    async def _wait(self, error: ProviderError) -> None:
        """Before another try. Raises `error`: there were enough of them, or somebody else could go on meanwhile."""
        now = asyncio.get_running_loop().time()
        ended = self._backlog.ended
        if self._began is not None and now - self._began > _LASTED and not ended:
            self._failures = 0
        if self._failures == 0:
            self._failing_since = now
        pause = random.uniform(0.0, _PAUSES[min(self._failures, len(_PAUSES) - 1)])
        patience = min(self._context.patience, _LAST_WORDS) if ended else self._context.patience
        if self._failures >= self._settings.websocket.reconnects or now + pause - self._failing_since > patience:
            raise error
        self._failures += 1
        await asyncio.sleep(pause)

    async def _sentences(self) -> AsyncGenerator[StreamEvent, None]:
        async with AsyncExitStack() as stack:
            task, line = await self._begun(stack)
            self._began = asyncio.get_running_loop().time()
            timeline = Timeline(self._backlog.rewind())
            self._open = self._stopped = False
            self._heard = self._backlog.sent
            speaking = asyncio.create_task(self._speak(line, task, timeline), name="aliyun-live-speak")
            try:
                while not isinstance(happening := await self._next(line, task), Ended):
                    if (event := self._event(happening, timeline)) is not None:
                        yield event
            finally:
                speaking.cancel()
                # What it met, the listener met too, and knows more about.
                await asyncio.gather(speaking, return_exceptions=True)
        if not self._stopped:
            raise Unavailable("NLS ended the task before the audio")
        self._backlog.done = True

    async def _begun(self, stack: AsyncExitStack) -> tuple[Task, Line]:
        """A task that has begun, and its line. A refused token is replaced once, which counts as no failure."""
        token = await self._lease.token()
        try:
            begun = await self._begin(token, stack)
        except TokenRefused as refusal:
            token = await self._lease.replace(token, refusal)
            begun = await self._begin(token, stack)
        self._lease.accepted(token)
        return begun

    async def _begin(self, token: Token, stack: AsyncExitStack) -> tuple[Task, Line]:
        payload = start_payload(self._settings, self._options, transcriber=True, interim=True)
        task = Task(Namespace.TRANSCRIBER, self._settings.appkey.get_secret_value(), payload)
        within = self._settings.websocket.answer
        try:
            async with asyncio.timeout(within):
                return task, await stack.enter_async_context(self._lines.begun(task, token.id))
        except TimeoutError as error:
            raise Unreachable(f"NLS began no task in {within:g} s") from error

    async def _next(self, line: Line, task: Task) -> Happening | None:
        """What NLS says next. Raises Unavailable where it says nothing though somebody speaks: once, then it is taken at its word."""
        while True:
            try:
                async with asyncio.timeout(self._settings.websocket.stalled):
                    happening = await line.hear(task)
            except TimeoutError as error:
                if not self._doubted and await self._ignored():
                    self._doubted = True
                    raise Unavailable("NLS has said nothing for a while though somebody speaks") from error
            else:
                self._heard, self._doubted = self._backlog.sent, self._doubted and not isinstance(happening, Changed | Finished)
                return happening

    async def _ignored(self) -> bool:
        """Whether there is much speech in what was sent since NLS last said something."""
        audio = self._backlog.since(self._heard)
        seconds = len(audio) / self._rate
        if seconds < self._settings.websocket.stalled or not _audible(audio):
            return False
        try:
            return await self._context.voiced(Utterance(audio, self._format)) >= _SPOKEN * seconds
        except AsrError:  # no detector is to be had now: that is nothing to end a session for
            return False

    def _event(self, happening: Happening | None, timeline: Timeline) -> StreamEvent | None:
        match happening:
            case Began(start=start):
                self._open, self._start = True, timeline(start)
            case Changed(text=text) if text:
                return Interim(self._index, self._start, text)
            case Finished():
                self._open = False
                end = timeline(happening.end)
                self._backlog.settled(end)
                words = tuple(Word(each.text, timeline(each.start), timeline(each.end)) for each in happening.words)
                sentence = Sentence(self._index, timeline(happening.start), end, happening.text, words if self._options.words else None)
                self._index += 1
                return sentence
        return None

    async def _speak(self, line: Line, task: Task, timeline: Timeline) -> None:
        """Gives the task the audio, in frames, and silence where there is none."""
        settings = self._settings.websocket
        size = frame_size(self._rate, settings.frame)
        sent = 0

        async def send(piece: bytes) -> None:
            nonlocal sent
            await line.send(piece)
            sent += len(piece)

        while not self._backlog.exhausted:
            piece = await self._backlog.take(size, min(_STILL, settings.keepalive) if self._open else settings.keepalive)
            if task.state is not State.RUNNING:
                return
            if piece:
                await send(piece)
            elif not self._backlog.exhausted:
                silence = frame_size(self._rate, self._silence() if self._open else _FILL)
                timeline.filled(sent / self._rate, silence / self._rate)
                for start in range(0, silence, size):
                    await send(bytes(min(size, silence - start)))
            self._backlog.given(speaking=self._open)
        if task.state is State.RUNNING:
            await line.say(task.stop())
            self._stopped = True
            # The listener waits for the end; should none come, the closed line tells it.
            await asyncio.sleep(settings.answer)
            await line.close(0.1)

    def _silence(self) -> float:
        """Seconds that end a sentence: NLS counts them in audio, not by a clock."""
        told = self._settings.max_sentence_silence
        return (_SENTENCE_SILENCE if told is None else told / 1000) + 2 * _FILL


def _audible(audio: bytes) -> bool:
    """Whether it is worth asking for speech: most sessions in which nothing is said are silent."""
    return max(map(abs, memoryview(audio).cast("h")[::16]), default=0) > _AUDIBLE
