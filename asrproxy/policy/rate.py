"""How many calls may start in a second, evenly spaced."""

from __future__ import annotations

from typing import Final

SLACK: Final = 0.001
"""Seconds: the loop's clock moves in milliseconds under uvloop, so a permit due within one is due now. The account stays exact."""


class Rate:
    """The generic cell rate algorithm (GCRA, ITU-T I.371): one permit every `1 / rate` seconds, `burst` at once after quiet.

    It keeps one moment: when the calls so far would be over if they ran evenly spaced. Decides, never waits. rate: permits a second,
    infinity for no limit. burst: at least 1.
    """

    def __init__(self, *, rate: float, burst: int) -> None:
        self.interval: Final = 1.0 / rate
        self._ahead = (burst - 1) * self.interval
        self._until = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until there is a permit, 0: now. Changes nothing."""
        wait = self._until - self._ahead - now
        return wait if wait > SLACK else 0.0

    def take(self, now: float) -> None:
        """Takes the permit that `wait` promised."""
        self._until = max(self._until, now) + self.interval

    def give_back(self) -> None:
        """The call was not made."""
        self._until -= self.interval
