"""How fast, how many at once, who waits, and who goes first."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrproxy.events import LimitWaited
from asrproxy.plugin import Capabilities, DeadlineExceeded, RateLimited, Recognition, Throttled, Traffic
from asrproxy.policy.rate import SLACK, Rate
from asrproxy.policy.stack import ProviderStack
from tests.policy.policy_world import Heard, Vendor, as_is, context, outcome, policy, speech, stack, virtual_time

ONCE = {"attempts": 1}


def limited(vendor: Vendor, heard: Heard | None = None, **limits: object):  # type: ignore[no-untyped-def]
    return stack(vendor, policy(retries=ONCE, limits=limits), observer=heard)


@given(
    rate=st.floats(0.5, 500),
    burst=st.integers(1, 30),
    asks=st.lists(st.floats(0, 0.3), min_size=1, max_size=200),
)
def test_in_no_stretch_of_time_more_calls_start_than_the_rate_and_the_burst_allow(rate: float, burst: int, asks: list[float]) -> None:
    limit, now, taken = Rate(rate=rate, burst=burst), 0.0, []
    for pause in asks:
        now += pause
        now += limit.wait(now)
        limit.take(now)
        taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - start + SLACK) * rate + 1e-6


@virtual_time
async def test_after_the_burst_calls_start_evenly() -> None:
    vendor = Vendor()
    tried = limited(vendor, rate=10, burst=3, concurrency=100)
    await asyncio.gather(*(tried.call(speech(), context()) for _ in range(13)))

    assert [round(start - 1000, 3) for start in vendor.calls[:3]] == [0, 0, 0]
    assert [round(later - earlier, 3) for earlier, later in pairwise(vendor.calls[2:])] == [0.1] * 10


@virtual_time
async def test_no_more_than_the_limit_are_under_way_and_they_go_first_come_first_served() -> None:
    vendor = Vendor(takes=1)
    tried = limited(vendor, rate=None, concurrency=4)
    utterances = [speech(seconds=1 + number) for number in range(20)]
    await asyncio.gather(*(tried.call(each, context()) for each in utterances))

    assert vendor.busiest == 4
    assert [each for each, _ in vendor.heard] == utterances
    assert asyncio.get_running_loop().time() == pytest.approx(1005)


@virtual_time
async def test_a_providers_own_bound_lowers_the_limit() -> None:
    vendor = Vendor(capabilities=Capabilities(concurrency=2))
    tried = limited(vendor, rate=None, concurrency=50)
    await asyncio.gather(*(tried.call(speech(), context()) for _ in range(10)))
    assert vendor.busiest == 2
    assert tried.status()["limiter"]["concurrency"] == 2


@virtual_time
async def test_one_more_than_the_queue_holds_is_told_when_to_come_back() -> None:
    vendor, heard = Vendor(takes=2), Heard()
    tried = limited(vendor, heard, rate=None, concurrency=2, queue=6, queue_timeout="60s")
    await tried.call(speech(), context())  # so that it is known how long a call takes
    begun = [asyncio.ensure_future(outcome(tried.call(speech(), context()))) for _ in range(8)]
    await asyncio.sleep(0)

    refusal = await outcome(tried.call(speech(), context()))

    assert isinstance(refusal, RateLimited)
    assert refusal.retry_after == pytest.approx(7)  # six before it and itself, two at a time, two seconds each
    assert tried.status()["limiter"]["queued"] == {"live": 0, "short": 6, "long": 0}
    await asyncio.gather(*begun)
    assert [(event.limit, event.refused) for event in heard.of(LimitWaited)].count(("concurrency", True)) == 1


@virtual_time
async def test_a_refusal_by_rate_is_as_honest() -> None:
    vendor = Vendor()
    tried = limited(vendor, rate=2, burst=1, queue=10, queue_timeout="60s")
    begun = [asyncio.ensure_future(outcome(tried.call(speech(), context()))) for _ in range(11)]
    await asyncio.sleep(0)
    refusal = await outcome(tried.call(speech(), context()))
    assert isinstance(refusal, RateLimited)
    assert refusal.retry_after == pytest.approx(5.5)
    await asyncio.gather(*begun)
    assert asyncio.get_running_loop().time() == pytest.approx(1005.1)  # the last of those before it


@virtual_time
async def test_nobody_waits_longer_than_the_queues_time_or_his_own() -> None:
    vendor = Vendor(takes=10)
    tried = limited(vendor, rate=None, concurrency=1, queue_timeout="5s")
    begun = asyncio.ensure_future(tried.call(speech(), context()))
    await asyncio.sleep(0)

    patient, hurried = await asyncio.gather(outcome(tried.call(speech(), context())), outcome(tried.call(speech(), context(timeout=2))))

    assert isinstance(patient, RateLimited)
    assert isinstance(hurried, DeadlineExceeded)
    assert asyncio.get_running_loop().time() == pytest.approx(1005)
    await begun
    assert len(vendor.calls) == 1


@virtual_time
async def test_a_segment_of_a_long_recording_waits_as_long_as_its_recording_may() -> None:
    vendor = Vendor(takes=10)
    tried = limited(vendor, rate=None, concurrency=1, queue_timeout="5s")
    answers = await asyncio.gather(*(outcome(tried.call(speech(), context(100, traffic=Traffic.LONG))) for _ in range(8)))
    assert answers == ["text"] * 8


@virtual_time
async def test_live_and_short_go_before_long_and_long_is_never_starved() -> None:
    vendor = Vendor(takes=1)
    tried = limited(vendor, rate=None, concurrency=1, queue=1000, queue_timeout="1h")
    classes = [Traffic.LONG] * 40 + [Traffic.SHORT] * 100 + [Traffic.LIVE] * 10
    await asyncio.gather(*(tried.call(speech(), context(1e4, traffic=each)) for each in classes))

    order = [told.traffic for _, told in vendor.heard][1:]  # the very first came when nobody waited
    assert order.index(Traffic.LIVE) < order.index(Traffic.SHORT) < order.index(Traffic.LONG)
    assert order[:12].count(Traffic.LIVE) >= 9
    after_live = order[len(order) - order[::-1].index(Traffic.LIVE) :]
    both_wait = after_live[:80]
    assert both_wait.count(Traffic.LONG) == pytest.approx(16, abs=1)
    assert all(Traffic.LONG in both_wait[place : place + 6] for place in range(74))


@virtual_time
async def test_who_was_away_has_saved_no_turns() -> None:
    vendor = Vendor(takes=1)
    tried = limited(vendor, rate=None, concurrency=1, queue=1000, queue_timeout="1h")
    short = [asyncio.ensure_future(tried.call(speech(), context(1e4))) for _ in range(100)]
    await asyncio.sleep(50.5)
    longs = [asyncio.ensure_future(tried.call(speech(), context(1e4, traffic=Traffic.LONG))) for _ in range(20)]
    await asyncio.gather(*short, *longs)

    order = [told.traffic for _, told in vendor.heard][51:]
    assert order[:20].count(Traffic.LONG) <= 5


@virtual_time
async def test_long_recordings_cannot_fill_the_places_of_short_ones() -> None:
    vendor = Vendor()
    tried = limited(vendor, rate=None, concurrency=1, queue=5)
    longs = [asyncio.ensure_future(outcome(tried.call(speech(), context(traffic=Traffic.LONG)))) for _ in range(6)]
    await asyncio.sleep(0)
    assert await outcome(tried.call(speech(), context())) == "text"
    assert set(await asyncio.gather(*longs)) == {"text"}


@virtual_time
async def test_too_many_requests_lowers_our_concurrency_and_answers_bring_it_back() -> None:
    vendor = Vendor(takes=1, errors=[Throttled("429")] * 20)
    tried = limited(vendor, rate=None, concurrency=20)
    await asyncio.gather(*(outcome(tried.call(speech(), context())) for _ in range(20)))

    assert tried.status()["limiter"]["concurrency"] == 14  # one cut for what was sent at once
    assert tried.status()["circuit"]["state"] == "closed"
    vendor.busiest = 0
    await asyncio.gather(*(outcome(tried.call(speech(), context())) for _ in range(30)))
    assert 14 <= vendor.busiest < 20
    for _ in range(10):
        await asyncio.gather(*(outcome(tried.call(speech(), context())) for _ in range(20)))
    assert tried.status()["limiter"]["concurrency"] == 20


@virtual_time
async def test_a_cancelled_waiter_gives_its_place_and_its_permit_to_the_next() -> None:
    told = asyncio.Event()

    async def until_told(*_: object) -> Recognition:
        await told.wait()
        return Recognition("text")

    vendor = Vendor(until_told)
    tried = limited(vendor, rate=100, burst=1, concurrency=1)

    async def then_cancel_the_second() -> None:
        await tried.call(speech(), context())
        second.cancel()  # in the very moment in which it is given the permit, before it runs

    first = asyncio.ensure_future(then_cancel_the_second())
    second, third = [asyncio.ensure_future(outcome(tried.call(speech(), context()))) for _ in range(2)]
    await asyncio.sleep(0.5)
    told.set()
    await asyncio.wait([first, second])
    assert second.cancelled()

    assert await third == "text"
    assert vendor.calls == [1000, 1000.5]  # the rate's permit came back as well
    assert tried.status()["in_flight"] == 0


def test_a_loop_that_is_late_for_a_permit_loses_nobody() -> None:
    """uvloop gives a moment that has passed a handle of another kind."""
    uvloop = pytest.importorskip("uvloop")

    class Late(Rate):
        """Looks at it take so long that the moment has passed when the timer is set."""

        looks = 0

        def wait(self, now: float) -> float:
            self.looks += 1
            if self.looks > 6:
                return 0.0
            time.sleep(0.005)
            return 0.002

    async def story() -> None:
        tried = ProviderStack(
            "vendor", Vendor(takes=0), policy(), observer=Heard(), convert=as_is, random=Random(1), rate=Late(rate=500, burst=1)
        )
        assert await asyncio.gather(*(outcome(tried.call(speech(), context())) for _ in range(3))) == ["text"] * 3

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
