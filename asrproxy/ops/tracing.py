"""Spans over OTLP/HTTP: a listener on the core's events that hands them to a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from asrproxy.config.models import TracingSettings
from asrproxy.events import (
    AttemptEnded,
    BudgetRefused,
    Event,
    FailedOver,
    Hedged,
    LimitWaited,
    Noted,
    Observer,
    RequestEnded,
    RetryRefused,
    RetryScheduled,
)
from asrproxy.figures import SpanFigures

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan

    from asrproxy.ops.spans import SpanMaker

QUEUE: Final = 4096
"""Events that wait for the thread; one more is dropped and counted."""
BATCH: Final = 512
"""Spans of one export."""
PAUSE: Final = 1.0
"""Seconds between two exports of few spans."""
FLUSH: Final = 3.0
"""Seconds that the last export may take when the sidecar ends."""
SIGNAL_PATH: Final = "/v1/traces"

_Announced = tuple[Event, float, int]


class Tracing:
    """An async context manager and an Observer. The exporter, its retries and all of OpenTelemetry live in one thread.

    A request costs the event loop an append to a bounded queue. A collector that is slow, full or gone costs spans, which are counted, and
    one line in the log. OpenTelemetry is imported here and not before.
    """

    def __init__(self, settings: TracingSettings, *, announce: Observer) -> None:
        self._settings, self._announce = settings, announce
        self._queue: deque[_Announced] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._sent = self._failed = self._dropped = 0
        self._failing = False
        self._loop: asyncio.AbstractEventLoop
        self._maker: SpanMaker
        self._exporter: OTLPSpanExporter
        self._thread = threading.Thread(target=self._export_on, name="traces", daemon=True)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._maker, self._exporter = await asyncio.to_thread(_opened, self._settings)
        self._thread.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Sends what is left, for `FLUSH` seconds at most."""
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, FLUSH)
        self._queue.clear()
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # ends its retries; the thread ends with the process at the latest

    def __call__(self, event: Event) -> None:
        match event:
            case AttemptEnded(span=span):
                pass
            case (
                RequestEnded(trace=span)
                | LimitWaited(trace=span)
                | RetryScheduled(trace=span)
                | RetryRefused(trace=span)
                | FailedOver(trace=span)
                | Hedged(trace=span)
                | BudgetRefused(trace=span)
            ):
                pass
            case _:
                return
        if span is None or not span.recorded:
            return
        if len(self._queue) >= QUEUE:
            self._dropped += 1
            return
        self._queue.append((event, time.monotonic(), time.time_ns()))
        if len(self._queue) >= BATCH:
            self._wake.set()

    def figures(self) -> SpanFigures:
        """How it goes."""
        return SpanFigures(self._sent, self._failed, self._dropped)

    def _export_on(self) -> None:
        """The thread's whole work."""
        spans: list[ReadableSpan] = []
        while not (self._closing and not self._queue):
            self._wake.wait(PAUSE)
            self._wake.clear()
            while self._queue:
                spans += self._maker.made_of(*self._queue.popleft())
                if len(spans) >= BATCH or not self._queue:
                    self._export(spans)
                    spans = []

    def _export(self, spans: list[ReadableSpan]) -> None:
        if not spans:
            return
        if self._exporter.export(spans).name == "SUCCESS":
            self._sent += len(spans)
            if self._failing:
                self._failing = False
                self._note(Noted("info", "traces: the collector answers again", {}))
        else:
            self._failed += len(spans)
            if not self._failing:
                self._failing = True
                self._note(Noted("warning", "traces: the collector does not take them", {"otlp": self._settings.otlp}))

    def _note(self, event: Noted) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._announce, event)


def _opened(settings: TracingSettings) -> tuple[SpanMaker, OTLPSpanExporter]:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from asrproxy.ops.spans import SpanMaker

    base = settings.otlp.rstrip("/")
    exporter = OTLPSpanExporter(
        endpoint=base if base.endswith(SIGNAL_PATH) else base + SIGNAL_PATH,
        certificate_file=None if settings.ca_file is None else str(settings.ca_file),
        headers={name: value.get_secret_value() for name, value in settings.headers.items()},
        timeout=settings.timeout,
        compression=Compression.Gzip,
    )
    return SpanMaker(), exporter
