"""A second attempt beside a slow first."""

from __future__ import annotations

import asyncio

import pytest

from asrproxy.config.models import HedgeSettings
from asrproxy.events import Hedged
from asrproxy.plugin import Refused, Unavailable
from tests.policy.policy_world import Heard, Vendor, context, outcome, policy, route, speech, stack, virtual_time

ONCE = policy(retries={"attempts": 1})
AFTER = HedgeSettings(after=2.0, budget=1.0)


def hedged(*vendors: Vendor, hedge: HedgeSettings = AFTER, heard: Heard | None = None):  # type: ignore[no-untyped-def]
    return route(*(stack(each, ONCE, name=name) for name, each in zip("abc", vendors, strict=False)), hedge=hedge, observer=heard)


@virtual_time
async def test_a_slow_first_gets_company_and_the_first_good_answer_wins() -> None:
    slow, quick, heard = Vendor(takes=10), Vendor(takes=1, text="second"), Heard()
    told = context()

    recognition = await hedged(slow, quick, heard=heard).call(speech(), told)

    assert (recognition.text, recognition.provider) == ("second", "b")
    assert asyncio.get_running_loop().time() == pytest.approx(1003)
    assert (slow.cancelled, slow.in_flight) == (1, 0)
    assert heard.of(Hedged) == [Hedged("r", "default", won=True)]
    assert [(record.provider, record.outcome) for record in told.trail.records] == [("b", "ok"), ("a", "cancelled")]


@virtual_time
async def test_a_first_that_answers_after_all_wins_and_the_second_is_cancelled() -> None:
    slow, second, heard = Vendor(takes=3), Vendor(takes=5), Heard()
    assert (await hedged(slow, second, heard=heard).call(speech(), context())).provider == "a"
    assert (second.cancelled, second.in_flight) == (1, 0)
    assert heard.of(Hedged) == [Hedged("r", "default", won=False)]


@virtual_time
async def test_a_quick_first_stays_alone() -> None:
    quick, second = Vendor(takes=1.9), Vendor()
    await hedged(quick, second).call(speech(), context())
    assert second.calls == []


@virtual_time
async def test_a_provider_alone_is_asked_twice() -> None:
    vendor = Vendor(takes=3)
    assert await outcome(hedged(vendor).call(speech(), context())) == "text"
    assert vendor.calls == [1000, 1002]
    assert vendor.cancelled == 1


@virtual_time
async def test_a_failed_second_leaves_it_to_the_first() -> None:
    slow, failing = Vendor(takes=5), Vendor(errors=[Unavailable("down")])
    assert (await hedged(slow, failing).call(speech(), context())).provider == "a"


@virtual_time
async def test_a_first_that_fails_leaves_it_to_the_second() -> None:
    failing, second = Vendor(takes=3, errors=[Unavailable("down")]), Vendor(takes=4, text="second")
    assert await outcome(hedged(failing, second).call(speech(), context())) == "second"
    assert asyncio.get_running_loop().time() == pytest.approx(1006)


@virtual_time
async def test_both_failing_is_the_firsts_error_and_the_third_is_asked_but_not_the_second_again() -> None:
    first, second = Vendor(takes=3, errors=[Unavailable("down")]), Vendor(takes=2, errors=[Refused("key")])
    assert isinstance(await outcome(hedged(first, second).call(speech(), context())), Unavailable)

    first, second = Vendor(takes=3, errors=[Unavailable("down")]), Vendor(takes=2, errors=[Refused("key")])
    third = Vendor(text="third")
    assert await outcome(hedged(first, second, third).call(speech(), context())) == "third"
    assert len(second.calls) == 1


@virtual_time
async def test_an_early_failure_of_the_first_moves_on_without_waiting() -> None:
    first, second = Vendor(errors=[Unavailable("down")]), Vendor(text="second")
    assert await outcome(hedged(first, second).call(speech(), context())) == "second"
    assert asyncio.get_running_loop().time() == pytest.approx(1000.2)


@virtual_time
async def test_the_budget_bounds_second_attempts() -> None:
    slow, second = Vendor(takes=3), Vendor(takes=9)
    tried = hedged(slow, second, hedge=HedgeSettings(after=0.5, budget=0.05))
    for _ in range(10):
        await asyncio.gather(*(tried.call(speech(), context()) for _ in range(20)))
    assert 1 <= len(second.calls) <= 20


@virtual_time
async def test_p95_is_learnt_from_calls_of_about_that_length() -> None:
    vendor, second = Vendor(), Vendor(takes=10)
    tried = hedged(vendor, second, hedge=HedgeSettings(after="p95", budget=1.0))
    for number in range(100):
        vendor.takes = 0.01 * (number + 1)
        await tried.call(speech(2), context())
    before = len(second.calls)
    vendor.takes = 5
    begun = asyncio.get_running_loop().time()

    await tried.call(speech(2), context())

    assert len(second.calls) == before + 1
    assert second.calls[-1] - begun == pytest.approx(0.95, abs=0.05)
    await tried.call(speech(50), context())  # nothing is known about these yet
    assert len(second.calls) == before + 1


@virtual_time
async def test_a_caller_who_leaves_ends_both() -> None:
    first, second = Vendor(takes=100), Vendor(takes=100)
    call = asyncio.ensure_future(hedged(first, second).call(speech(), context()))
    await asyncio.sleep(5)
    assert (first.in_flight, second.in_flight) == (1, 1)
    call.cancel()
    await asyncio.wait([call])
    assert (first.in_flight, second.in_flight) == (0, 0)
    assert (first.cancelled, second.cancelled) == (1, 1)
