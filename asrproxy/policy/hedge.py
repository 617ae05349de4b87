"""A slow call gets company."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from asrproxy.config.models import HedgeSettings
from asrproxy.events import Hedged
from asrproxy.plugin import Call, Context, Observer, Recognition, Utterance
from asrproxy.policy.budget import Budget
from asrproxy.policy.lengths import length_class

REMEMBERED: Final = 200
"""Latencies of each length class that a quantile is taken from."""
ENOUGH: Final = 20
"""Fewer say nothing about a tail."""
QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class Hedge:
    """Starts `second` when `first` has not answered after a while; the first good answer wins, the other is cancelled and awaited.

    Dean and Barroso, The Tail at Scale, 2013. When both fail the error is the first's. The while is fixed, or a quantile of the latencies
    of recent utterances of about that length. budget: second attempts as a share of recent calls. route: its name, for announcements.
    """

    def __init__(self, *, route: str, settings: HedgeSettings, budget: Budget, observer: Observer) -> None:
        self._route, self._budget, self._observer = route, budget, observer
        self._fixed = None if isinstance(settings.after, str) else settings.after
        self._quantile = QUANTILES[settings.after] if isinstance(settings.after, str) else 1.0
        self._latencies: dict[int, Latencies] = {}
        self._started = self._won = 0

    def __call__(self, first: Call, second: Call) -> Call:
        async def hedged(utterance: Utterance, context: Context) -> Recognition:
            time = asyncio.get_running_loop().time
            began = time()
            latencies = self._latencies.setdefault(length_class(utterance.duration), Latencies())
            self._budget.deposit(began)
            tasks = [asyncio.ensure_future(first(utterance, context))]
            try:
                await asyncio.wait(tasks, timeout=self._after(latencies))
                if not tasks[0].done() and self._budget.withdraw(time()):
                    tasks.append(asyncio.ensure_future(second(utterance, context)))
                    self._started += 1
                winner = await _first_good(tasks)
                if winner.exception() is None:
                    # Cut short by a quicker second, the first counts for the time that it had: else the tail would seem to shorten.
                    latencies.add(time() - began)
                if len(tasks) > 1:
                    self._won += winner is tasks[1]
                    self._observer(Hedged(context.request_id, self._route, winner is tasks[1], context.trace))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            return winner.result()

        return hedged

    def status(self) -> Mapping[str, object]:
        """For people, JSON values. after: seconds after which a second attempt starts, for a quantile by the length that the utterances are
        shorter than (null: too few answers to say).
        """
        after: object = self._fixed
        if self._fixed is None:
            after = {f"{2**kind}s": each.quantile(self._quantile) for kind, each in sorted(self._latencies.items())}
        now = asyncio.get_running_loop().time()
        return {"after": after, "started": self._started, "won": self._won, "budget": {"left": round(self._budget.left(now), 1)}}

    def _after(self, latencies: Latencies) -> float | None:
        """Seconds to wait for the first, None: no second."""
        return latencies.quantile(self._quantile) if self._fixed is None else self._fixed


class Latencies:
    """The last latencies, kept in order as well, so that a quantile is a look-up."""

    def __init__(self) -> None:
        self._last: deque[float] = deque()
        self._ordered: list[float] = []

    def add(self, seconds: float) -> None:
        """One more; the oldest goes when there are enough."""
        self._last.append(seconds)
        insort(self._ordered, seconds)
        if len(self._last) > REMEMBERED:
            self._ordered.remove(self._last.popleft())

    def quantile(self, share: float) -> float | None:
        """The seconds within which `share` of them were, None: too few to say."""
        return self._ordered[int(share * (len(self._ordered) - 1))] if len(self._ordered) >= ENOUGH else None


async def _first_good(tasks: Sequence[asyncio.Future[Recognition]]) -> asyncio.Future[Recognition]:
    """The first that ends well, or the first of the list when all have failed."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:  # in order, so that the first wins a tie
            if task in done and not task.cancelled() and task.exception() is None:
                return task
    return tasks[0]
