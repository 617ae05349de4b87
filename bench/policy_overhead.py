"""CPU time that each layer of the policy adds to a successful call, and the whole stack with it.

    python bench/policy_overhead.py [calls]

The provider answers at once, so what is measured is the policy alone. Process CPU time, the best of several rounds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from random import Random

from rich.console import Console
from rich.table import Table

from asrproxy.config.models import HedgeSettings, PolicySettings
from asrproxy.plugin import AudioFormat, Call, Context, Host, Provider, ProviderSettings, Recognition, Utterance, ignore
from asrproxy.policy.admission import Admission
from asrproxy.policy.budget import Budget
from asrproxy.policy.circuit import Circuit
from asrproxy.policy.concurrency import Concurrency, FixedLimit
from asrproxy.policy.deadline import Deadline
from asrproxy.policy.failover import Failover
from asrproxy.policy.fit import Fit
from asrproxy.policy.rate import Rate
from asrproxy.policy.record import Record
from asrproxy.policy.retry import Retry
from asrproxy.policy.stack import ProviderStack, RouteStack

ROUNDS = 7
RATE = 1e9
"""The rate's arithmetic is done and never makes a call wait."""


class Instant(Provider):
    """Answers in the loop's next turn, as a real call does at the earliest: timers are set and cleared."""

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        await asyncio.sleep(0)
        return Recognition("text")


async def as_is(utterance: Utterance, target: AudioFormat) -> Utterance:
    return utterance


def microseconds(make: Callable[[], Call], calls: int) -> float:
    """CPU time of a call, the best of the rounds."""

    async def round_() -> float:
        call, utterance = make(), Utterance(bytes(96_000), AudioFormat(16_000))
        deadline = asyncio.get_running_loop().time() + 600
        began = time.process_time()
        for _ in range(calls):
            await call(utterance, Context(request_id="r", deadline=deadline))
        return (time.process_time() - began) / calls * 1e6

    return min(asyncio.run(round_()) for _ in range(ROUNDS))


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    policy = PolicySettings.model_validate({"limits": {"rate": RATE}})
    provider = Instant(ProviderSettings(), Host("instant"))

    def circuit() -> Circuit:
        return Circuit(name="instant", settings=policy.circuit, observer=ignore)

    def admission() -> Admission:
        limits = Concurrency(FixedLimit(200))
        return Admission(provider="instant", settings=policy.limits, rate=Rate(rate=RATE, burst=20), concurrency=limits, observer=ignore)

    def retry() -> Retry:
        budget = Budget(share=0.2, reserve=10)
        return Retry(provider="instant", settings=policy.retries, budget=budget, observer=ignore, random=Random(1), shut=lambda: False)

    def member(name: str) -> ProviderStack:
        return ProviderStack(name, provider, policy, observer=ignore, convert=as_is, random=Random(1))

    def routed(*names: str, hedge: HedgeSettings | None = None) -> Call:
        return RouteStack("default", [member(name) for name in names], hedge, observer=ignore, random=Random(1)).call

    alone: Call = provider.recognize
    bare = microseconds(lambda: alone, calls)
    table = Table("layer", "µs a call", title="CPU time that the policy adds to a call that succeeds")
    rows: list[tuple[str, Callable[[], Call]]] = [
        ("circuit, before the queue", lambda: circuit().shed(alone)),
        ("fit", lambda: Fit(formats=(AudioFormat(16_000),), convert=as_is)(alone)),
        ("retry", lambda: retry()(alone)),
        ("admission, rate and concurrency", lambda: admission()(alone)),
        ("circuit", lambda: circuit()(alone)),
        ("record", lambda: Record(provider="instant", price=None, observer=ignore)(alone)),
        ("deadline", lambda: Deadline(provider="instant", attempt_timeout=15.0)(alone)),
        ("failover, one provider", lambda: Failover(route="default", members=[_Bare(alone, provider)], observer=ignore)),
        ("a provider's whole stack", lambda: member("a").call),
        ("a route of one provider", lambda: routed("a")),
        ("a route of two providers", lambda: routed("a", "b")),
        ("a route of two with a hedge", lambda: routed("a", "b", hedge=HedgeSettings(after=3600.0))),
    ]
    for name, make in rows:
        if name.startswith("a provider"):
            table.add_section()
        table.add_row(name, f"{microseconds(make, calls) - bare:.1f}")
    Console().print(table)


class _Bare:
    """A member without a policy."""

    name = "a"
    attempt_timeout = 15.0

    def __init__(self, call: Call, provider: Provider) -> None:
        self.call, self.capabilities, self.available = call, provider.capabilities, provider.health


if __name__ == "__main__":
    main()
