"""The last requests, for a person who looks at a sidecar at night: a listener on the core's events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from asrproxy.events import Event, RequestEnded

REQUESTS: Final = 500
"""Requests that are kept: some 200 kilobytes."""


class Recent:
    """The last requests in the order of their ends, without a word of what was said; an Observer. clock: Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: deque[tuple[int, float, RequestEnded]] = deque(maxlen=REQUESTS)
        self.last = 0
        """The number of the newest; they count from 1."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, RequestEnded):
            self.last += 1
            self._kept.append((self.last, self._clock(), event if event.text is None else replace(event, text=None)))

    def after(self, number: int, most: int) -> list[dict[str, Any]]:
        """Those that came after the one of that number, the newest `most` of them, oldest first. JSON values."""
        found = [each for each in self._kept if each[0] > number]
        return [_line(*each) for each in found[-most:]]


def _line(number: int, ended: float, event: RequestEnded) -> dict[str, Any]:
    return {
        "number": number,
        "ended": round(ended, 3),
        "request_id": event.request_id,
        "trace_id": None if event.trace is None else event.trace.trace_id,
        "endpoint": event.endpoint,
        "route": event.route,
        "caller": event.caller,
        "status": event.status,
        "code": event.code,
        "ms": round(event.seconds * 1000, 1),
        "audio_seconds": round(event.audio_seconds, 3),
        "bytes": event.body_bytes,
        "provider": event.provider,
        "attempts": event.attempts,
        "cost": dict(event.cost),
        "stages_ms": {stage.name: round(stage.seconds * 1000, 1) for stage in event.stages},
    }
