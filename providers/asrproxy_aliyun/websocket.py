"""The `websocket` transport: one utterance, one task, on a connection of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from asrproxy.plugin import Garbled, Options, Recognition, Unreachable, Utterance
from asrproxy_aliyun.hearing import Hearing
from asrproxy_aliyun.parameters import WS_PATH, start_payload
from asrproxy_aliyun.pool import Pool
from asrproxy_aliyun.protocol import Happening, Namespace, Started, State, Task
from asrproxy_aliyun.settings import AliyunSettings
from asrproxy_aliyun.status import error_of_http, retry_after
from asrproxy_http.exchange import network_errors

_GOODBYE: Final = 0.5


class Line:
    """A WebSocket to the gateway that speaks of one task at a time. Errors come out typed."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, where: str) -> None:
        self._socket = socket
        self._where = where

    @property
    def open(self) -> bool:
        """As far as is known without asking."""
        return not self._socket.closed

    async def begin(self, task: Task) -> None:
        """Starts `task`; returns when audio may be sent."""
        await self.say(task.begin())
        while not isinstance(await self.hear(task), Started):
            if task.state is State.ENDED:
                raise Garbled("NLS ended a task before it had begun")

    async def say(self, frame: str) -> None:
        with network_errors(self._where):
            await self._socket.send_str(frame)

    async def send(self, audio: bytes | memoryview) -> None:
        with network_errors(self._where):
            await self._socket.send_bytes(audio)  # type: ignore[arg-type]  # a memoryview is taken as it is

    async def hear(self, task: Task) -> Happening | None:
        """The next event of `task`. Raises Unreachable when the line is gone."""
        with network_errors(self._where):
            message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return task.feed(message.data)
        if message.type is aiohttp.WSMsgType.BINARY or isinstance(message.data, aiohttp.WebSocketError):
            raise Garbled(f"{self._where} sent what is no event")
        code = self._socket.close_code
        cause = self._socket.exception() or ConnectionAbortedError(f"close code {code}")
        raise Unreachable(f"{self._where} closed the WebSocket in the middle of a task", vendor_code=code) from cause

    async def close(self, within: float) -> None:
        """Says goodbye; not answered within so many seconds, the connection is dropped."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(within):
                await self._socket.close()


class Lines:
    """Opens lines, and keeps those that served well for another task where the settings say so."""

    def __init__(self, settings: AliyunSettings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._url = URL(f"ws{settings.gateway.removeprefix('http')}{WS_PATH}")
        self._kept: deque[tuple[float, str, Line]] = deque()
        self._sweeping: asyncio.Task[None] | None = None
        self.opened = 0

    @asynccontextmanager
    async def begun(self, task: Task, token: str) -> AsyncIterator[Line]:
        """A line on which `task` has begun. Raises TokenRefused where the handshake was refused, and the network's errors."""
        line = await self._fresh(token) if (kept := await self._take(token)) is None else kept
        try:
            try:
                await line.begin(task)
            except Unreachable:
                # The peer had closed a kept line: not its fault, and no call was made.
                if line is not kept:
                    raise
                await line.close(_GOODBYE)
                line, task.state = await self._fresh(token), State.NEW
                await line.begin(task)
            yield line
        except BaseException:
            # Cancelled or failed: NLS notices that the client left.
            await line.close(_GOODBYE)
            raise
        if self._settings.websocket.reuse and line.open:
            self._keep(token, line)
        else:
            await line.close(_GOODBYE)

    async def aclose(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        while self._kept:
            await self._kept.pop()[2].close(_GOODBYE)

    def _keep(self, token: str, line: Line) -> None:
        self._kept.append((asyncio.get_running_loop().time(), token, line))
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep(), name="aliyun-idle-lines")

    async def _sweep(self) -> None:
        """Closes lines that nobody has used for `pool.idle`, until there are none."""
        time = asyncio.get_running_loop().time
        while self._kept:
            if (left := self._kept[0][0] + self._settings.pool.idle - time()) > 0:
                await asyncio.sleep(left)
                continue
            _, _, line = self._kept.popleft()
            await line.close(_GOODBYE)

    async def _take(self, token: str) -> Line | None:
        oldest = asyncio.get_running_loop().time() - self._settings.pool.idle
        while self._kept:
            since, opened_with, line = self._kept.pop()
            if since >= oldest and opened_with == token and line.open:
                return line
            await line.close(_GOODBYE)
        return None

    async def _fresh(self, token: str) -> Line:
        with network_errors(self._pool.where):
            try:
                socket = await self._pool.websocket(self._url, CIMultiDict({"X-NLS-Token": token}))
            except aiohttp.WSServerHandshakeError as error:
                if error.status < 300:
                    raise Garbled(f"{self._pool.where} does not speak WebSocket", vendor_code=error.status) from error
                after = retry_after(error.headers.get("Retry-After") if error.headers is not None else None)
                raise error_of_http(error.status, "", retry_after=after) from error
        self.opened += 1
        return Line(socket, self._pool.where)


class Websocket:
    """SpeechRecognizer; SpeechTranscriber where words are asked for."""

    def __init__(self, settings: AliyunSettings, pool: Pool) -> None:
        self._settings = settings
        self.lines = Lines(settings, pool)

    async def start(self) -> None:
        """Nothing to open before the first call."""

    async def recognize(self, utterance: Utterance, options: Options, token: str) -> Recognition:
        """Raises a ProviderError; TokenRefused where the token may be to blame."""
        task = task_of(self._settings, options)
        hearing = Hearing(task, words=options.words, language=self._settings.language)
        async with self.lines.begun(task, token) as line:
            speaking = asyncio.create_task(self._speak(line, task, utterance))
            try:
                while (recognition := hearing.take(await line.hear(task))) is None:
                    pass
            finally:
                speaking.cancel()
                # What it met, the listener met too, and knows more about.
                await asyncio.gather(speaking, return_exceptions=True)
            return recognition

    def status(self) -> Mapping[str, object]:
        return {"lines_opened": self.lines.opened}

    async def aclose(self) -> None:
        await self.lines.aclose()

    async def _speak(self, line: Line, task: Task, utterance: Utterance) -> None:
        settings = self._settings.websocket
        size = frame_size(utterance.format.bytes_per_second, settings.frame)
        paced = settings.pace if task.namespace is Namespace.TRANSCRIBER else 0.0
        samples = memoryview(utterance.pcm)
        for start in range(0, len(samples), size):
            if task.state is not State.RUNNING:  # NLS heard the end by itself
                return
            await line.send(samples[start : start + size])
            if paced:
                await asyncio.sleep(settings.frame / paced)
        if task.state is State.RUNNING:
            await line.say(task.stop())


def task_of(settings: AliyunSettings, options: Options) -> Task:
    """A new task for a recorded utterance: words need the transcriber."""
    namespace = Namespace.TRANSCRIBER if options.words else Namespace.RECOGNIZER
    return Task(namespace, settings.appkey.get_secret_value(), start_payload(settings, options, transcriber=options.words))


def frame_size(bytes_per_second: int, seconds: float) -> int:
    """Bytes of a frame: whole samples, at least one."""
    return max(2, int(bytes_per_second * seconds) // 2 * 2)
