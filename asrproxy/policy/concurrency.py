"""How many calls are under way at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from asrproxy.plugin import Throttled

CUT: Final = 0.7
"""What a refusal leaves of the limit."""


class Limit(Protocol):
    """How many calls may be under way, and what it learns from those that ended."""

    @property
    def value(self) -> float: ...

    def ended(self, *, began: float, now: float, audio_seconds: float, in_flight: int, error: BaseException | None) -> None:
        """A call ended. began, now: moments. in_flight: calls under way, this one among them."""

    def status(self) -> Mapping[str, object]:
        """What it knows, for people: JSON values."""


class Concurrency:
    """Counts the calls under way against a limit. Decides, never waits."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """Calls under way at most, at least 1."""
        return max(1, int(self._limit.value))

    def status(self) -> Mapping[str, object]:
        """Where the limit comes from, for people: JSON values."""
        return self._limit.status()

    def room(self) -> bool:
        """Whether one more call may start. Changes nothing."""
        return self.in_flight < self.limit

    def take(self) -> None:
        """One call more."""
        self.in_flight += 1

    def give_back(self) -> None:
        """The call was not made."""
        self.in_flight -= 1

    def ended(self, *, began: float, now: float, audio_seconds: float, error: BaseException | None) -> None:
        """One call less, and how it went."""
        self._limit.ended(began=began, now=now, audio_seconds=audio_seconds, in_flight=self.in_flight, error=error)
        self.in_flight -= 1


class FixedLimit:
    """`ceiling` calls, fewer for a while after the vendor said that it has too many.

    Additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP does it: a refusal takes the limit down to 0.7 of what was
    under way, calls that had begun before that do not take it down again, and each answer gives `1 / limit` back.
    """

    def __init__(self, ceiling: int) -> None:
        self._ceiling = float(ceiling)
        self._cut_at = float("-inf")
        self.value = float(ceiling)

    def ended(self, *, began: float, now: float, audio_seconds: float, in_flight: int, error: BaseException | None) -> None:
        """Learns from an answer or a refusal; other errors say nothing about how much the vendor bears."""
        if isinstance(error, Throttled):
            if began >= self._cut_at:
                self.value = max(1.0, min(self.value, in_flight) * CUT)
                self._cut_at = now
        elif error is None and self.value < self._ceiling:
            self.value = min(self._ceiling, self.value + 1.0 / self.value)

    def status(self) -> Mapping[str, object]:
        """The configured number, which refusals take the limit below."""
        return {"kind": "fixed", "ceiling": int(self._ceiling)}
