"""Echo itself, as far as tests need it: it hears the tone alphabet, and fails when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from asrproxy.plugin import Garbled, ProviderError, Refused, Rejected, Throttled, Unavailable
from asrproxy.testing.conformance import Vendor
from asrproxy.testing.tones import decode, text_of, words_of

KEY = "echo-key-that-nobody-may-see"


class EchoServer(Vendor):
    """What the kit may ask of the vendor; only what is overridden is tried."""

    errors = frozenset({Unavailable, Throttled, Refused, Rejected, Garbled})

    def __init__(self) -> None:
        self.url = ""
        self._calls = 0
        self._failing: type[ProviderError] | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._busy = 0
        self._turn = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[EchoServer]:
        app = web.Application(client_max_size=2**22)
        app.router.add_post("/hear", self._hear)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hear"
        try:
            yield self
        finally:
            await runner.cleanup()

    def calls(self) -> int:
        return self._calls

    def fail(self, error: type[ProviderError]) -> None:
        self._failing = error

    def recover(self) -> None:
        self._failing = None
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    async def arrived(self) -> None:
        async with self._turn:
            await self._turn.wait_for(lambda: self._busy > 0)

    async def idle(self) -> None:
        async with self._turn:
            await self._turn.wait_for(lambda: self._busy == 0)

    async def _hear(self, request: web.Request) -> web.Response:
        self._calls += 1
        await self._count(+1)
        try:
            pcm = await request.read()
            await self._open.wait()
            return self._answer(pcm, int(request.query["rate"]), request.headers.get("X-Echo-Key"))
        finally:
            await self._count(-1)

    async def _count(self, by: int) -> None:
        async with self._turn:
            self._busy += by
            self._turn.notify_all()

    def _answer(self, pcm: bytes, rate: int, key: str | None) -> web.Response:
        if self._failing is Garbled:
            return web.Response(text="<html>under construction</html>")
        statuses = {Unavailable: 503, Throttled: 429, Refused: 401, Rejected: 400}
        if self._failing:
            return web.Response(status=statuses[self._failing], headers={"Retry-After": "2"})
        if key != KEY:
            return web.Response(status=401)
        heard = decode(pcm, rate)
        return web.json_response({"heard": text_of(heard), "times": [[each.text, each.start, each.end] for each in words_of(heard)]})
