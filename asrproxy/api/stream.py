"""`GET /v1/stream`: live audio over a WebSocket."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import Any, Final, Literal

from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from asrproxy.api.bearer import SUBPROTOCOL
from asrproxy.api.intake import LARGEST, Encoding, Intake
from asrproxy.api.problems import error_body
from asrproxy.api.render import dumped
from asrproxy.api.request import ACCOUNT, REQUEST_ID, RUNTIME, Account
from asrproxy.errors import AsrError, BodyTimeout, CallerError, ClientGone, Draining, InvalidParameter
from asrproxy.events import Noted
from asrproxy.model import Interim, Options, Sentence
from asrproxy.recognizer import Order, Recognizer
from asrproxy.runtime import Runtime
from asrproxy.text import join

FIRST: Final = 10.0
"""Seconds within which `start` has to come."""
GOODBYE: Final = 2.0
"""Seconds in which a client may answer the socket's close."""


class Start(BaseModel):
    """The client's first message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["start"]
    sample_rate: int = Field(ge=8000, le=48_000)
    encoding: Encoding = "pcm_s16le"
    language: str | None = Field(None, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")
    interim: bool = True
    route: str = "default"
    words: bool = False
    punctuation: bool | None = None
    itn: bool | None = None
    vocabulary: str | None = Field(None, min_length=1, max_length=4096)


async def stream(request: web.Request) -> web.StreamResponse:
    """One session. Errors after the upgrade are messages; the socket is closed after one."""
    runtime = request.app[RUNTIME]
    account: Account = request[ACCOUNT]
    # No heartbeat of aiohttp's: while a slow recogniser keeps us from reading, it would take a patient client for a dead one.
    socket = web.WebSocketResponse(max_msg_size=2 * LARGEST, compress=False, timeout=GOODBYE, protocols=(SUBPROTOCOL,))
    if not socket.can_prepare(request):
        raise InvalidParameter("this address speaks WebSocket: send an upgrade")
    socket.headers["X-Request-Id"] = request[REQUEST_ID]
    await socket.prepare(request)
    account.live = True
    line = _Line(socket, request.transport, patience=runtime.server.body_timeout)
    code = WSCloseCode.OK
    try:
        with runtime.generation() as generation, runtime.live_session():
            start = await _started(socket)
            order = _order(start, account)
            account.accepted(order.route, generation.recognizer.accept(order))
            await line.tell({"type": "started", "request_id": order.origin.request_id})
            await _Session(line, start, order, generation.recognizer, account).run(socket, runtime)
    except ConnectionResetError:
        account.failed(ClientGone("the client has gone"))
    except asyncio.CancelledError:
        if not line.over:
            raise
    except AsrError as error:
        account.failed(error)
        code = _code(error)
        await line.end({"type": "error", "error": error_body(error, request[REQUEST_ID])})
    except Exception as error:  # a defect of ours: after the upgrade nobody else can say so
        account.failed(error)
        runtime.announce(Noted("error", "internal error", {"request_id": request[REQUEST_ID], "error": error}))
        code = WSCloseCode.INTERNAL_ERROR
        await line.end({"type": "error", "error": error_body(error, request[REQUEST_ID])})
    finally:
        await line.close(code)
    return socket


class _Line:
    """The way to the client. patience: seconds that it may take to read what it is told. over: it was told the last there is.

    A client that was told everything may be the first to hang up, which cancels the handler: that session was answered, and is counted so.
    """

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, *, patience: float) -> None:
        self._socket, self._transport, self._patience = socket, transport, patience
        self.over = False

    async def tell(self, message: dict[str, Any]) -> None:
        """Returns when it is on its way. Raises ClientGone, ConnectionResetError."""
        try:
            async with asyncio.timeout(self._patience):
                await self._socket.send_frame(dumped(message), WSMsgType.TEXT)
        except TimeoutError as error:
            self._drop()
            raise ClientGone(f"the client has read nothing for {self._patience:g} s") from error

    async def last(self, message: dict[str, Any]) -> None:
        """Like `tell`, for the last thing that is told."""
        await self.tell(message)
        self.over = True

    async def end(self, message: dict[str, Any]) -> None:
        """The last thing that is told, if the client is still there."""
        if not self._socket.closed:
            with suppress(ClientGone, ConnectionResetError):
                await self.last(message)

    async def close(self, code: int) -> None:
        try:
            async with asyncio.timeout(2 * GOODBYE):
                await self._socket.close(code=code)
        except TimeoutError:
            self._drop()
        except asyncio.CancelledError:
            if not self.over:
                raise

    def _drop(self) -> None:
        """Closing waits until all is written, which a client that does not read keeps from happening."""
        if self._transport is not None:
            self._transport.abort()


class _Session:
    """A session that has started: audio in, sentences out, side by side."""

    def __init__(self, line: _Line, start: Start, order: Order, recognizer: Recognizer, account: Account) -> None:
        self._line, self._start, self._order, self._recognizer, self._account = line, start, order, recognizer, account

    async def run(self, socket: web.WebSocketResponse, runtime: Runtime) -> None:
        """Until all is told. Raises what it ended with; the client's going ends it at once."""
        server, start = runtime.server, self._start
        intake = Intake(socket, start.encoding, start.sample_rate, idle=server.body_timeout, longest=server.max_audio)
        telling = asyncio.create_task(self._tell(intake), name="live-telling")
        reading = asyncio.create_task(intake.read(), name="live-reading")
        watching = asyncio.create_task(intake.watch(), name="live-watching")
        ending = asyncio.create_task(runtime.ending.wait(), name="live-ending")
        tasks = (telling, reading, watching, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                intake.end(Draining("the proxy is shutting down; go on at another one", retry_after=1.0))
                await asyncio.wait(tasks[:3], return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                await telling
            elif reading.done():
                raise reading.result()
            else:
                await watching
        finally:
            self._account.received_bytes = intake.size
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, intake: Intake) -> None:
        texts: list[str] = []
        providers: set[str | None] = set()
        async with aclosing(self._recognizer.listen(intake, self._start.sample_rate, self._order)) as events:
            async for event in events:
                if isinstance(event, Sentence):
                    texts.append(event.text)
                    providers.add(event.provider)
                    await self._line.tell(_final(event))
                elif self._start.interim:
                    await self._line.tell(_interim(event))
        if intake.reason is not None:
            raise intake.reason
        self._account.audio_seconds = intake.duration
        self._account.provider = providers.pop() if len(providers) == 1 else None
        self._account.text = join.join(texts, self._start.language)
        await self._line.last({"type": "done", "text": join.join(texts, self._start.language), "duration": round(intake.duration, 3)})


async def _started(socket: web.WebSocketResponse) -> Start:
    try:
        message = await socket.receive(timeout=FIRST)
    except TimeoutError as error:
        raise BodyTimeout(f"no start message came within {FIRST:g} s") from error
    if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
        raise ClientGone("the client has gone before it started")
    if message.type is WSMsgType.BINARY:
        raise InvalidParameter('the first message is a text: {"type": "start", "sample_rate": …}, audio comes after it')
    try:
        return Start.model_validate_json(message.data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "start"
        raise InvalidParameter(f"start message: {name}: {first['msg']}", param=name) from error


def _order(start: Start, account: Account) -> Order:
    options = Options(language=start.language, words=start.words, punctuation=start.punctuation, itn=start.itn, vocabulary=start.vocabulary)
    return Order(account.origin(), route=start.route, options=options)


def _interim(event: Interim) -> dict[str, Any]:
    return {"type": "interim", "index": event.index, "start": round(event.start, 3), "text": event.text}


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


def _code(error: AsrError) -> WSCloseCode:
    """What the close frame says about an error that was told before it."""
    if isinstance(error, Draining):
        return WSCloseCode.GOING_AWAY
    return WSCloseCode.POLICY_VIOLATION if isinstance(error, CallerError) else WSCloseCode.INTERNAL_ERROR
