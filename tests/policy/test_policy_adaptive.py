"""`limits.concurrency: auto` against vendors that bear so much and no more."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from asrproxy.events import LimitChanged
from asrproxy.plugin import Capabilities, Context, Recognition, Throttled, Utterance
from tests.policy.policy_world import Heard, Vendor, context, outcome, policy, speech, stack, virtual_time


class Hall(Vendor):
    """Serves `room` calls at full speed; beyond it each call slows all (processor sharing), and beyond `door` it refuses."""

    def __init__(self, *, room: int, door: int = 10**6, seconds: float = 0.3, noise: float = 0.0) -> None:
        super().__init__(self._serve)
        self.room, self.door, self.seconds = room, door, seconds
        self.noise, self.random = noise, Random(7)
        self.answers, self.refusals = 0, 0
        self.waits: list[float] = []

    async def _serve(self, utterance: Utterance, told: Context) -> Recognition:
        if self.in_flight > self.door:
            self.refusals += 1
            await asyncio.sleep(0.02)
            raise Throttled("too many requests")
        alone = self.seconds * (1 + utterance.duration / 10) * self.random.lognormvariate(0, self.noise)
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(alone * max(1.0, self.in_flight / self.room))
        self.waits.append((asyncio.get_running_loop().time() - begun) / alone)
        self.answers += 1
        return Recognition("text")


async def besieged(hall: Hall, *, seconds: float, callers: int = 600, heard: Heard | None = None, lengths: tuple[float, ...] = (3.0,)):  # type: ignore[no-untyped-def]
    """Callers who ask again as soon as they are answered. Returns the stack."""
    keys = {"retries": {"attempts": 1}, "limits": {"concurrency": "auto", "rate": None, "queue": 10_000, "queue_timeout": "1h"}}
    tried = stack(hall, policy(**keys), observer=heard)
    end = asyncio.get_running_loop().time() + seconds
    utterances = [speech(each) for each in lengths]
    random = Random(3)

    async def caller() -> None:
        while asyncio.get_running_loop().time() < end:
            await outcome(tried.call(random.choice(utterances), context(1e5)))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return tried


@pytest.mark.parametrize("room", [8, 60])
def test_it_finds_a_limit_at_which_the_vendor_is_busy_and_not_slow(room: int) -> None:
    @virtual_time
    async def story() -> None:
        hall = Hall(room=room)
        tried = await besieged(hall, seconds=30, callers=300)
        limit = tried.status()["limiter"]["concurrency"]  # type: ignore[index]
        assert 0.8 * room <= limit <= 2 * room + 6
        assert sorted(hall.waits[len(hall.waits) // 2 :])[len(hall.waits) // 4] < 2.2

    story()


@virtual_time
async def test_noise_and_a_mix_of_lengths_do_not_mislead_it() -> None:
    hall = Hall(room=50, noise=0.4)
    tried = await besieged(hall, seconds=150, lengths=(1.0, 3.0, 12.0, 58.0))
    assert 35 <= tried.status()["limiter"]["concurrency"] <= 110  # type: ignore[index]


@virtual_time
async def test_refusals_alone_teach_it_and_stay_rare() -> None:
    hall, heard = Hall(room=1000, door=30), Heard()
    tried = await besieged(hall, seconds=100, heard=heard)
    assert 15 <= tried.status()["limiter"]["concurrency"] <= 31  # type: ignore[index]
    assert hall.refusals / hall.answers < 0.03
    assert {event.reason for event in heard.of(LimitChanged)} >= {"throttled", "probe"}


@virtual_time
async def test_it_follows_a_vendor_that_grows_slower_for_everybody() -> None:
    hall = Hall(room=20)

    async def later() -> None:
        await asyncio.sleep(40)
        hall.seconds = 0.9

    slower = asyncio.ensure_future(later())
    tried = await besieged(hall, seconds=400, callers=100)
    await slower
    assert 14 <= tried.status()["limiter"]["concurrency"] <= 44  # type: ignore[index]


@virtual_time
async def test_a_providers_own_bound_is_its_ceiling() -> None:
    hall = Hall(room=1000)
    hall.capabilities = Capabilities(concurrency=5)
    await besieged(hall, seconds=20, callers=50)
    assert hall.busiest == 5


@virtual_time
async def test_refusals_of_calls_that_were_sent_together_are_one_refusal() -> None:
    vendor = Vendor(errors=[Throttled("429")] * 10)
    tried = stack(vendor, policy(retries={"attempts": 1}, limits={"concurrency": "auto", "rate": None}))
    await asyncio.gather(*(outcome(tried.call(speech(), context())) for _ in range(10)))
    assert tried.status()["limiter"]["concurrency"] == 3  # type: ignore[index]  # 0.7 of ten, of which half while it measures
