"""What is tried again, when, and when it is left."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asrproxy.events import RetryRefused, RetryScheduled
from asrproxy.plugin import (
    AttemptTimeout,
    Garbled,
    NotReady,
    Recognition,
    Refused,
    Rejected,
    Throttled,
    Truncated,
    Unavailable,
    Unreachable,
    UnsupportedParameter,
)
from asrproxy.policy.budget import WINDOW, Budget
from tests.policy.policy_world import Heard, Vendor, context, outcome, policy, route, speech, stack, virtual_time

DOWN = Unavailable("down")
CALM = {"failures": 10_000}


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (Unavailable("5xx"), 3),
        (Unreachable("reset"), 3),
        (AttemptTimeout("slow"), 3),
        (Garbled("html"), 3),
        (Throttled("429"), 3),
        (NotReady("loading"), 3),
        (Truncated("short", text="te"), 3),
        (Rejected("audio"), 1),
        (Refused("key"), 1),
        (UnsupportedParameter("words"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_the_error_says_is_tried_again(error: Exception, calls: int) -> None:
    @virtual_time
    async def story() -> None:
        vendor = Vendor(errors=[error] * 9)
        await outcome(stack(vendor).call(speech(), context()))
        assert len(vendor.calls) == calls

    story()


@virtual_time
async def test_a_good_second_attempt_is_the_answer_and_both_are_in_the_trail() -> None:
    vendor, heard = Vendor(errors=[DOWN]), Heard()
    told = context()

    recognition = await stack(vendor, observer=heard).call(speech(), told)

    assert recognition == Recognition("text", provider="vendor")
    assert [(record.outcome, record.code) for record in told.trail.records] == [("failed", "unavailable"), ("ok", None)]
    assert [each.attempt for _, each in vendor.heard] == [1, 2]
    assert len(heard.of(RetryScheduled)) == 1


@virtual_time
async def test_pauses_are_drawn_between_nothing_and_a_ceiling_that_doubles() -> None:
    heard = Heard()
    keys = {"retries": {"attempts": 6, "budget": 10, "backoff": {"initial": 1, "factor": 2, "max": 4}}, "circuit": CALM}
    members = [stack(Vendor(errors=[DOWN] * 6), policy(**keys), observer=heard, seed=seed) for seed in range(200)]
    await asyncio.gather(*(outcome(each.call(speech(), context())) for each in members))

    for attempt, ceiling in ((1, 1), (2, 2), (3, 4), (4, 4), (5, 4)):
        pauses = [event.pause for event in heard.of(RetryScheduled) if event.attempt == attempt]
        assert len(pauses) == 200
        assert 0 <= min(pauses) < 0.1 * ceiling
        assert 0.9 * ceiling < max(pauses) <= ceiling
        assert sum(pauses) / 200 == pytest.approx(ceiling / 2, rel=0.15)


@virtual_time
async def test_the_vendors_own_time_is_waited_for_at_least() -> None:
    vendor = Vendor(errors=[Throttled("429", retry_after=3)] * 2)
    assert await outcome(stack(vendor).call(speech(), context())) == "text"
    assert all(later - earlier >= 3.1 for earlier, later in pairwise(vendor.calls))


@virtual_time
async def test_nothing_is_tried_again_when_its_answer_would_come_too_late() -> None:
    vendor, heard = Vendor(takes=2), Heard()
    tried = stack(vendor, policy(retries={"backoff": {"initial": 0}}), observer=heard)
    await tried.call(speech(), context())  # so that it is known how long an answer takes
    vendor.errors = [DOWN] * 9

    answer = await outcome(tried.call(speech(), context(timeout=3.9)))

    assert answer is DOWN  # not DeadlineExceeded: the caller hears what happened, and 1.9 s early
    assert len(vendor.calls) == 2
    assert [event.reason for event in heard.of(RetryRefused)] == ["deadline"]


@virtual_time
async def test_a_pause_longer_than_the_time_left_is_not_begun() -> None:
    vendor = Vendor(errors=[Throttled("429", retry_after=100)])
    answer = await outcome(stack(vendor).call(speech(), context(timeout=60)))
    assert isinstance(answer, Throttled)
    assert answer.retry_after == 100
    assert asyncio.get_running_loop().time() < 1001


@virtual_time
async def test_a_budget_of_nothing_allows_nothing() -> None:
    vendor = Vendor(errors=[DOWN])
    assert await outcome(stack(vendor, policy(retries={"budget": 0})).call(speech(), context())) is DOWN
    assert len(vendor.calls) == 1


@virtual_time
async def test_the_longest_text_of_truncated_attempts_is_the_answer_and_marked() -> None:
    errors = [Truncated("short", text="te"), Truncated("short", text="tex"), DOWN]
    recognition = await route(stack(Vendor(errors=errors))).call(speech(), context())
    assert recognition == Recognition("tex", provider="vendor", suspect=True)


@virtual_time
async def test_a_whole_text_after_a_truncated_one_is_taken() -> None:
    recognition = await route(stack(Vendor(errors=[Truncated("short", text="te")]))).call(speech(), context())
    assert recognition == Recognition("text", provider="vendor")


@virtual_time
async def test_no_pause_is_made_for_a_circuit_that_has_opened() -> None:
    vendor = Vendor(errors=[DOWN] * 9)
    tried = stack(vendor, policy(circuit={"failures": 1}, retries={"backoff": {"initial": 5, "jitter": "none"}}))
    assert await outcome(tried.call(speech(), context())) is DOWN
    assert asyncio.get_running_loop().time() < 1001


@example(
    share=1.0,
    reserve=0,
    steps=[("call", 1), ("repeat", 4), ("pay back", 4), ("call", 4), ("repeat", 1), ("repeat", 1)],
)
@given(
    share=st.floats(0, 2),
    reserve=st.integers(0, 20),
    steps=st.lists(st.tuples(st.sampled_from(["call", "repeat", "pay back"]), st.floats(0, 4)), max_size=300),
)
def test_in_any_ten_seconds_repeats_that_did_not_help_stay_within_the_share(
    share: float, reserve: int, steps: list[tuple[str, float]]
) -> None:
    budget, now = Budget(share=share, reserve=reserve), 100.0
    calls: list[float] = []
    unpaid: list[float] = []
    for step, passes in steps:
        now += passes
        recent = int(now) - WINDOW
        match step:
            case "call":
                budget.deposit(now)
                calls.append(now)
            case "repeat":
                granted = budget.withdraw(now)
                if granted:
                    unpaid.append(now)
                    paying = sum(int(each) > recent for each in calls)
                    assert share > 0
                    assert sum(int(each) > recent for each in unpaid) <= max(reserve, share * paying) + 1e-9
            case _ if unpaid and int(unpaid[-1]) > recent:
                budget.pay_back(unpaid.pop(), now)
        assert budget.left(now) >= 0
