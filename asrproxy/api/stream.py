"""`GET /v1/stream`: live audio over a WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiohttp import WSMsgType, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from asrproxy.api.problems import error_body
from asrproxy.api.render import dumped
from asrproxy.api.request import ACCOUNT, REQUEST_ID, RUNTIME, Account
from asrproxy.audio import g711
from asrproxy.errors import AsrError, BodyTimeout, InvalidAudio, InvalidParameter
from asrproxy.model import Interim, Options, Sentence
from asrproxy.recognizer import Order
from asrproxy.text import join

LARGEST: Final = 2**20
"""Bytes of one frame."""
AHEAD: Final = 32
"""Frames that wait for the recogniser before the socket is read no further: the client's own sending then blocks."""
HEARTBEAT: Final = 20.0
FIRST: Final = 10.0
"""Seconds within which `start` has to come."""


class Start(BaseModel):
    """The client's first message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["start"]
    sample_rate: int = Field(ge=8000, le=48_000)
    encoding: Literal["pcm_s16le", "mulaw", "alaw"] = "pcm_s16le"
    language: str | None = Field(None, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")
    interim: bool = True
    route: str = "default"
    words: bool = False
    punctuation: bool | None = None
    itn: bool | None = None
    vocabulary: str | None = Field(None, min_length=1, max_length=4096)


@dataclass(slots=True)
class _Heard:
    """What came in, in bytes of s16le at the session's rate, and the texts that went out."""

    size: int = 0
    texts: list[str] | None = None


async def stream(request: web.Request) -> web.StreamResponse:
    """One session. Errors after the upgrade are messages; the socket is closed after one."""
    runtime = request.app[RUNTIME]
    account: Account = request[ACCOUNT]
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=LARGEST, compress=False)
    if not socket.can_prepare(request):
        raise InvalidParameter("this address speaks WebSocket: send an upgrade")
    socket.headers["X-Request-Id"] = request[REQUEST_ID]
    await socket.prepare(request)
    try:
        with runtime.generation() as generation:
            start = await _started(socket)
            order = _order(start, request[REQUEST_ID], account, request.headers.get("traceparent"))
            generation.recognizer.accept(order)
            account.route = order.route
            await _tell(socket, {"type": "started", "request_id": order.request_id})
            heard = _Heard(texts=[])
            audio = _audio(socket, start, heard, idle=runtime.server.body_timeout, longest=runtime.server.max_audio)
            async for event in generation.recognizer.listen(audio, start.sample_rate, order):
                match event:
                    case Interim() if start.interim:
                        await _tell(socket, {"type": "interim", "index": event.index, "start": round(event.start, 3), "text": event.text})
                    case Sentence():
                        heard.texts.append(event.text)  # type: ignore[union-attr]
                        await _tell(socket, _final(event))
                    case _:
                        pass
            seconds = heard.size / (2 * start.sample_rate)
            account.finished(seconds, heard.size)
            await _tell(socket, {"type": "done", "text": join.join(heard.texts or (), start.language), "duration": round(seconds, 3)})
    except AsrError as error:
        account.failed(error)
        if not socket.closed:
            await _tell(socket, {"type": "error", "error": error_body(error, request[REQUEST_ID])})
    except ConnectionResetError:
        account.failed(BodyTimeout("the client has gone"))
    finally:
        await socket.close()
    return socket


async def _started(socket: web.WebSocketResponse) -> Start:
    try:
        message = await socket.receive(timeout=FIRST)
    except TimeoutError as error:
        raise BodyTimeout(f"no start message came within {FIRST:g} s") from error
    if message.type is not WSMsgType.TEXT:
        raise InvalidParameter('the first message is a text: {"type": "start", …}')
    try:
        return Start.model_validate_json(message.data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "start"
        raise InvalidParameter(f"start message: {name}: {first['msg']}", param=name) from error


def _order(start: Start, request_id: str, account: Account, traceparent: str | None) -> Order:
    options = Options(language=start.language, words=start.words, punctuation=start.punctuation, itn=start.itn, vocabulary=start.vocabulary)
    return Order(request_id, account.received, route=start.route, options=options, traceparent=traceparent)


async def _audio(socket: web.WebSocketResponse, start: Start, heard: _Heard, *, idle: float, longest: float) -> AsyncIterator[bytes]:
    """Samples as s16le until `stop`. A task reads ahead a little, so that a slow recogniser slows the client down and not the heartbeat."""
    frames: asyncio.Queue[bytes | AsrError | None] = asyncio.Queue(AHEAD)
    most = longest * start.sample_rate * 2

    async def read() -> None:
        while True:
            try:
                message = await socket.receive(timeout=idle)
            except TimeoutError:
                await frames.put(BodyTimeout(f"no audio came for {idle:g} s"))
                return
            end = _frame(message.type, message.data, start)
            await frames.put(end)
            if not isinstance(end, bytes):
                return

    reading = asyncio.create_task(read())
    odd = b""
    try:
        while (frame := await frames.get()) is not None:
            if isinstance(frame, AsrError):
                raise frame
            pcm = odd + frame
            odd = pcm[len(pcm) // 2 * 2 :]
            pcm = pcm[: len(pcm) // 2 * 2]
            heard.size += len(pcm)
            if heard.size > most:
                raise InvalidAudio(f"the session is longer than server.max_audio ({longest:g} s)")
            if pcm:
                yield pcm
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _frame(kind: WSMsgType, data: Any, start: Start) -> bytes | AsrError | None:
    """Samples; None at the end; an error for what is neither."""
    if kind is WSMsgType.BINARY:
        return data if start.encoding == "pcm_s16le" else g711.linear(data, start.encoding)
    if kind is WSMsgType.TEXT:
        try:
            if json.loads(data) == {"type": "stop"}:
                return None
        except ValueError:
            pass
        return InvalidParameter('after start come binary frames and then {"type": "stop"}')
    return BodyTimeout("the client has gone")


def _final(event: Sentence) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "final",
        "index": event.index,
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "text": event.text,
    }
    if event.words is not None:
        body["words"] = [{"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3)} for word in event.words]
    return body


async def _tell(socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
    await socket.send_str(dumped(message).decode())
