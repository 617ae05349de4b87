"""What the client of a live session sends: audio as samples, the end of it, and whether the client is still there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final, Literal, Self

from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web

from asrproxy.audio import g711
from asrproxy.errors import AsrError, AudioTooLong, BodyTimeout, BodyTooLarge, ClientGone, InvalidParameter
from asrproxy.model import BYTES_PER_SAMPLE

LARGEST: Final = 8 * 2**20
"""Bytes of one frame: minutes of audio."""
HELD: Final = 2.0
"""Seconds of audio that wait for the recogniser before the socket is read no further: the client's own sending then blocks."""
QUIET: Final = 20.0
"""Seconds without a frame after which the client is pinged, so that nothing on the way takes the connection for unused."""

Encoding = Literal["pcm_s16le", "mulaw", "alaw"]


class Intake(AsyncIterator[bytes]):
    """Mono s16le samples until the session's audio is over. Reading may be cancelled and begun again.

    idle: seconds without a frame after which the audio is taken for over. longest: seconds of a session.
    duration: seconds of audio so far. reason: why it is over, None: the client said so.
    """

    def __init__(self, socket: web.WebSocketResponse, encoding: Encoding, sample_rate: int, *, idle: float, longest: float) -> None:
        self._socket, self._encoding = socket, encoding
        self._rate = sample_rate * BYTES_PER_SAMPLE
        self._idle, self._longest = idle, longest
        self._held = bytearray()
        self._size = 0
        self._over = False
        self._filled, self._emptied = asyncio.Event(), asyncio.Event()
        self._time = asyncio.get_running_loop().time
        self._heard_at = self._time()
        self.reason: AsrError | None = None

    @property
    def duration(self) -> float:
        return self._size / self._rate

    @property
    def size(self) -> int:
        """Bytes of samples so far."""
        return self._size

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while (whole := len(self._held) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE) == 0:
            if self._over:
                raise StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
        piece = bytes(self._held[:whole])
        del self._held[:whole]
        self._emptied.set()
        return piece

    def end(self, reason: AsrError | None) -> None:
        """The audio is over; whatever still comes is not listened to."""
        if not self._over:
            self._over, self.reason = True, reason
            self._filled.set()
            self._emptied.set()

    async def read(self) -> AsrError:
        """Takes what the client sends, until it has gone or said what is none of the protocol's: returns which."""
        while True:
            message = await self._socket.receive()
            self._heard_at = self._time()
            if (problem := self._taken(message.type, message.data)) is not None:
                return problem
            while self._full:
                self._emptied.clear()
                await self._emptied.wait()
                self._heard_at = self._time()  # it was not the client who was idle

    async def watch(self) -> None:
        """Ends the audio of an idle client, and pings a quiet one. While we do not read, we see no close; a ping that cannot be sent tells.

        Raises ConnectionResetError.
        """
        pinged = self._time()
        while True:
            last = max(self._heard_at, pinged)
            idle = self._heard_at + self._idle
            due = last + QUIET if self._over else last + min(QUIET, self._idle) if self._full else min(last + QUIET, idle)
            if (pause := due - self._time()) > 0:
                await asyncio.sleep(pause)
                continue
            if not self._full and self._time() >= idle:
                self.end(BodyTimeout(f"no audio came for {self._idle:g} s"))
            pinged = self._time()
            await self._socket.ping()

    @property
    def _full(self) -> bool:
        return len(self._held) > HELD * self._rate and not self._over

    def _taken(self, kind: WSMsgType, data: Any) -> AsrError | None:
        match kind:
            case WSMsgType.BINARY:
                return None if self._over else self._take(data)
            case WSMsgType.TEXT:
                return None if self._over else self._told(data)
            case WSMsgType.ERROR if isinstance(data, WebSocketError) and data.code == WSCloseCode.MESSAGE_TOO_BIG:
                return _too_large()
            case _:
                return ClientGone("the client has gone")

    def _take(self, data: bytes) -> AsrError | None:
        if len(data) > LARGEST:
            return _too_large()
        samples = data if self._encoding == "pcm_s16le" else g711.linear(data, self._encoding)
        room = int(self._longest * self._rate) - self._size
        self._held += samples[:room]
        self._size += min(len(samples), room)
        self._filled.set()
        if len(samples) > room:
            self.end(AudioTooLong(f"the session is longer than server.max_audio ({self._longest:g} s)"))
        return None

    def _told(self, text: str) -> AsrError | None:
        try:
            if json.loads(text) == {"type": "stop"}:
                self.end(None)
                return None
        except ValueError:
            pass
        return InvalidParameter('after start come binary frames and then the text {"type": "stop"}')


def _too_large() -> AsrError:
    return BodyTooLarge(f"a frame has more than {LARGEST // 2**20} MiB: send the audio in smaller ones")
