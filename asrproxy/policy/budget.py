"""How many repeats are allowed: a share of recent calls."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 10
"""Seconds that count as recent (Finagle's default)."""


class Budget:
    """Repeats at most `share` of the calls of the last ten seconds, or `reserve` where those are few.

    As Finagle's RetryBudget: each call pays in, each repeat takes out, and what is not used is forgotten. One thing is added: a repeat
    that brings an answer is paid back. So the share bounds the repeats that do not help. In an outage none does and the vendor sees at most
    `1 + share` times the calls; where one call in five fails by chance, four repeats in five help and nearly all are allowed.

    share: 0 allows none, the reserve neither. reserve: repeats in any ten seconds that need no calls to pay for them.
    """

    def __init__(self, *, share: float, reserve: float) -> None:
        self._share = share
        self._reserve = reserve if share > 0 else 0.0
        self._paid = [0] * WINDOW
        self._spent = [0] * WINDOW
        self._calls = 0
        self._repeats = 0
        self._second = 0

    def deposit(self, now: float) -> None:
        """A call was made. now: seconds on a clock that never goes back."""
        self._paid[self._place(now)] += 1
        self._calls += 1

    def withdraw(self, now: float) -> bool:
        """Takes the right to one repeat, if there is one."""
        place = self._place(now)
        if self._repeats + 1 > self._allowed():
            return False
        self._spent[place] += 1
        self._repeats += 1
        return True

    def pay_back(self, taken: float, now: float) -> None:
        """A repeat brought an answer, or was not made after all. taken: when its right was; long ago, it is forgotten already.

        It is given back in the second in which it was taken: in any other, the two would be forgotten at different times.
        """
        self._place(now)
        second = int(taken)
        if second > self._second - WINDOW and self._spent[second % WINDOW] > 0:
            self._spent[second % WINDOW] -= 1
            self._repeats -= 1

    def left(self, now: float) -> float:
        """How many repeats could be made now."""
        self._place(now)
        return max(0.0, self._allowed() - self._repeats)

    def _allowed(self) -> float:
        return max(self._reserve, self._share * self._calls)

    def _place(self, now: float) -> int:
        """The present second's place in the ring, after what is no longer recent was forgotten."""
        second = int(now)
        if second != self._second:
            for passed in range(max(self._second + 1, second - WINDOW + 1), second + 1):
                place = passed % WINDOW
                self._calls -= self._paid[place]
                self._repeats -= self._spent[place]
                self._paid[place] = self._spent[place] = 0
            self._second = second
        return second % WINDOW
