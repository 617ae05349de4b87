"""A server with OpenAI's transcription API that hears tones and checks its callers as the real one does."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from asrproxy.plugin import Garbled, ProviderError, Refused, Rejected, Throttled, Unavailable, Unreachable
from asrproxy.testing.conformance import Vendor
from asrproxy.testing.tones import decode, text_of, words_of

KEY = "sk-a-very-secret-key"
FIELDS = {"file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]"}


class OpenAIServer(Vendor):
    """`requests`: the fields of each call. Headers of the last one are in `headers`."""

    errors = frozenset({Unavailable, Throttled, Refused, Rejected, Garbled, Unreachable})

    def __init__(self, key: str | None = KEY) -> None:
        self.key = key
        self.requests: list[dict[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.connections = 0
        self.answer: Any = None  # (status, headers, body) instead of a transcription
        self.abort = "none"  # or "kept": those that come on a connection that was used before; or "all"
        self.aborted = 0
        self._broken: type[ProviderError] | None = None
        self._under_way = 0
        self._changed = asyncio.Condition()
        self._open = asyncio.Event()
        self._open.set()
        self.url = ""
        self._peers: set[asyncio.BaseTransport | None] = set()

    @asynccontextmanager
    async def running(self, **site: Any) -> AsyncIterator[OpenAIServer]:
        app = web.Application(client_max_size=25 * 2**20)
        app.router.add_post("/v1/audio/transcriptions", self._serve)
        runner = web.AppRunner(app, handler_cancellation=True, keepalive_timeout=60, shutdown_timeout=1)
        await runner.setup()
        tcp = web.TCPSite(runner, "127.0.0.1", 0, **site)
        await tcp.start()
        port = runner.addresses[0][1]
        self.url = f"{'https' if site else 'http'}://127.0.0.1:{port}/v1"
        try:
            yield self
        finally:
            self.release()
            await runner.cleanup()

    def calls(self) -> int:
        return len(self.requests)

    def fail(self, error: type[ProviderError]) -> None:
        self._broken = error

    def recover(self) -> None:
        self._broken = self.answer = None
        self.release()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def arrived(self, calls: int = 1) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way >= calls)

    async def idle(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._under_way)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        kept = request.transport in self._peers
        if not kept:
            self.connections += 1
            self._peers.add(request.transport)
        if self.abort == "all" or (self.abort == "kept" and kept):
            self.aborted += 1
            _abort(request)
            return web.Response()
        async with self._changed:
            self._under_way += 1
            self._changed.notify_all()
        try:
            await self._open.wait()
            return await self._answer(request)
        finally:
            async with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(request.headers)
        if self._broken is Unreachable:
            self.requests.append({})
            _abort(request)
            return web.Response()
        form = await request.post()
        self.requests.append({name: value for name, value in form.items() if isinstance(value, str)})
        if self._broken:
            return {
                Unavailable: web.json_response({"error": {"message": "The server had an error", "code": None}}, status=500),
                Throttled: web.json_response({"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}, status=429),
                Refused: web.json_response({"error": {"message": f"Incorrect API key provided: {self.key}"}}, status=401),
                Rejected: web.json_response({"error": {"message": "Invalid file format.", "param": "file"}}, status=400),
                Garbled: web.Response(text="<html>It works!</html>", content_type="text/html"),
            }[self._broken]
        if self.answer:
            status, headers, body = self.answer
            return web.Response(status=status, headers=headers, body=body)
        return self._transcribed(request, form)

    def _transcribed(self, request: web.Request, form: Any) -> web.Response:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return _refusal(401, "You didn't provide an API key.")
        if "chunked" in request.headers.get("Transfer-Encoding", ""):
            return _refusal(411, "A length is required.")
        if unknown := set(form) - FIELDS:
            return _refusal(400, f"Unrecognized request argument supplied: {unknown}")
        file = form.get("file")
        if not isinstance(file, web.FileField) or not file.filename.endswith(".wav"):
            return _refusal(400, "Invalid file format.")
        if "model" not in form:
            return _refusal(400, "you must provide a model parameter")
        shape = form.get("response_format", "json")
        if form.getall("timestamp_granularities[]", None) and shape != "verbose_json":
            return _refusal(400, "timestamp_granularities requires verbose_json")
        if (language := form.get("language")) and len(language) != 2:
            return _refusal(400, f"Invalid language '{language}'. Language parameter must be specified in ISO-639-1 format.")
        with wave.open(io.BytesIO(file.file.read())) as audio:
            rate, frames = audio.getframerate(), audio.getnframes()
            assert (audio.getsampwidth(), audio.getnchannels()) == (2, 1)
            heard = decode(audio.readframes(frames), rate)
        answer: dict[str, Any] = {"text": text_of(heard)}
        if shape == "verbose_json":
            answer |= {"task": "transcribe", "language": "chinese", "duration": frames / rate, "segments": []}
            if "word" in form.getall("timestamp_granularities[]", []):
                answer["words"] = [{"word": each.text, "start": each.start, "end": each.end} for each in words_of(heard)]
        return web.json_response(answer, headers={"x-request-id": f"req_{self.calls()}"})


def _abort(request: web.Request) -> None:
    assert request.transport
    request.transport.abort()


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}, status=status)
