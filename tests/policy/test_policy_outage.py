"""Bad days, at full size on a virtual clock: chance failures are mended, an outage is not multiplied."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

import pytest

from asrproxy.events import CircuitChanged, RetryRefused
from asrproxy.plugin import CircuitOpen, Recognition, Throttled, Unavailable
from asrproxy.policy.circuit import Circuit
from tests.policy.policy_world import Heard, Vendor, context, outcome, policy, route, speech, stack, virtual_time

CALLS = 5_000


async def offered(call, *, count: int, rate: float) -> list[object]:  # type: ignore[no-untyped-def]
    """The outcomes of so many calls, evenly offered at `rate` a second."""
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.ensure_future(outcome(call(speech(), context()))))
        await asyncio.sleep(1 / rate)
    return await asyncio.gather(*tasks)


def by_chance(share: float, seed: int) -> Vendor:
    random = Random(seed)

    async def behaviour(*_: object) -> Recognition:
        await asyncio.sleep(random.uniform(0.1, 0.5))
        if random.random() < share:
            raise Unavailable("by chance")
        return Recognition("text")

    return Vendor(behaviour)


@pytest.mark.parametrize("rate", [20, 110])
def test_with_a_fifth_of_calls_failing_and_two_retries_ninety_nine_in_a_hundred_succeed(rate: float) -> None:
    # Three tries all fail for 8 in 1,000 calls, give or take 1.3 in runs of 5,000: three runs together, and that the policy adds none.
    good = 0
    for seed in range(3):

        @virtual_time
        async def story(seed: int) -> None:
            nonlocal good
            vendor, heard = by_chance(0.2, seed), Heard()
            answers = await offered(route(stack(vendor, seed=seed, observer=heard)).call, count=CALLS, rate=rate)  # the default policy
            good += answers.count("text")
            assert heard.of(RetryRefused) == heard.of(CircuitChanged) == []
            assert len(vendor.calls) < 1.3 * CALLS

        story(seed)
    assert good >= 0.99 * 3 * CALLS


@virtual_time
async def test_a_circuit_hardly_ever_opens_for_runs_of_failures_that_come_by_chance() -> None:
    """Five in a row come every few thousand calls where a fifth fails. Opening for them would cost a minute of answers each time."""
    random, heard = Random(1), Heard()
    circuit = Circuit(name="vendor", settings=policy().circuit, observer=heard)
    run = longest = 0

    async def fails(*_: object) -> Recognition:
        if run:
            raise Unavailable("by chance")
        return Recognition("text")

    guarded = circuit(fails)
    for _ in range(60 * CALLS):
        run = run + 1 if random.random() < 0.2 else 0
        longest = max(longest, run)
        with suppress(Unavailable):
            await guarded(speech(), context())
    assert longest >= 2 * policy().circuit.failures - 3
    assert heard.of(CircuitChanged) == []


@virtual_time
async def test_in_a_total_outage_the_vendor_sees_a_few_calls_and_then_only_trials() -> None:
    vendor = by_chance(1.0, 1)
    tried = stack(vendor)
    answers = await offered(tried.call, count=CALLS, rate=20)  # 250 s: four resets

    assert "text" not in answers
    assert sum(isinstance(answer, CircuitOpen) for answer in answers) > 0.97 * CALLS
    first_minute = [start for start in vendor.calls if start < 1060]
    assert len(first_minute) <= 25  # five failures, and what was under way by then
    assert len(vendor.calls) - len(first_minute) == 4  # one trial a reset


@virtual_time
async def test_before_the_circuit_opens_retries_add_a_fifth_at_most() -> None:
    vendor = by_chance(1.0, 1)
    keep_closed = policy(circuit={"failures": 10**9})
    await offered(stack(vendor, keep_closed).call, count=CALLS, rate=110)
    assert CALLS <= len(vendor.calls) <= 1.2 * CALLS


@virtual_time
async def test_after_an_outage_everybody_is_answered_within_one_reset() -> None:
    vendor = by_chance(1.0, 1)
    tried = stack(vendor)
    await offered(tried.call, count=200, rate=20)
    vendor.behaviour = None
    over = asyncio.get_running_loop().time()
    while await outcome(tried.call(speech(), context())) != "text":
        await asyncio.sleep(0.5)
    assert asyncio.get_running_loop().time() - over <= 61
    assert set(await offered(tried.call, count=200, rate=20)) == {"text"}


@virtual_time
async def test_an_outage_at_full_speed_after_a_good_hour_opens_it_soon() -> None:
    vendor = by_chance(0.0, 1)
    tried = stack(vendor)
    await offered(tried.call, count=500, rate=110)
    healthy = len(vendor.calls)
    vendor.behaviour = by_chance(1.0, 2).behaviour
    await offered(tried.call, count=500, rate=110)
    assert len(vendor.calls) - healthy < 100


@virtual_time
async def test_a_flood_of_too_many_requests_is_slowed_and_not_shut_out() -> None:
    async def bears_ten(*_: object) -> Recognition:
        if vendor.in_flight > 10:
            await asyncio.sleep(0.05)
            raise Throttled("429")
        await asyncio.sleep(0.3)
        return Recognition("text")

    vendor = Vendor(bears_ten)
    tried = stack(vendor, policy(retries={"attempts": 5}, limits={"queue_timeout": "30s", "rate": None}))
    answers = await offered(tried.call, count=1000, rate=25)
    assert answers.count("text") >= 950
    assert not any(isinstance(answer, CircuitOpen) for answer in answers)


@virtual_time
async def test_an_outage_of_the_first_provider_is_nobodys_outage_when_there_is_a_second() -> None:
    first, second = by_chance(1.0, 1), by_chance(0.05, 2)
    answers = await offered(route(stack(first, name="a"), stack(second, name="b")).call, count=2000, rate=50)
    assert answers.count("text") >= 0.999 * 2000
    assert len(first.calls) <= 60
