"""What is answered before any handler is asked, in the contract's shape: bytes that are no HTTP, heads without end, vain expectations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import EMPTY_PAYLOAD, web
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from asrproxy.api.problems import face_of, problem
from asrproxy.api.request import OTHER, request_id_of
from asrproxy.errors import BodyTimeout, InvalidParameter
from asrproxy.events import Observer, RequestEnded

LAST: Final = 1.0
"""Seconds that whoever had connected by the end has for a request and its answer."""

AFTER_LATE: Final = 1.0
"""Seconds that a connection is still heard after a 408, so that the answer arrives. aiohttp's ten stay for whoever was refused for another
reason: he may be sending all the while, and read only then."""

TURN: Final = 0.01
QUIET: Final = 5
"""Turns of the loop."""


@dataclass(frozen=True, slots=True)
class Manners:
    """What a connection goes by before there is a request. patience: seconds that a head may take, now. announce: hears of refusals."""

    patience: Callable[[], float]
    announce: Observer


class Runner(web.AppRunner):
    """An AppRunner whose connections speak the contract also where aiohttp answers by itself."""

    def __init__(self, app: web.Application, manners: Manners, **settings: Any) -> None:
        super().__init__(app, **settings)
        self._manners = manners

    async def cleanup(self) -> None:
        """Takes whoever waits in the kernel's queue, stops listening, lets all of them be answered, then closes.

        aiohttp alone would close a connection whose request has not been read yet, and one whose body has not: with an unread body the
        kernel resets it, and the answer is lost with it. What is in the queue when a listener closes is reset too.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST):
                await self._take()
        for site in list(self.sites):
            await site.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST):
                while self._unfinished():  # noqa: ASYNC110 -- connections announce nothing
                    await asyncio.sleep(TURN)
        await super().cleanup()

    async def _take(self) -> None:
        """Returns when some turns of the loop have brought nobody new (uvloop takes one connection a turn)."""
        quiet, server = 0, self.server
        while isinstance(server, _Server) and quiet < QUIET:
            before = server.taken
            await asyncio.sleep(0)
            quiet = quiet + 1 if server.taken == before else 0

    def _unfinished(self) -> bool:
        return self.server is not None and any(isinstance(each, _Connection) and each.unfinished for each in self.server.connections)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(self._manners, made)


class _Server(web.Server):
    def __init__(self, manners: Manners, made: web.Server) -> None:
        super().__init__(
            made.request_handler, request_factory=made.request_factory, handler_cancellation=made.handler_cancellation, **made._kwargs
        )
        self._manners = manners
        self.taken = 0

    def __call__(self) -> RequestHandler:
        self.taken += 1
        return _Connection(self._manners, self, loop=asyncio.get_running_loop(), **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ("_head_limit", "_manners")

    def __init__(self, manners: Manners, server: web.Server, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._manners = manners
        self._head_limit: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nobody waits for the rest of a head any more."""
        self._head_over()
        super().connection_lost(exc)

    @property
    def unfinished(self) -> bool:
        """Whether its first request has not come yet, or it is at work on one, be it only that it takes the rest of a body."""
        return self.transport is not None and (self._request_count == 0 or self._waiter is None)

    def data_received(self, data: bytes) -> None:
        """Bounds the time that a head may take, which aiohttp does not, and tells whoever reads a body that it turned out to be broken:
        aiohttp's parser only gives it up, and the reader would wait on."""
        super().data_received(data)
        if self._head_limit is not None:
            if self._messages:
                self._head_over()
        elif (waiter := self._waiter) is not None and not waiter.done():  # a request is waited for, and this was not all of its head
            self._head_limit = asyncio.get_running_loop().call_later(self._manners.patience(), self._head_late)
        if self._messages and self._current_request is not None and not isinstance(self._messages[-1][0], RawRequestMessage):
            body = self._current_request.content
            if not body.is_eof():
                body.set_exception(web.RequestPayloadError("the body is broken"))

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What aiohttp could not read, or what escaped the guard. The connection is closed: nobody knows where the next request begins."""
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionResetError("there is nobody to tell, or an answer has begun") from exc
        if isinstance(exc, BodyTimeout) or status >= 500:
            return self._refusal(request, exc or RuntimeError(message))
        # Only the first words: what follows in aiohttp's message is the caller's own bytes, which may hold a credential.
        said = (message or "").partition(":")[0].partition("\n")[0].strip(" .")[:100]
        return self._refusal(request, InvalidParameter(f"the request is not proper HTTP/1.1: {said or 'it cannot be read'}"))

    def finish_response(self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None) -> Any:
        """An HTTPException comes here only from before the guard: an `Expect` that is not `100-continue`.

        Whoever did not finish his body is not waited for again.
        """
        if isinstance(resp, web.HTTPException):
            resp = self._refusal(request, InvalidParameter("only `Expect: 100-continue` can be met", param="Expect"))
        if resp.status == web.HTTPRequestTimeout.status_code:
            self._lingering_time = AFTER_LATE
        return super().finish_response(request, resp, start_time)

    def _head_over(self) -> None:
        if self._head_limit is not None:
            self._head_limit.cancel()
            self._head_limit = None

    def _head_late(self) -> None:
        """Puts the refusal where aiohttp waits for the request, as it does for one that it cannot read."""
        self._head_limit = None
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            late = BodyTimeout(f"the request's head did not end within {self._manners.patience():g} s")
            self._messages.append((_ErrInfo(status=408, exc=late, message=str(late)), EMPTY_PAYLOAD))
            waiter.set_result(None)

    def _refusal(self, request: web.BaseRequest, error: BaseException) -> web.Response:
        request_id = request_id_of(request)
        response = problem(error, request_id)
        response.headers["X-Request-Id"] = request_id
        response.force_close()
        self._manners.announce(
            RequestEnded(
                request_id,
                method="_OTHER",
                endpoint="none",
                route="",
                caller=OTHER,
                status=response.status,
                code=face_of(error).code,
                seconds=0.0,
                audio_seconds=0.0,
                body_bytes=0,
            )
        )
        return response
