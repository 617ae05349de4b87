"""How long each provider took lately: a listener on the core's events, for a person who looks at the status."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from asrproxy.events import AttemptEnded, Event

CALLS: Final = 256
"""Calls of a provider that are looked back on: enough for a 95th percentile, and a few kilobytes."""


class Latency:
    """The last calls to each provider; an Observer."""

    def __init__(self) -> None:
        self._calls: dict[str, deque[tuple[float, bool]]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            calls = self._calls.get(event.provider)
            if calls is None:
                calls = self._calls[event.provider] = deque(maxlen=CALLS)
            calls.append((event.seconds, event.error is None))

    def status(self, provider: str) -> dict[str, Any]:
        """JSON values: how many of the last calls there were and how many of them failed; seconds of those that did not."""
        calls = self._calls.get(provider, ())
        seconds = sorted(took for took, answered in calls if answered)
        quantiles = {
            name: round(_at(seconds, share), 4) if seconds else None for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
        }
        return {"calls": len(calls), "failed": len(calls) - len(seconds), **quantiles}


def _at(ordered: list[float], share: float) -> float:
    """The nearest rank."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
