"""The last requests, for a person who looks at a sidecar at night: a listener on the core's events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from asrproxy.events import ConfigReloaded, Event, RequestEnded

REQUESTS: Final = 500
"""Requests that are kept: some 200 kilobytes."""
CHARACTERS: Final = 2**20
"""What was said in them, where it is kept at all: so much of it in all, the newest."""


class Recent:
    """The last requests in the order of their ends; an Observer. clock: Unix seconds.

    What was said comes with an event only where `log.transcripts` is true; when a reload has made it false, what was kept is forgotten.
    ticks: None: requests are numbered from 1. Else a clock that several processes have in common, by which their numbers are in one order.
    """

    def __init__(self, clock: Callable[[], float] = time.time, ticks: Callable[[], int] | None = None) -> None:
        self._clock = clock
        self._ticks = ticks or _none
        self._keeps: Callable[[], bool] = lambda: False
        self._kept: deque[tuple[int, float, RequestEnded]] = deque(maxlen=REQUESTS)
        self._texts: dict[int, str] = {}  # by number, oldest first
        self._characters = 0
        self._last = 0

    def watch(self, keeps: Callable[[], bool]) -> None:
        """keeps: whether what was said may be kept, asked after a reload."""
        self._keeps = keeps

    def __call__(self, event: Event) -> None:
        if isinstance(event, RequestEnded):
            self._keep(event)
        elif isinstance(event, ConfigReloaded) and event.error is None and not self._keeps():
            self._texts.clear()
            self._characters = 0

    def last(self) -> int:
        """A number that none of the requests to come has, and none of those that were has a higher one."""
        self._last = max(self._last, self._ticks())
        return self._last

    def after(self, number: int, most: int, *, transcripts: bool = False) -> list[dict[str, Any]]:
        """Those that came after that number, the newest `most` of them, oldest first. JSON values.

        transcripts: with `text`, None where it is not kept.
        """
        found = [each for each in self._kept if each[0] > number][-most:]
        if not transcripts:
            return [_line(*each) for each in found]
        return [_line(*each) | {"text": self._texts.get(each[0])} for each in found]

    def _keep(self, event: RequestEnded) -> None:
        number = self._last = max(self._last + 1, self._ticks())
        if len(self._kept) == REQUESTS:
            self._forget(self._kept[0][0])
        if event.text is not None:
            self._texts[number] = event.text
            self._characters += len(event.text)
            while self._characters > CHARACTERS:
                self._forget(next(iter(self._texts)))
            event = replace(event, text=None)
        self._kept.append((number, self._clock(), event))

    def _forget(self, number: int) -> None:
        self._characters -= len(self._texts.pop(number, ""))


def common_ticks() -> int:
    """Microseconds that all processes of a machine count alike, and that never go back."""
    return time.monotonic_ns() // 1000


def _none() -> int:
    return 0


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
