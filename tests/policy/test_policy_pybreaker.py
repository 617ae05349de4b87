"""What pybreaker does with coroutines, measured, and what our guard makes of the same calls."""

from __future__ import annotations

import asyncio

import pybreaker
import pytest

from asrproxy.plugin import CircuitOpen, Unavailable
from tests.policy.policy_world import Vendor, context, outcome, policy, speech, stack, virtual_time

TASKS = 1_000


@virtual_time
async def test_pybreaker_alone_never_trips_on_a_decorated_coroutine() -> None:
    breaker = pybreaker.CircuitBreaker(fail_max=5)

    @breaker
    async def failing() -> None:
        raise ConnectionError

    for _ in range(5):
        with pytest.raises(ConnectionError):
            await failing()

    assert (breaker.current_state, breaker.fail_counter) == ("closed", 0)


@virtual_time
async def test_our_guard_trips_on_the_same() -> None:
    vendor = Vendor(errors=[Unavailable("down")] * 5)
    guarded = stack(vendor, policy(retries={"attempts": 1}))
    for _ in range(5):
        with pytest.raises(Unavailable):
            await guarded.call(speech(), context())

    with pytest.raises(CircuitOpen):
        await guarded.call(speech(), context())
    assert len(vendor.calls) == 5


@virtual_time
async def test_pybreaker_alone_lets_everybody_through_when_it_turns_half_open() -> None:
    breaker = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=0)
    breaker.open()
    passed = 0

    async def call() -> None:
        nonlocal passed
        with breaker.calling():
            passed += 1
            await asyncio.sleep(1)

    await asyncio.gather(*(call() for _ in range(TASKS)))

    assert passed == TASKS


@pytest.mark.parametrize("trials", [1, 3])
def test_our_guard_lets_exactly_the_trials_through(trials: int) -> None:
    @virtual_time
    async def story() -> None:
        vendor = Vendor(errors=[Unavailable("down")] * 5)
        guarded = stack(
            vendor,
            policy(retries={"attempts": 1}, circuit={"trials": trials}, limits={"rate": None, "concurrency": TASKS, "queue": TASKS}),
        )
        for _ in range(5):
            await outcome(guarded.call(speech(), context()))
        await asyncio.sleep(60)

        answers = await asyncio.gather(*(outcome(guarded.call(speech(), context())) for _ in range(TASKS)))

        assert len(vendor.calls) - 5 == trials
        assert answers.count("text") == trials
        assert all(isinstance(answer, CircuitOpen) for answer in answers if answer != "text")
        assert (guarded.figures().circuit, guarded.figures().failures, guarded.figures().retry_after) == ("closed", 0, None)

    story()
