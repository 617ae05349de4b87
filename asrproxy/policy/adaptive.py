"""`limits.concurrency: auto`: how many calls the vendor bears is found out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from asrproxy.events import LimitChanged
from asrproxy.plugin import AttemptTimeout, Observer, Throttled
from asrproxy.policy.lengths import length_class

START: Final = 20.0
CEILING: Final = 1000.0
"""Beyond this a sidecar is at its own end."""
CUT: Final = 0.7
"""What a refusal leaves of the limit."""
BUFFER: Final = 1.25
"""Latency may be this many times the calm one before it counts (Envoy's `min_rtt_calc_params.buffer` is 1.25 by default)."""
INTERVAL: Final = 60.0
"""Seconds between looks at the calm latency (Envoy's `interval`)."""
SAMPLES: Final = 10
"""Answers at least before anything is concluded."""
LEARNING: Final = 0.2
"""Weight of the newest answer in the calm latency."""


class GradientLimit:
    """A limit that follows the vendor's latency and refusals.

    Envoy's gradient controller (its adaptive concurrency filter; Netflix's concurrency-limits before it): `limit = gradient * limit +
    sqrt(limit)` once a round trip, where the gradient is the calm latency over the present one. The calm latency is measured every minute
    by holding the limit at half for one round of answers: a baseline taken under load would grow with the load. Ours: a call is compared
    with calls of about its length, since a vendor hears a minute of speech longer than a second; and a refusal or an attempt timeout
    cuts the limit as in TCP, after which it grows by one a round until the next measurement.

    ceiling: never above this. provider: for the announcement.
    """

    def __init__(self, *, provider: str, ceiling: float = CEILING, observer: Observer) -> None:
        self._provider, self._ceiling, self._observer = provider, ceiling, observer
        self._limit = min(START, ceiling)
        self._calm: dict[int, float] = {}
        self._cut_at = float("-inf")
        self._refused = False
        self._measured_at: float | None = None
        self._measuring_since: float | None = float("-inf")
        self._count, self._ratios, self._busiest = 0, 0.0, 0

    @property
    def value(self) -> float:
        """Half of the limit while the calm latency is being measured."""
        return self._limit if self._measuring_since is None else max(1.0, self._limit / 2)

    def status(self) -> Mapping[str, object]:
        """calm: seconds of an answer without load, by the length that the utterances are shorter than."""
        return {
            "kind": "auto",
            "ceiling": int(self._ceiling),
            "measuring": self._measuring_since is not None,
            "calm": {f"{2**kind}s": round(seconds, 3) for kind, seconds in sorted(self._calm.items())},
        }

    def ended(self, *, began: float, now: float, audio_seconds: float, in_flight: int, error: BaseException | None) -> None:
        """Learns from a call. Errors other than refusals and timeouts say nothing about how much the vendor bears."""
        if isinstance(error, Throttled | AttemptTimeout):
            self._refusal(began, now, in_flight)
        elif error is None:
            self._answer(began, now, length_class(audio_seconds), in_flight)

    def _refusal(self, began: float, now: float, in_flight: int) -> None:
        if began < self._cut_at:  # it was sent before the last cut could help
            return
        self._cut_at = now
        self._refused = True
        self._move(min(self._limit, in_flight) * CUT, "throttled")
        self._round()

    def _answer(self, began: float, now: float, kind: int, in_flight: int) -> None:
        seconds = max(now - began, 1e-6)
        calm = self._calm.setdefault(kind, seconds)
        if self._measuring_since is not None:
            self._measure(began, now, kind, seconds)
            return
        if self._measured_at is not None and now - self._measured_at > INTERVAL:
            self._measuring_since = now
            self._round()
            return
        self._count += 1
        self._ratios += seconds / calm
        self._busiest = max(self._busiest, in_flight)
        if self._count >= max(SAMPLES, self._limit):
            self._adjust()
            self._round()

    def _measure(self, began: float, now: float, kind: int, seconds: float) -> None:
        if self._measuring_since is None or began < self._measuring_since:
            return
        self._calm[kind] += (seconds - self._calm[kind]) * LEARNING
        self._count += 1
        if self._count >= max(SAMPLES, self._limit / 2):
            self._measuring_since, self._measured_at = None, now
            self._refused = False
            self._round()

    def _adjust(self) -> None:
        gradient = min(2.0, max(0.5, BUFFER * self._count / self._ratios))
        if gradient < 1.0:
            self._move(self._limit * gradient + math.sqrt(self._limit), "latency")
        elif self._busiest >= self._limit / 2:  # a limit that nobody needs does not grow
            self._move(self._limit + (1.0 if self._refused else math.sqrt(self._limit)), "probe")

    def _move(self, limit: float, reason: str) -> None:
        before, self._limit = self._limit, min(self._ceiling, max(1.0, limit))
        if int(before) != int(self._limit):
            self._observer(LimitChanged(self._provider, int(self._limit), reason))

    def _round(self) -> None:
        self._count, self._ratios, self._busiest = 0, 0.0, 0
