"""Server-sent events as one answer: its status line waits for the first event, and a silence has a sign of life in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from asrproxy.api.render import dumped
from asrproxy.api.request import ACCOUNT

HEARTBEAT: Final = 15.0
"""Seconds: a comment line keeps proxies between us and a waiting caller from closing the stream."""


class EventStream:
    """The events of one answer. Until the first is told (or `open` is called) a failure can still be an ordinary answer with its status.

    A caller that was told the last one may be the first to hang up, which cancels the handler wherever it is: `Account.told` says that it
    was answered.
    """

    def __init__(self, request: web.Request, request_id: str) -> None:
        self._request = request
        self._response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Request-Id": request_id}
        )
        self._turn = asyncio.Lock()

    @property
    def opened(self) -> bool:
        """Whether the status line has gone out."""
        return self._response.prepared

    async def open(self) -> None:
        """Sends the status line, if it has not gone out."""
        async with self._turn:
            if not self._response.prepared:
                await self._response.prepare(self._request)

    async def tell(self, data: object, event: str | None = None) -> None:
        """One event, with a name where the reader goes by names."""
        await self._write(b"" if event is None else b"event: " + event.encode() + b"\n", dumped(data))

    async def last(self, data: object, event: str | None = None) -> None:
        """Like `tell`, for the last event."""
        await self.tell(data, event)
        self._request[ACCOUNT].told = True

    async def last_mark(self, data: bytes) -> None:
        """A last event that is not JSON."""
        await self._write(b"", data)
        self._request[ACCOUNT].told = True

    async def end(self) -> web.StreamResponse:
        """Nothing more comes."""
        await self.open()
        await self._response.write_eof()
        return self._response

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Inside, whoever waits sees every `HEARTBEAT` seconds that the answer is still being worked on."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _write(self, name: bytes, data: bytes) -> None:
        await self.open()
        async with self._turn:
            await self._response.write(name + b"data: " + data + b"\n\n")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            await self.open()
            async with self._turn:
                await self._response.write(b": still here\n\n")
