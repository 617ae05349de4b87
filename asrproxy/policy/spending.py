"""What a route may cost in a day and in a month."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from asrproxy.config.models import BudgetSettings
from asrproxy.errors import BudgetSpent
from asrproxy.events import BudgetReached, BudgetRefused
from asrproxy.figures import BudgetFigures
from asrproxy.plugin import AudioFormat, Call, Capabilities, Context, Health, Observer, Recognition, StreamEvent, Utterance

DAY: Final = "day"
MONTH: Final = "month"


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent in a calendar period, as it is kept: `2025-01-31` or `2025-01`, and the amount."""

    period: str
    amount: float


@dataclass(slots=True)
class _Period:
    """A period that is not over.

    known: what all had spent, as last heard (or kept from before). own: what this process has spent; told: how much of that is in `known`.
    """

    name: str
    key: str
    ends: float
    known: float = 0.0
    own: float = 0.0
    told: float = 0.0
    announced: float = 0.0

    def spent(self, sidecars: int) -> float:
        return self.known + (self.own - self.told) * sidecars


class Spending:
    """A route's budget and what was spent of it.

    It decides and never waits: an amount is added when a call has ended, so what is under way when the budget is used up still ends, and
    is paid. Where several sidecars share it, the fleet tells what all have spent; while it cannot, each takes the others to spend as much
    as itself.

    kept: from before a restart. clock: Unix seconds; days and months are UTC's. nudge: called when there is something to tell.
    """

    def __init__(
        self,
        *,
        route: str,
        settings: BudgetSettings,
        currency: str,
        observer: Observer,
        kept: Sequence[Spent] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.route: Final = route
        self.currency: Final = currency
        self._settings = settings
        self.nudge: Callable[[], None] | None = None
        self._observer, self._clock = observer, clock
        self._sidecars = 1
        self._away = False
        self._kept = {each.period: each.amount for each in kept}
        self._periods = {name: self._begun(name, clock()) for name in (DAY, MONTH)}

    def take(self, settings: BudgetSettings) -> None:
        """A changed budget, for what was spent already too."""
        if settings != self._settings:
            self._settings = settings
            for period in self._now():
                period.announced = 0.0

    def add(self, amount: float) -> None:
        """A call has cost so much."""
        for period in self._now():
            period.own += amount
            self._announce(period)
        if self.nudge is not None:
            self.nudge()

    def refusal(self) -> tuple[str, float] | None:
        """The period that is used up and seconds until it is over, the longest of them; None: there is money left."""
        now = self._clock()
        used = [
            (period.name, max(1.0, period.ends - now))
            for period in self._now()
            if (limit := self._limit(period)) is not None and self._spent(period) >= limit
        ]
        return max(used, key=lambda each: each[1], default=None)

    def figures(self) -> tuple[BudgetFigures, ...]:
        """Of the periods that have a limit."""
        now = self._clock()
        return tuple(
            BudgetFigures(period.name, self._spent(period), limit, self.currency, period.ends - now)
            for period in self._now()
            if (limit := self._limit(period)) is not None
        )

    def status(self) -> Mapping[str, object]:
        """For `/v1/status`, by period: JSON values."""
        return {
            each.period: {"spent": round(each.spent, 9), "limit": each.limit, "currency": each.currency, "ends_in": round(each.ends, 1)}
            for each in self.figures()
        }

    def spent(self) -> tuple[Spent, ...]:
        """To be kept across a restart."""
        return tuple(Spent(period.key, self._spent(period)) for period in self._now())

    def own(self) -> tuple[tuple[str, float, float, float], ...]:
        """To be told to the fleet: each period's key, what this process spent in it, what was known at its start, seconds to its end."""
        now = self._clock()
        return tuple((period.key, period.own, self._kept.get(period.key, 0.0), period.ends - now) for period in self._now())

    def heard(self, totals: Sequence[tuple[str, float, float]], sidecars: int) -> None:
        """The fleet answered: each period's key, how much of this process' it knows, and what all have spent."""
        self._away, self._sidecars = False, max(1, sidecars)
        told = {key: (own, total) for key, own, total in totals}
        for period in self._now():
            if period.key in told:
                period.told, period.known = told[period.key]
                self._announce(period)

    def lost(self) -> None:
        """The fleet cannot be asked."""
        self._away = True

    def _spent(self, period: _Period) -> float:
        return period.spent(self._sidecars if self._away else 1)

    def _limit(self, period: _Period) -> float | None:
        return self._settings.day if period.name == DAY else self._settings.month

    def _announce(self, period: _Period) -> None:
        """Once when the warning's share is reached, once when all is used up."""
        if (limit := self._limit(period)) is None:
            return
        spent = self._spent(period)
        for share in (1.0, self._settings.warn):
            if spent >= share * limit and period.announced < share:
                period.announced = share
                self._observer(BudgetReached(self.route, period.name, share, spent, limit, self.currency))
                return

    def _now(self) -> tuple[_Period, _Period]:
        """The periods, new ones where they are over."""
        now = self._clock()
        for name, period in self._periods.items():
            if now >= period.ends:
                self._periods[name] = self._begun(name, now)
        return self._periods[DAY], self._periods[MONTH]

    def _begun(self, name: str, now: float) -> _Period:
        moment = datetime.fromtimestamp(now, UTC)
        start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        if name == DAY:
            key, end = start.strftime("%Y-%m-%d"), start + timedelta(days=1)
        else:
            start = start.replace(day=1)
            key, end = start.strftime("%Y-%m"), (start + timedelta(days=32)).replace(day=1)
        return _Period(name, key, end.timestamp(), known=self._kept.get(key, 0.0))


class Member(Protocol):
    """A provider with its policy. currency: what its calls cost, None: nothing."""

    @property
    def name(self) -> str: ...
    @property
    def call(self) -> Call: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def attempt_timeout(self) -> float: ...
    @property
    def currency(self) -> str | None: ...
    def available(self) -> Health: ...
    def stream(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> AsyncGenerator[StreamEvent, None]: ...


class Metered:
    """A priced provider as a route with a budget sees it: called while there is money left, else BudgetSpent.

    A route's other providers are not metered, so one that costs nothing goes on answering.
    """

    def __init__(self, member: Member, spending: Spending, *, observer: Observer) -> None:
        self._member, self._spending, self._observer = member, spending, observer
        self.name: Final = member.name
        self.capabilities: Final = member.capabilities
        self.attempt_timeout: Final = member.attempt_timeout
        self.currency: Final = member.currency

    async def call(self, utterance: Utterance, context: Context) -> Recognition:
        """Raises BudgetSpent, and what the provider raises."""
        self._check(context)
        return await self._member.call(utterance, context)

    async def stream(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> AsyncGenerator[StreamEvent, None]:
        """A session that has begun is not cut short. Raises BudgetSpent, and what the provider raises."""
        self._check(context)
        async with aclosing(self._member.stream(audio, format, context)) as events:
            async for event in events:
                yield event

    def available(self) -> Health:
        """Not while the budget is used up."""
        if (stop := self._spending.refusal()) is not None:
            return Health(ready=False, reason=f"the budget of the {stop[0]} is used up")
        return self._member.available()

    def _check(self, context: Context) -> None:
        if (stop := self._spending.refusal()) is None:
            return
        period, seconds = stop
        route = self._spending.route
        self._observer(BudgetRefused(context.request_id, route, self.name, period, context.trace))
        used = f"the budget of route {route!r} for this {period} is used up (routes.{route}.budget)"
        raise BudgetSpent(f"{used}; the next {period} begins in {seconds:.0f} s", retry_after=seconds, provider=self.name)
