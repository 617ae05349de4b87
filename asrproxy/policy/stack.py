"""The layers in order, from the configuration: round each provider, and over the providers of a route."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from random import Random
from typing import Final

from asrproxy.config.models import HedgeSettings, LimitSettings, PolicySettings, PriceSettings
from asrproxy.events import FailedOver
from asrproxy.figures import PolicyFigures
from asrproxy.plugin import (
    AsrError,
    AudioFormat,
    Call,
    Capabilities,
    Context,
    Health,
    Observer,
    Options,
    Provider,
    Sentence,
    StreamEvent,
    Utterance,
)
from asrproxy.policy.adaptive import CEILING, GradientLimit
from asrproxy.policy.admission import Admission, Rated
from asrproxy.policy.budget import Budget
from asrproxy.policy.circuit import Circuit
from asrproxy.policy.concurrency import Concurrency, FixedLimit, Limit
from asrproxy.policy.deadline import Deadline
from asrproxy.policy.failover import Failover, missing
from asrproxy.policy.fit import Fit
from asrproxy.policy.hedge import Hedge
from asrproxy.policy.rate import Rate
from asrproxy.policy.record import Record
from asrproxy.policy.retry import Retry
from asrproxy.policy.shadow import Shadow
from asrproxy.policy.spending import Member, Metered, Spending
from asrproxy.policy.split import Split

RETRY_RESERVE: Final = 10
"""Retries in ten seconds that a quiet provider may make whatever its budget's share comes to."""
HEDGE_RESERVE: Final = 1


class ProviderStack:
    """A provider with its policy.

    provider: started, or about to be; it stays its owner's to close. convert: takes an utterance to another format. sleep: waits for
    seconds. rate: takes the place of the policy's own, for one that is shared; its owner's to close. price: what the vendor charges. All
    time is the running loop's.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        policy: PolicySettings,
        *,
        observer: Observer,
        convert: Callable[[Utterance, AudioFormat], Awaitable[Utterance]],
        random: Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rate: Rated | None = None,
        price: PriceSettings | None = None,
    ) -> None:
        self.name: Final = name
        self.capabilities: Final = provider.capabilities
        self.currency: Final = price.currency if price is not None and price.asks else None
        """What calls of it cost, None: nothing is known to be charged for them."""
        self.attempt_timeout: Final = policy.attempt_timeout
        self._provider = provider
        self._circuit = circuit = Circuit(name=name, settings=policy.circuit, observer=observer)
        self._budget = Budget(share=policy.retries.budget, reserve=RETRY_RESERVE)
        limits = policy.limits
        self._rate: Rated = rate or Rate(rate=limits.rate or math.inf, burst=limits.burst)
        self._concurrency = Concurrency(_limit(name, limits, provider.capabilities.concurrency, observer))
        self._admission = Admission(provider=name, settings=limits, rate=self._rate, concurrency=self._concurrency, observer=observer)
        retry = Retry(
            provider=name, settings=policy.retries, budget=self._budget, observer=observer, random=random, shut=self._shut, sleep=sleep
        )
        self._record = record = Record(provider=name, price=price, observer=observer)
        layers: tuple[Callable[[Call], Call], ...] = (  # outermost first
            circuit.shed,  # before anything is spent: an open circuit costs a caller nothing, no conversion and no place in a queue
            Fit(formats=self.capabilities.formats, convert=convert),  # outside the retries: audio is converted once
            retry,  # outside the limits: each attempt needs a permit of its own, and a pause holds none
            self._admission,  # outside the attempt's timeout: waiting in our queue is not the vendor's slowness
            circuit,  # inside the queue: what waited while the circuit opened is not sent
            record,  # inside all that may refuse: a line for each call that was made, and for no other
            Deadline(provider=name, attempt_timeout=policy.attempt_timeout),  # innermost: its error is what the record and the circuit see
        )
        call: Call = provider.recognize
        for layer in reversed(layers):
            call = layer(call)
        self.call: Final = call

    async def stream(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> AsyncGenerator[StreamEvent, None]:
        """One live session of the provider: with a permit of the limits and past the circuit, as a call would be. Raises AsrError.

        It has shown that it works with its first event, or when it has been listening for an attempt's timeout.
        """
        async with self._admission.session(context):
            with self._circuit.session() as answered:
                timer = asyncio.get_running_loop().call_later(self.attempt_timeout, answered)
                try:
                    async with (
                        self._record.session(audio, format, context) as counted,
                        aclosing(self._provider.stream(counted, format, context)) as events,  # type: ignore[type-var]
                    ):
                        async for event in events:
                            answered()
                            yield replace(event, provider=self.name) if isinstance(event, Sentence) else event
                finally:
                    timer.cancel()

    def available(self) -> Health:
        """Whether a call made now would be sent: the provider says so and the circuit lets it through."""
        if (seconds := self._circuit.shut_for()) is not None:
            return Health(ready=False, reason=f"circuit {self._circuit.state}, tried again in {seconds:.1f} s")
        return self._provider.health()

    def figures(self) -> PolicyFigures:
        """The policy now."""
        now = asyncio.get_running_loop().time()
        return PolicyFigures(
            circuit=self._circuit.state,
            failures=self._circuit.failures,
            retry_after=self._circuit.shut_for(),
            in_flight=self._concurrency.in_flight,
            concurrency=self._concurrency.limit,
            rate=None if self._rate.interval == 0 else 1 / self._rate.interval,
            next_permit=self._rate.wait(now),
            queued=self._admission.waiting(),
            queue=self._admission.places,
            retries_left=self._budget.left(now),
        )

    def status(self) -> Mapping[str, object]:
        """For `/v1/status`: JSON values."""
        figures = self.figures()
        calls, failed = self._circuit.recent()
        return {
            "circuit": {
                "state": figures.circuit,
                "failures": figures.failures,
                "recent": {"calls": calls, "failed": failed},
                "warned": self._circuit.warned,
                "retry_after": None if figures.retry_after is None else round(figures.retry_after, 3),
            },
            "in_flight": figures.in_flight,
            "limiter": {
                "concurrency": figures.concurrency,
                "rate": None if figures.rate is None else round(figures.rate, 3),
                "next_permit": round(figures.next_permit, 3),
                "queued": figures.queued,
                "limit": self._concurrency.status(),
            },
            "retry_budget": {"left": round(figures.retries_left, 1)},
            "attempt_timeout": self.attempt_timeout,
        }

    def warn(self, seconds: float) -> None:
        """Another sidecar has found this vendor failing: for so long, the first failure here opens the circuit."""
        self._circuit.warn(seconds)

    async def aclose(self) -> None:
        """Ends what it set going. The provider is its owner's."""
        self._admission.close()

    def _shut(self) -> bool:
        return self._circuit.shut_for() is not None


class RouteStack:
    """A named order of providers, as one call.

    hedge: None, or when a slow first provider gets a second beside it. spending: None, or the budget that its priced providers share.
    split: None, or which provider a request begins at. shadow: None, or what sends copies of its calls to another provider.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Member],
        hedge: HedgeSettings | None,
        *,
        observer: Observer,
        random: Random,
        spending: Spending | None = None,
        split: Split | None = None,
        shadow: Shadow | None = None,
    ) -> None:
        self.name: Final = name
        self._split, self._shadow = split, shadow
        if spending is not None:  # round all of a provider's policy: what is not to be paid for needs no place in its queue
            members = [each if each.currency is None else Metered(each, spending, observer=observer) for each in members]
        self.members: Final = tuple(members)
        self._hedge, self._observer, self._random, self._spending = hedge, observer, random, spending
        self._parts: dict[tuple[Member, ...], RouteStack] = {}
        self._race = race = None
        if hedge is not None:
            self._race = race = Hedge(
                route=name, settings=hedge, budget=Budget(share=hedge.budget, reserve=HEDGE_RESERVE), observer=observer
            )
        order = None if split is None else split.ordered
        call: Call = Failover(route=name, members=members, observer=observer, race=race, order=order)
        self.call: Final = call if shadow is None else shadow(call)  # outside of all: what is copied is what the caller gets

    def only(self, members: Sequence[Member]) -> RouteStack:
        """The same route through some of its providers; the same one for the same providers."""
        chosen = tuple(members)
        if chosen == self.members:
            return self
        if chosen not in self._parts:
            self._parts[chosen] = RouteStack(
                self.name, chosen, self._hedge, observer=self._observer, random=self._random, split=self._split, shadow=self._shadow
            )
        return self._parts[chosen]

    def status(self) -> Mapping[str, object]:
        """For `/v1/status`: JSON values."""
        return {
            "providers": [member.name for member in self.members],
            "hedge": None if self._race is None else self._race.status(),
            "budget": None if self._spending is None else self._spending.status(),
            "split": None if self._split is None else self._split.status(),
            "shadow": None if self._shadow is None else self._shadow.status(),
        }

    def ordered(self, context: Context) -> Sequence[Member]:
        """Its providers as this request tries them."""
        return self.members if self._split is None else self._split.ordered(self.members, context)

    async def aclose(self) -> None:
        """Ends the copies that are under way."""
        if self._shadow is not None:
            await self._shadow.aclose()

    def moved_on(self, context: Context, before: str, after: str, error: AsrError) -> None:
        """Announces that a live session goes on at another provider."""
        self._observer(FailedOver(context.request_id, self.name, before, after, error, context.trace))

    @property
    def capabilities(self) -> Capabilities:
        """What the route can do for a request that asks for nothing special."""
        return self.capabilities_for(Options())

    def capabilities_for(self, options: Options) -> Capabilities:
        """What the providers that can honour the options can do between them.

        longest: the shortest of theirs, so that each can take over every segment of a recording. formats, whole: the first one's, since it
        gets nearly all calls; for the others audio is converted. The rest: what any of them has.
        """
        able = [member.capabilities for member in self.members if _honours(member.capabilities, options)]
        able = able or [member.capabilities for member in self.members]
        return Capabilities(
            longest=min(each.longest for each in able),
            formats=able[0].formats,
            languages=_union(able),
            options=frozenset[str]().union(*(each.options for each in able)),
            streaming=any(each.streaming for each in able),
            concurrency=_sum(able),
            whole=able[0].whole,
        )

    def unsupported(self, options: Options) -> str | None:
        """The parameter for which no provider can serve the request, None: one can.

        Where each parameter has a provider but no provider has them all, it is the first that the closest one lacks.
        """
        lacks = [_lacking(member.capabilities, options) for member in self.members]
        if not all(lacks):
            return None
        nobody_has = [name for name in lacks[0] if all(name in each for each in lacks)]
        return (nobody_has or min(lacks, key=len))[0]


def _limit(name: str, limits: LimitSettings, own: int | None, observer: Observer) -> Limit:
    """The concurrency limit; a provider's own bound lowers it."""
    if limits.concurrency == "auto":
        return GradientLimit(provider=name, ceiling=CEILING if own is None else float(own), observer=observer)
    return FixedLimit(limits.concurrency if own is None else min(own, limits.concurrency))


def _lacking(capabilities: Capabilities, options: Options) -> list[str]:
    lacking = [] if capabilities.speaks(options.language) else ["language"]
    return lacking + missing(capabilities, options)


def _honours(capabilities: Capabilities, options: Options) -> bool:
    return not _lacking(capabilities, options)


def _union(able: Sequence[Capabilities]) -> frozenset[str] | None:
    languages = frozenset[str]()
    for each in able:
        if each.languages is None:
            return None
        languages |= each.languages
    return languages


def _sum(able: Sequence[Capabilities]) -> int | None:
    bounds = [each.concurrency for each in able if each.concurrency is not None]
    return sum(bounds) if len(bounds) == len(able) else None
