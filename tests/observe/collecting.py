"""A collector that takes spans over OTLP/HTTP as a real one does, and can be broken in the ways in which they break."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True)
class Received:
    """A span as it came over the wire; times in seconds."""

    message: Message
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return self.message.name

    @property
    def trace_id(self) -> str:
        return self.message.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.message.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.message.parent_span_id.hex()

    @property
    def start(self) -> float:
        return self.message.start_time_unix_nano / 1e9

    @property
    def end(self) -> float:
        return self.message.end_time_unix_nano / 1e9

    @property
    def attributes(self) -> dict[str, Any]:
        return _values(self.message.attributes)

    @property
    def events(self) -> dict[str, dict[str, Any]]:
        return {event.name: _values(event.attributes) for event in self.message.events}

    @property
    def failed(self) -> bool:
        return self.message.status.code == Status.STATUS_CODE_ERROR


class Collector:
    """url: its base. bodies: what came, as bytes. broken: None, or what becomes of an export (`hang`, or an HTTP status)."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.spans: list[Received] = []
        self.broken: str | int | None = None
        self.asked = 0
        self._changed = asyncio.Condition()
        self._never = asyncio.Event()

    async def until(self, holds: Callable[[list[Received]], object]) -> list[Received]:
        """The spans, once something holds of them."""
        async with self._changed:
            await self._changed.wait_for(lambda: holds(self.spans))
        return self.spans

    async def take(self, request: web.Request) -> web.Response:
        self.asked += 1
        body = await request.read()
        if self.broken == "hang":
            await self._never.wait()
        if isinstance(self.broken, int):
            return web.Response(status=self.broken)
        assert request.content_type == "application/x-protobuf"
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":  # aiohttp may have opened it already
            body = gzip.decompress(body)
        message = ExportTraceServiceRequest.FromString(body)
        async with self._changed:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
            for group in message.resource_spans:
                for scope in group.scope_spans:
                    self.spans += [Received(span, _values(group.resource.attributes)) for span in scope.spans]
            self._changed.notify_all()
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf")


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    each = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", each.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    each.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield each
    finally:
        await runner.cleanup()


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
