"""What all sidecars of a fleet have spent, told and asked once in a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from asrproxy.fleet.scripts import Away, Scripts

PAUSE: Final = 1.0
"""Seconds between two round trips of a route that spends: so late the others know of it."""
BEAT: Final = 5.0
"""Seconds between two of one that does not."""
ABSENT: Final = 3 * BEAT
"""A sidecar silent for this long is not counted any more."""

ASK: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[2]) / 1000))
local totals = {redis.call('ZCARD', KEYS[1])}
for place = 2, #KEYS do
  local own, base, left = ARGV[3 * place - 3], ARGV[3 * place - 2], ARGV[3 * place - 1]
  local before = tonumber(redis.call('HGET', KEYS[place], ARGV[1]) or '0')
  local total = tonumber(redis.call('HGET', KEYS[place], 'total') or base) + tonumber(own) - before
  redis.call('HSET', KEYS[place], 'total', string.format('%.17g', total), ARGV[1], own)
  redis.call('PEXPIRE', KEYS[place], left)
  totals[place] = string.format('%.17g', total)
end
return totals
"""
"""KEYS: the sidecars by their last sign of life; then one for each period. ARGV: who asks; microseconds after which a sidecar is absent;
then for each period what it has spent itself, what it takes for spent where nobody has said anything yet, milliseconds until it ends.

Each says what it has spent in all and not what came to it, so an answer that was lost costs nothing. Returns how many sidecars there are
and the total of each period.
"""


class Spender(Protocol):
    """A route with a budget: policy/spending.py's."""

    nudge: Callable[[], None] | None

    @property
    def route(self) -> str: ...
    @property
    def currency(self) -> str: ...
    def own(self) -> Sequence[tuple[str, float, float, float]]: ...
    def heard(self, totals: Sequence[tuple[str, float, float]], sidecars: int) -> None: ...
    def lost(self) -> None: ...


class SharedSpending:
    """Keeps one route's spending up to date with the fleet's, in a task that `aclose` ends after a last round trip."""

    def __init__(self, spender: Spender, scripts: Scripts, *, prefix: str, owner: str) -> None:
        self.spender: Final = spender
        self._scripts, self._owner = scripts, owner
        # The braces keep all keys on one node of a Redis cluster.
        self._base = f"{prefix}:spent:{{{spender.route}}}:{spender.currency}"
        self._wake = asyncio.Event()
        spender.nudge = self._wake.set
        self._task = asyncio.create_task(self._keep(), name="fleet-spending")

    async def aclose(self) -> None:
        self.spender.nudge = None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.ask()

    async def _keep(self) -> None:
        while True:
            self._wake.clear()
            await self.ask()
            await asyncio.sleep(PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT - PAUSE):
                    await self._wake.wait()

    async def ask(self) -> None:
        """One round trip."""
        own = tuple(self.spender.own())
        keys = [f"{self._base}:sidecars", *(f"{self._base}:{period}" for period, *_ in own)]
        arguments: list[str | bytes | int | float] = [self._owner, int(ABSENT * 1e6)]
        for _, spent, base, left in own:
            arguments += [repr(spent), repr(base), max(1, int(left * 1000))]
        try:
            sidecars, *totals = await self._scripts.run(ASK, keys, *arguments)
            told = [(period, spent, float(total)) for (period, spent, *_), total in zip(own, totals, strict=True)]
            self.spender.heard(told, int(sidecars))
        except (Away, TypeError, ValueError):
            self.spender.lost()
