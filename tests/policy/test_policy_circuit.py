"""When a provider is left alone, and how it comes back."""

from __future__ import annotations

import asyncio
from itertools import count, cycle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asrproxy.events import CircuitChanged
from asrproxy.plugin import (
    AttemptTimeout,
    CircuitOpen,
    DeadlineExceeded,
    Garbled,
    NotReady,
    Recognition,
    Refused,
    Rejected,
    Throttled,
    Truncated,
    Unavailable,
    Unreachable,
)
from asrproxy.policy.circuit import MOSTLY
from tests.policy.policy_world import Heard, Vendor, context, outcome, policy, speech, stack, virtual_time

ONCE = {"attempts": 1}
DOWN = Unavailable("down")


async def open_circuit(vendor: Vendor, heard: Heard | None = None, **keys: object):  # type: ignore[no-untyped-def]
    """A stack whose vendor has just failed often enough."""
    guarded = stack(vendor, policy(**{"retries": ONCE, **keys}), observer=heard)
    vendor.errors = [DOWN] * 5
    for _ in range(5):
        await outcome(guarded.call(speech(), context()))
    assert guarded.status()["circuit"]["state"] == "open"
    return guarded


@virtual_time
async def test_after_five_failures_in_a_row_nothing_is_sent_and_callers_hear_when_to_come_back() -> None:
    vendor, heard = Vendor(), Heard()
    guarded = await open_circuit(vendor, heard)
    await asyncio.sleep(20)

    with pytest.raises(CircuitOpen) as refusal:
        await guarded.call(speech(), context())

    assert refusal.value.retry_after == pytest.approx(40)
    assert refusal.value.provider == "vendor"
    assert len(vendor.calls) == 5
    assert not guarded.available().ready
    assert heard.of(CircuitChanged) == [CircuitChanged("vendor", "closed", "open")]


@virtual_time
async def test_it_closes_after_as_many_good_trials_as_configured() -> None:
    vendor, heard = Vendor(), Heard()
    guarded = await open_circuit(vendor, heard, circuit={"trials": 2})
    await asyncio.sleep(60)

    assert guarded.available().ready  # a readiness probe that kept the traffic away would keep the circuit open for ever
    assert await outcome(guarded.call(speech(), context())) == "text"
    assert guarded.status()["circuit"]["state"] == "half-open"
    assert await outcome(guarded.call(speech(), context())) == "text"
    assert guarded.status()["circuit"]["state"] == "closed"
    assert [(each.before, each.after) for each in heard.of(CircuitChanged)] == [
        ("closed", "open"), ("open", "half-open"), ("half-open", "closed"),
    ]  # fmt: skip


@virtual_time
async def test_a_failed_trial_opens_it_for_another_reset() -> None:
    vendor = Vendor()
    guarded = await open_circuit(vendor)
    vendor.errors = [DOWN] * 6
    await asyncio.sleep(60)

    assert isinstance(await outcome(guarded.call(speech(), context())), Unavailable)
    refusal = await outcome(guarded.call(speech(), context()))

    assert isinstance(refusal, CircuitOpen)
    assert refusal.retry_after == pytest.approx(60)


@pytest.mark.parametrize(
    "error",
    [Throttled("429"), Refused("key"), Rejected("audio"), NotReady("loading"), Truncated("short", text="a")],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_vendors_fault_never_opens_it(error: Exception) -> None:
    @virtual_time
    async def story() -> None:
        guarded = stack(Vendor(errors=[error] * 50), policy(retries=ONCE))
        for _ in range(50):
            await outcome(guarded.call(speech(), context()))
        assert guarded.status()["circuit"]["state"] == "closed"

    story()


@pytest.mark.parametrize("error", [Unavailable("5xx"), Garbled("html"), Unreachable("refused")], ids=lambda error: type(error).__name__)
def test_the_vendors_and_the_networks_faults_open_it(error: Exception) -> None:
    @virtual_time
    async def story() -> None:
        guarded = stack(Vendor(errors=[error] * 5), policy(retries=ONCE))
        for _ in range(5):
            await outcome(guarded.call(speech(), context()))
        assert guarded.status()["circuit"]["state"] == "open"

    story()


@virtual_time
async def test_a_silent_vendor_opens_it_but_impatient_callers_do_not() -> None:
    vendor = Vendor(takes=1e6)
    guarded = stack(vendor, policy(retries=ONCE))
    for _ in range(20):
        assert isinstance(await outcome(guarded.call(speech(), context(timeout=1))), DeadlineExceeded)
    assert guarded.status()["circuit"]["state"] == "closed"

    for _ in range(5):
        assert isinstance(await outcome(guarded.call(speech(), context())), AttemptTimeout)

    assert guarded.status()["circuit"]["state"] == "open"
    assert vendor.in_flight == 0


@virtual_time
async def test_a_cancelled_trial_hands_its_place_on() -> None:
    vendor = Vendor()
    guarded = await open_circuit(vendor)
    await asyncio.sleep(60)
    trial = asyncio.ensure_future(guarded.call(speech(), context()))
    await asyncio.sleep(0.05)
    assert isinstance(await outcome(guarded.call(speech(), context())), CircuitOpen)

    trial.cancel()
    await asyncio.wait([trial])

    assert await outcome(guarded.call(speech(), context())) == "text"
    assert guarded.status()["circuit"]["state"] == "closed"


@virtual_time
async def test_results_of_calls_from_before_the_opening_are_not_taken_for_trials() -> None:
    vendor = Vendor(takes=70)
    guarded = stack(vendor, policy(retries=ONCE, attempt_timeout=100))
    late = [asyncio.ensure_future(guarded.call(speech(), context(100))) for _ in range(3)]
    await asyncio.sleep(1)
    vendor.takes, vendor.errors = 0.1, [DOWN] * 10
    for _ in range(7):  # of ten: the three may yet be answered
        await outcome(guarded.call(speech(), context()))
    assert guarded.status()["circuit"]["state"] == "open"
    await asyncio.sleep(62)
    vendor.takes = 20
    trial = asyncio.ensure_future(guarded.call(speech(), context()))
    await asyncio.wait(late)  # they fail while the trial is under way

    assert guarded.status()["circuit"]["state"] == "half-open"
    assert (await trial).text == "text"
    assert guarded.status()["circuit"]["state"] == "closed"


@virtual_time
@pytest.mark.parametrize("failing", [8, 40])
async def test_failures_that_come_before_the_first_answers_open_it_only_where_most_calls_fail(failing: int) -> None:
    """Forty at once to a vendor that refuses at once and answers later."""

    async def behaviour(*_: object) -> Recognition:
        if len(vendor.calls) % 40 % (40 // failing) == 0:
            raise DOWN
        await asyncio.sleep(0.8)
        return Recognition("text")

    vendor = Vendor(behaviour)
    guarded = stack(vendor, policy(retries=ONCE, limits={"rate": None, "concurrency": 40}))
    answers = await asyncio.gather(*(outcome(guarded.call(speech(), context())) for _ in range(40)))

    assert answers.count("text") == 40 - failing
    assert guarded.status()["circuit"]["state"] == ("open" if failing == 40 else "closed")


@virtual_time
async def test_a_vendor_that_never_answers_opens_it_with_its_first_timeouts() -> None:
    vendor = Vendor(takes=1e6)
    guarded = stack(vendor, policy(retries=ONCE, attempt_timeout="5s", limits={"rate": None, "concurrency": 200}))
    calls = []
    for _ in range(100):
        calls.append(asyncio.ensure_future(outcome(guarded.call(speech(), context()))))
        await asyncio.sleep(0.1)
        if guarded.status()["circuit"]["state"] == "open":
            break
    assert 50 <= len(calls) <= 57  # those of five seconds, and the five whose time it took
    await asyncio.gather(*calls)


@settings(max_examples=30, deadline=None)
@given(at_once=st.integers(1, 30), order=st.lists(st.integers(-1, 29), min_size=1, max_size=30))
@example(at_once=30, order=[-1])  # the youngest fails each time: all others hang
@example(at_once=30, order=[0])
def test_failures_alone_open_it_before_long_in_whatever_order_they_come(at_once: int, order: list[int]) -> None:
    """A failed call has at most `at_once - 1` older ones, and the run of failures need only outweigh those."""
    most = next(run for run in count(5) if run >= MOSTLY * (run + at_once - 1))

    @virtual_time
    async def story() -> None:
        waiting: list[asyncio.Future[Recognition]] = []

        async def behaviour(*_: object) -> Recognition:
            waiting.append(asyncio.get_running_loop().create_future())
            return await waiting[-1]

        guarded = stack(Vendor(behaviour), policy(retries=ONCE, limits={"rate": None, "concurrency": 100}))
        calls: list[asyncio.Future[object]] = []
        for failed, which in enumerate(cycle(order)):
            if guarded.status()["circuit"]["state"] == "open":
                break
            assert failed < most
            calls += [asyncio.ensure_future(outcome(guarded.call(speech(), context()))) for _ in range(at_once - len(waiting))]
            while len(waiting) < at_once:
                await asyncio.sleep(0)
            waiting.pop(which % at_once).set_exception(DOWN)
            while sum(call.done() for call in calls) <= failed:
                await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    story()


@virtual_time
async def test_calls_that_waited_while_it_opened_are_not_sent_and_do_not_wait_on() -> None:
    vendor = Vendor(errors=[DOWN] * 400)
    guarded = stack(vendor, policy(retries=ONCE, limits={"rate": 10, "burst": 5, "queue_timeout": "20s"}))
    answers = await asyncio.gather(*(outcome(guarded.call(speech(), context())) for _ in range(100)))

    assert len(vendor.calls) <= 7  # five, and those whose turn came before the fifth had failed
    assert sum(isinstance(answer, CircuitOpen) for answer in answers) >= 93
    assert asyncio.get_running_loop().time() < 1001


Step = st.sampled_from(["call", "fail", "answer", "reject", "cancel", "minute"])


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(Step, st.integers(0, 9)), max_size=60), trials=st.integers(1, 3))
def test_whatever_happens_it_never_gets_stuck_and_never_lets_too_many_through(steps: list[tuple[str, int]], trials: int) -> None:
    @virtual_time
    async def story() -> None:
        waiting: list[asyncio.Future[None]] = []

        async def behaviour(*_: object) -> Recognition:
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(told)
            try:
                await told
            finally:
                waiting.remove(told)
            return Recognition("text")

        vendor = Vendor(behaviour)
        guarded = stack(
            vendor, policy(retries=ONCE, circuit={"failures": 2, "trials": trials}, attempt_timeout="9h", limits={"rate": None})
        )
        calls: list[asyncio.Future[object]] = []
        state = guarded.status()["circuit"]["state"]
        trying: list[asyncio.Future[None]] = []
        for step, which in steps:
            before = list(waiting)
            match step:
                case "call":
                    calls.append(asyncio.ensure_future(outcome(guarded.call(speech(), context(1e6)))))
                case "cancel" if calls:
                    calls[which % len(calls)].cancel()
                case "minute":
                    await asyncio.sleep(60)
                case _ if waiting:
                    told = waiting[which % len(waiting)]
                    if not told.done():
                        match step:
                            case "fail":
                                told.set_exception(Unavailable("down"))
                            case "reject":
                                told.set_exception(Rejected("audio"))
                            case _:
                                told.set_result(None)
            for _ in range(10):
                await asyncio.sleep(0)
            now = guarded.status()["circuit"]["state"]
            sent = [told for told in waiting if told not in before]
            if state == "open":
                assert not sent or now == "half-open"
            if now != "half-open":
                trying = []
            elif step == "call":
                trying += sent
            assert len([told for told in trying if told in waiting]) <= trials
            assert guarded.status()["in_flight"] == vendor.in_flight
            state = now
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert guarded.status()["in_flight"] == 0

        # However it got here: a minute later, good calls are answered again and it closes.
        await asyncio.sleep(60)
        vendor.behaviour = None
        for _ in range(trials):
            assert await outcome(guarded.call(speech(), context())) == "text"
        assert guarded.status()["circuit"]["state"] == "closed"

    story()
