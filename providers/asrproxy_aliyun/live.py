"""Live audio through SpeechTranscriber: one stream to the caller, as many tasks at the vendor as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Final

from asrproxy.plugin import AudioFormat, Interim, Options, ProviderError, Sentence, StreamEvent, Unavailable, Unreachable, Word
from asrproxy_aliyun.backlog import Backlog
from asrproxy_aliyun.parameters import start_payload
from asrproxy_aliyun.protocol import Began, Changed, Ended, Finished, Happening, Namespace, State, Task
from asrproxy_aliyun.settings import AliyunSettings
from asrproxy_aliyun.status import TokenRefused
from asrproxy_aliyun.timeline import Timeline
from asrproxy_aliyun.token import Token, TokenLease
from asrproxy_aliyun.websocket import Line, Lines, frame_size

_BEGIN: Final = 10.0
_END: Final = 10.0
_FILL: Final = 0.1
_PAUSES: Final = (0.0, 0.2, 0.5, 1.0, 2.0)
_LASTED: Final = 5.0


class Live:
    """One caller's stream.

    What was sent since the last final sentence is kept. When the line breaks, a new task begins with that, so nothing is lost; and
    because it begins where the last final sentence ended, nothing comes twice. Where the caller pauses, a little silence is sent, or NLS
    hangs up after ten seconds; the times that come back are corrected for it.
    """

    def __init__(self, settings: AliyunSettings, lines: Lines, lease: TokenLease, *, format: AudioFormat, options: Options) -> None:
        self._settings = settings
        self._lines = lines
        self._lease = lease
        self._rate = format.bytes_per_second
        self._options = options
        self._backlog = Backlog(self._rate)
        self._index = 0
        self._failures = 0
        # Of the current task: whether a sentence is open and where it began; whether the vendor was told that the audio is over.
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
        loop = asyncio.get_running_loop()
        began = loop.time()
        token = await self._lease.token()
        try:
            async with aclosing(self._sentences(token)) as events:
                async for event in events:
                    if isinstance(event, Sentence):
                        self._failures = 0
                    yield event
        except TokenRefused as refusal:
            await self._lease.replace(token, refusal)
            await self._count(refusal, loop.time() - began)
        except ProviderError as error:
            if not error.retryable:
                raise
            await self._count(error, loop.time() - began)

    async def _count(self, error: ProviderError, lasted: float) -> None:
        if lasted > _LASTED:
            self._failures = 0
        if self._failures >= self._settings.websocket.reconnects:
            raise error
        await asyncio.sleep(_PAUSES[min(self._failures, len(_PAUSES) - 1)])
        self._failures += 1

    async def _sentences(self, token: Token) -> AsyncGenerator[StreamEvent, None]:
        payload = start_payload(self._settings, self._options, transcriber=True, interim=True)
        task = Task(Namespace.TRANSCRIBER, self._settings.appkey.get_secret_value(), payload)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_BEGIN):
                    line = await stack.enter_async_context(self._lines.begun(task, token.id))
            except TimeoutError as error:
                raise Unreachable(f"NLS began no task in {_BEGIN:g} s") from error
            self._lease.accepted(token)
            timeline = Timeline(self._backlog.rewind())
            self._open = self._stopped = False
            speaking = asyncio.create_task(self._speak(line, task, timeline), name="aliyun-live-speak")
            try:
                while not isinstance(happening := await line.hear(task), Ended):
                    if (event := self._event(happening, timeline)) is not None:
                        yield event
            finally:
                speaking.cancel()
                # What it met, the listener met too, and knows more about.
                await asyncio.gather(speaking, return_exceptions=True)
        if not self._stopped:
            raise Unavailable("NLS ended the task before the audio")
        self._backlog.done = True

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
                if happening.text:
                    words = tuple(Word(each.text, timeline(each.start), timeline(each.end)) for each in happening.words)
                    sentence = Sentence(self._index, timeline(happening.start), end, happening.text, words if self._options.words else None)
                    self._index += 1
                    return sentence
        return None

    async def _speak(self, line: Line, task: Task, timeline: Timeline) -> None:
        settings = self._settings.websocket
        sent = 0
        while not self._backlog.exhausted:
            piece = await self._backlog.take(frame_size(self._rate, settings.frame), settings.keepalive)
            if not piece:
                if self._backlog.exhausted:
                    break
                piece = bytes(frame_size(self._rate, _FILL))
                timeline.filled(sent / self._rate, len(piece) / self._rate)
            if task.state is not State.RUNNING:
                return
            await line.send(piece)
            sent += len(piece)
            if not self._open:
                self._backlog.quiet()
        if task.state is State.RUNNING:
            await line.say(task.stop())
            self._stopped = True
            # The listener waits for the end; should none come, the closed line tells it.
            await asyncio.sleep(_END)
            await line.close(0.1)
