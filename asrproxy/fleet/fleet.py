"""What the sidecars of an account share, or the workers of one sidecar, opened."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Self

from asrproxy.figures import FleetFigures
from asrproxy.fleet.rate import ABSENT, ASK, HORIZON, LEAVE, SharedRate
from asrproxy.fleet.scripts import Away, Ground
from asrproxy.fleet.spending import SharedSpending, Spender
from asrproxy.fleet.token import SharedTokens
from asrproxy.plugin import Noted, Observer, TokenStore, ignore


class Fleet:
    """An async context manager. Its ground (Redis, or the supervisor of several workers) need not be there, now or later: what is shared
    then goes on with this sidecar's share.

    One task asks for all rates; no call waits for it longer than the ground's own timeout.
    """

    def __init__(self, ground: Ground, *, announce: Observer = ignore) -> None:
        self._ground: Final = ground
        self._scripts: Final = ground.scripts
        self._announce: Final = announce
        self._owner: Final = secrets.token_hex(8)
        self._rates: list[SharedRate] = []
        self._spendings: list[SharedSpending] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.tokens: Final[TokenStore] = SharedTokens(ground.scripts, prefix=ground.prefix, seal=ground.seal)
        self.away = False
        """Whether the last try found the ground away."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep(), name="fleet")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends the task and tells the others that there is one sidecar less. May be called twice."""
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        await asyncio.gather(*(each.aclose() for each in self._spendings), *self._ending)
        if not self.away:
            await asyncio.gather(*(self._leave(each.name) for each in self._rates))
        self._rates.clear()
        await self._scripts.aclose()

    def rate(self, name: str, *, rate: float, burst: int) -> SharedRate:
        """A part in the rate of that name; every sidecar of the fleet gives the same `rate` and `burst`. `drop` ends it."""
        shared = SharedRate(name, rate=rate, burst=burst, nudge=self._wake.set)
        if self.away:
            shared.lost(asyncio.get_running_loop().time(), jitter=random.random())
        self._rates.append(shared)
        self._wake.set()
        return shared

    def drop(self, rate: SharedRate) -> None:
        """The rate is not used any more."""
        if rate in self._rates:
            self._rates.remove(rate)

    def figures(self) -> FleetFigures:
        """What is shared now."""
        return FleetFigures(not self.away, {each.name: each.sidecars for each in self._rates})

    def spend(self, spender: Spender) -> None:
        """A part in what a route's budget is spent on. `spend_no_more` ends it."""
        self._spendings.append(SharedSpending(spender, self._scripts, prefix=self._ground.prefix, owner=self._owner))

    async def settle(self) -> None:
        """Tells what was spent and asks what all have spent, now."""
        await asyncio.gather(*(each.ask() for each in self._spendings))

    def spend_no_more(self, spender: Spender) -> None:
        """The route has no budget any more."""
        for each in [each for each in self._spendings if each.spender is spender]:
            self._spendings.remove(each)
            ending = asyncio.create_task(each.aclose())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    def status(self) -> Mapping[str, object]:
        """JSON values, no secrets."""
        return {
            self._ground.name: "away" if self.away else "here",
            "rates": {each.name: {"sidecars": each.sidecars, "local": each.local, "warned": each.warnings} for each in self._rates},
        }

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            now = loop.time()
            trips = {each: each.next_trip(now) for each in self._rates}
            if due := [rate for rate, when in trips.items() if when <= now]:
                await asyncio.gather(*(self._ask(each) for each in due))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(trips.values(), default=None)):
                    await self._wake.wait()

    async def _ask(self, rate: SharedRate) -> None:
        loop = asyncio.get_running_loop()
        ask = rate.ask(loop.time())
        try:
            answer = await self._scripts.run(
                ASK,
                self._keys(rate.name),
                self._owner,
                rate.spacing * 1e6,
                HORIZON * 1e6,
                ABSENT * 1e6,
                ask.wanted,
                ask.least,
                math.ceil(ask.opened * 1000),
            )
            count, delay, sidecars, warning = (int(each) for each in answer)
        except Away as error:
            self._lost(rate, str(error))
        except (TypeError, ValueError):
            self._lost(rate, "not an answer of the script")
        else:
            rate.granted(loop.time(), count=count, delay=delay / 1e6, sidecars=sidecars, warning=warning / 1e3)
            if self.away:
                self.away = False
                self._announce(Noted("info", f"{self._ground.name} is back: the limits are shared again", {"sidecars": sidecars}))

    def _lost(self, rate: SharedRate, reason: str) -> None:
        rate.lost(asyncio.get_running_loop().time(), jitter=random.random())
        if not self.away:
            self.away = True
            details: dict[str, object] = {"reason": reason, "sidecars": rate.sidecars}
            self._announce(Noted("warning", f"{self._ground.name} is away: on with this sidecar's share of the limits", details))

    async def _leave(self, name: str) -> None:
        with suppress(Away):
            await self._scripts.run(LEAVE, self._keys(name)[1:2], self._owner)

    def _keys(self, name: str) -> list[str]:
        # The braces keep all three on one node of a Redis cluster.
        base = f"{self._ground.prefix}:rate:{{{name}}}"
        return [base, f"{base}:sidecars", f"{base}:open"]
