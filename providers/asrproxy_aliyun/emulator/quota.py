"""What the account may do at once and per second; more is 40000005."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .codes import TOO_MANY_REQUESTS, NlsFailure


class Quota:
    """concurrency: calls under way. rate: calls a second, with one second's worth at once after quiet. None: no limit."""

    def __init__(self, concurrency: int | None, rate: float | None, clock: Callable[[], float]) -> None:
        self.concurrency = concurrency
        self._clock = clock
        self._under_way = 0
        self._level = 0.0
        self._drained = clock()
        self.rate = rate

    @contextmanager
    def call(self) -> Iterator[None]:
        """Counts as one call while it is open. Raises NlsFailure: 40000005."""
        if self.concurrency is not None and self._under_way >= self.concurrency:
            raise NlsFailure(TOO_MANY_REQUESTS)
        self._draw()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def _draw(self) -> None:
        if self.rate is None:
            return
        now = self._clock()
        level = max(0.0, self._level - (now - self._drained) * self.rate)
        if level + 1.0 > max(1.0, self.rate):
            raise NlsFailure(TOO_MANY_REQUESTS)
        self._level, self._drained = level + 1.0, now
