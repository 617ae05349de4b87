"""The sidecars of an account keep one rate between them, and go on without Redis."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrproxy.fleet.rate import SharedRate
from asrproxy.fleet.scripts import Ground
from asrproxy.fleet.seal import Clear
from asrproxy.fleet.store import Store
from tests.fleet.serving import Server, Sidecar, Taking, most_over, permits
from tests.policy.policy_world import virtual_time

RATE, BURST, TIMEOUT = 300.0, 6, 0.25
LATE = RATE * TIMEOUT
"""Permits by which an answer that took the whole of `shared.timeout` can be misplaced."""


@pytest.fixture
async def three(redis: Server) -> AsyncIterator[list[Sidecar]]:
    async with AsyncExitStack() as stack:
        sidecars = [await stack.enter_async_context(Sidecar(redis.url)) for _ in range(3)]
        for each in sidecars:
            await each.counts(3)
        yield sidecars


async def test_three_sidecars_keep_one_rate(three: list[Sidecar]) -> None:
    moments = await permits(three, 450)
    assert most_over(moments, rate=RATE) <= BURST + LATE
    assert not any(each.rate.local for each in three)


class Remote:
    """A store that answers like a Redis of its own machine: after a millisecond or two, on the loop's clock."""

    def __init__(self) -> None:
        self._store = Store(asyncio.get_running_loop().time)

    async def run(self, script: str, keys: list[str], *arguments: str | bytes | int | float) -> Any:
        await asyncio.sleep(0.001)
        answer = self._store.run(script, keys, list(arguments))
        await asyncio.sleep(0.001)
        return answer

    async def aclose(self) -> None:
        """Nothing to end."""


@pytest.mark.parametrize("busy", [1, 2, 3])
def test_those_who_are_busy_have_the_whole_rate_between_them(busy: int) -> None:
    seconds = 10

    @virtual_time
    async def story() -> None:
        ground = Ground("store", Remote(), Clear(), "asrproxy")
        async with AsyncExitStack() as stack:
            three = [await stack.enter_async_context(Sidecar(ground, rate=RATE, burst=BURST)) for _ in range(3)]
            for each in three:
                await each.counts(3)
            taking = Taking()
            try:
                async with asyncio.timeout(seconds):
                    await taking.until(three[:busy], math.inf)
            except TimeoutError:
                pass
            # An answer takes 2 ms, a permit is good for 20 ms when there is no room for it, and a stretch has two ends.
            ahead = BURST + 2 + RATE * 0.022
            assert 0.95 * RATE * seconds <= len(taking.moments) <= RATE * seconds + ahead
            assert most_over(taking.moments, rate=RATE) <= ahead

    story()


async def test_after_quiet_a_permit_is_in_hand(three: list[Sidecar], redis: Server) -> None:
    sidecar = three[0]
    for _ in range(5):
        await sidecar.permit()
    # The hand is filled again without being asked for.
    while sidecar.rate.wait(asyncio.get_running_loop().time()):
        await asyncio.sleep(0.001)
    redis.freeze()
    assert sidecar.rate.wait(asyncio.get_running_loop().time()) == 0.0
    redis.thaw()


async def test_redis_sees_few_round_trips_for_many_calls(redis: Server) -> None:
    async with Sidecar(redis.url, rate=2000.0, burst=20) as sidecar:
        await permits([sidecar], 100)
        before = await _scripts(redis)
        await permits([sidecar], 2000)
        assert await _scripts(redis) - before < 400


@pytest.mark.parametrize("trouble", ["frozen", "stopped", "full"])
async def test_without_redis_each_goes_on_with_its_share_and_comes_back(three: list[Sidecar], redis: Server, trouble: str) -> None:
    taking = Taking()
    task = asyncio.create_task(taking.until(three, math.inf))
    match trouble:
        case "frozen":
            redis.freeze()
        case "stopped":
            await redis.stop()
        case "full":
            await redis.command("CONFIG", "SET", "maxmemory", "1")
    for each in three:
        await each.noted("redis is away")
    moments = await taking.next(300)
    assert most_over(moments, rate=RATE) <= BURST + LATE
    assert all(each.rate.local and each.rate.interval == pytest.approx(3 / RATE) for each in three)
    match trouble:
        case "frozen":
            redis.thaw()
        case "stopped":
            await redis.start()
        case "full":
            await redis.command("CONFIG", "SET", "maxmemory", "0")
    for each in three:
        await each.noted("redis is back")
    while not all(each.rate.sidecars == 3 for each in three):  # a Redis that was stopped has forgotten them
        await taking.next(1)
    assert most_over(await taking.next(300), rate=RATE) <= BURST + LATE
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_sidecar_that_starts_without_redis_serves(redis: Server) -> None:
    await redis.stop()
    async with Sidecar(redis.url) as sidecar:
        await sidecar.permit()
        await sidecar.noted("redis is away")
        await sidecar.permit()
        await redis.start()
        await sidecar.noted("redis is back")


async def test_who_leaves_is_not_counted(redis: Server) -> None:
    async with Sidecar(redis.url) as one:
        async with Sidecar(redis.url):
            await one.counts(2)
        await one.counts(1)


async def test_a_permit_that_was_given_back_is_there(redis: Server) -> None:
    async with Sidecar(redis.url, rate=1.0, burst=1) as sidecar:
        await sidecar.permit()
        sidecar.rate.give_back()
        assert sidecar.rate.wait(asyncio.get_running_loop().time()) == 0.0


async def test_a_moment_left_behind_by_a_clock_that_was_set_back_is_forgotten(redis: Server) -> None:
    await redis.command("SET", "asrproxy:rate:{aliyun}", 10**16)
    async with Sidecar(redis.url) as sidecar:
        await permits([sidecar], 50)


@given(
    rate=st.floats(0.5, 1000),
    burst=st.integers(1, 50),
    sidecars=st.integers(1, 100),
    steps=st.lists(st.floats(0, 0.5), min_size=1, max_size=60),
)
def test_the_local_share_is_never_exceeded(rate: float, burst: int, sidecars: int, steps: list[float]) -> None:
    shared = SharedRate("aliyun", rate=rate, burst=burst, nudge=lambda: None)
    shared.granted(0.0, count=0, delay=0.0, sidecars=sidecars)
    shared.lost(0.0, jitter=0.5)
    now, moments = 0.0, []
    for step in steps:
        now += step
        while not shared.wait(now):
            shared.take(now)
            moments.append(now)
    own = rate / sidecars
    if moments:
        # A permit may be used a millisecond early and is kept for 20 when there is no room.
        assert most_over(moments, rate=own) <= max(1, burst // sidecars) + 1 + 0.022 * own
    # Nor is it less: whoever waits gets one, when it was said.
    assert not shared.wait(now + shared.wait(now))


async def _scripts(redis: Server) -> int:
    for line in (await redis.command("INFO", "commandstats")).split(b"\r\n"):
        if line.startswith(b"cmdstat_eval:calls="):
            return int(line.split(b"=")[1].split(b",")[0])
    return 0
