"""The figures that the policy promises, through the real door: an outage is not multiplied, chance failures are mended."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from asrproxy.events import CircuitChanged, RetryRefused
from asrproxy.policy.circuit import MOSTLY
from asrproxy_aliyun.emulator import Emulator
from tests.faults.caller import Answer
from tests.faults.world import World, world

AT_ONCE = 12
FAILURES, TRIALS = 5, 1
PATIENT: dict[str, Any] = {
    "timeout": "60s",
    "attempt_timeout": "30s",
    "retries": {"attempts": 3, "backoff": {"initial": "1ms", "max": "2ms"}},
    "limits": {"rate": None},
}
CIRCUIT = {"circuit": {"failures": FAILURES, "reset": "1s", "trials": TRIALS}}


async def offered(running: World, count: int, *, at_once: int = AT_ONCE) -> list[Answer]:
    """The answers to so many requests, so many of which are under way at a time."""
    answers: list[Answer] = []
    left = iter(range(count))

    async def caller() -> None:
        answers.extend([await running.ask() for _ in left])

    await asyncio.gather(*(caller() for _ in range(at_once)))
    return answers


async def test_retries_add_a_fifth_to_an_outage_at_most(tmp_path: Path) -> None:
    many = 600
    never_open = {"circuit": {"failures": 1_000_000}}
    async with Emulator(failure_rate=1.0) as cloud, world(cloud, tmp_path / "spool", policy=PATIENT | never_open) as running:
        answers = await offered(running, many)

        assert {each.outcome for each in answers} == {"provider_error"}
        assert many < len(cloud.calls) <= 1.2 * many
        assert any(isinstance(event, RetryRefused) and event.reason == "budget" for event in running.events)


async def test_a_circuit_lets_few_calls_through_to_an_outage_and_then_only_trials(tmp_path: Path) -> None:
    many = 300
    async with Emulator(failure_rate=1.0) as cloud, world(cloud, tmp_path / "spool", policy=PATIENT | CIRCUIT) as running:
        before = await running.rests()

        answers = await offered(running, many)

        assert {each.outcome for each in answers} == {"provider_error", "circuit_open"}
        tried = [event for event in running.events if isinstance(event, CircuitChanged) and event.after == "half-open"]
        # A failure that overtakes older calls is weighed against them, AT_ONCE - 1 at most: so many failures open it in any order.
        failures = next(run for run in count(FAILURES) if run >= MOSTLY * (run + AT_ONCE - 1))
        assert len(cloud.calls) < failures + AT_ONCE + TRIALS * len(tried), "the failures, and what was under way by then"
        while running.status()["circuit"]["retry_after"] is not None:
            await asyncio.sleep(0.01)
        calls = len(cloud.calls)
        cloud.hold_answers()
        asked = [asyncio.create_task(running.ask()) for _ in range(AT_ONCE)]
        while sum(each.done() for each in asked) < AT_ONCE - TRIALS:
            await asyncio.sleep(0.01)
        await cloud.calls_in_flight(TRIALS)  # the others may hear of the circuit before the trial has got to the vendor
        assert len(cloud.calls) == calls + TRIALS
        cloud.release_answers()
        outcomes = Counter(each.outcome for each in await asyncio.gather(*asked))
        assert outcomes == {"circuit_open": AT_ONCE - TRIALS, "provider_error": TRIALS}
        assert len(cloud.calls) == calls + TRIALS
        cloud.adjust({"failure_rate": 0.0})
        await running.recovers()
        await running.rests(before)


async def test_with_a_fifth_of_calls_failing_and_two_retries_ninety_nine_in_a_hundred_succeed(tmp_path: Path) -> None:
    """A fifth of a fifth of a fifth fail: 8 in 1,000, and none for any other reason. All 5,000: `python -m bench.bad_days`."""
    many = 1_000
    async with Emulator(failure_rate=0.2, seed=1) as cloud, world(cloud, tmp_path / "spool", policy=PATIENT | CIRCUIT) as running:
        answers = await offered(running, many, at_once=1)  # one after the other, so that the same calls fail in each run

        failed = [each.body["error"] for each in answers if each.outcome != "ok"]
        assert len(failed) <= 0.01 * many
        assert {(each["code"], len(each["attempts"])) for each in failed} == {("provider_error", 3)}
        assert not [event for event in running.events if isinstance(event, CircuitChanged | RetryRefused)]
        assert len(cloud.calls) < 1.3 * many
