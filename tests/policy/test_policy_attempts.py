"""Every call to a vendor is bounded, written down, announced, and ended with its caller."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.config.models import HedgeSettings
from asrproxy.events import AttemptEnded, Noted
from asrproxy.model import AttemptRecord
from asrproxy.plugin import (
    AttemptTimeout,
    AudioFormat,
    DeadlineExceeded,
    Health,
    Recognition,
    Rejected,
    Throttled,
    Truncated,
    Unavailable,
    Utterance,
    Word,
    ignore,
)
from tests.policy.policy_world import Heard, Vendor, context, outcome, policy, route, speech, stack, virtual_time

ONCE = {"attempts": 1}


@virtual_time
async def test_a_silent_vendor_is_left_after_the_attempts_timeout() -> None:
    vendor = Vendor(takes=1e6)
    error = await outcome(stack(vendor, policy(retries=ONCE, attempt_timeout="3s")).call(speech(), context()))
    assert isinstance(error, AttemptTimeout)
    assert error.provider == "vendor"
    assert asyncio.get_running_loop().time() == pytest.approx(1003)
    assert (vendor.cancelled, vendor.in_flight) == (1, 0)


@virtual_time
async def test_work_at_the_vendor_stops_at_the_callers_deadline() -> None:
    vendor = Vendor(takes=1e6)
    assert isinstance(await outcome(stack(vendor).call(speech(), context(4))), DeadlineExceeded)
    assert asyncio.get_running_loop().time() == pytest.approx(1004)
    assert (vendor.cancelled, vendor.in_flight) == (1, 0)


@virtual_time
async def test_nothing_is_sent_when_the_time_is_over_already() -> None:
    vendor = Vendor()
    assert isinstance(await outcome(stack(vendor).call(speech(), context(0))), DeadlineExceeded)
    assert vendor.calls == []


@virtual_time
async def test_what_the_vendor_gave_arrives_whole_with_its_providers_name() -> None:
    given = Recognition("text", words=(Word("text", 0.1, 0.5),), language="zh-CN", vendor_id="task", suspect=True)

    async def giving(*_: object) -> Recognition:
        return given

    recognition = await stack(Vendor(giving), name="aliyun").call(speech(), context())
    assert recognition == Recognition("text", given.words, "zh-CN", "task", "aliyun", True)


@virtual_time
async def test_every_call_is_written_down_and_announced_once() -> None:
    error, heard = Unavailable("down", vendor_code=500), Heard()
    told = context()
    await stack(Vendor(errors=[error], takes=0.5), observer=heard).call(speech(3), told)

    assert told.trail.records == [
        AttemptRecord("vendor", "failed", "unavailable", "down", pytest.approx(0.5)),
        AttemptRecord("vendor", "ok", None, None, pytest.approx(0.5)),
    ]
    assert heard.of(AttemptEnded) == [
        AttemptEnded("r", "vendor", 1, pytest.approx(0.5), 3.0, error, None, "unavailable", 96_000, 0.0, began=1000.0),
        AttemptEnded("r", "vendor", 2, pytest.approx(0.5), 3.0, None, None, "ok", 96_000, 3.0, began=pytest.approx(1000.5, abs=5)),
    ]


@pytest.mark.parametrize("defect", [KeyError("result"), TimeoutError(), OSError("socket")], ids=lambda defect: type(defect).__name__)
def test_a_plugins_defect_is_told_to_the_operator_and_counts_as_the_vendors(defect: Exception) -> None:
    @virtual_time
    async def story() -> None:
        heard = Heard()
        error = await outcome(stack(Vendor(errors=[defect] * 3), observer=heard).call(speech(), context()))
        assert isinstance(error, Unavailable)
        assert error.__cause__ is defect
        assert [event.event for event in heard.of(Noted)] == ["provider defect"] * 3

    story()


@virtual_time
async def test_status_is_json_and_says_where_it_stands() -> None:
    vendor = Vendor(takes=5)
    tried = stack(vendor, policy(limits={"concurrency": 1}))
    calls = [asyncio.ensure_future(outcome(tried.call(speech(), context()))) for _ in range(3)]
    await asyncio.sleep(1)

    status = json.loads(json.dumps(tried.status()))

    assert status["circuit"] == {
        "state": "closed", "failures": 0, "recent": {"calls": 0, "failed": 0}, "warned": False, "retry_after": None,
    }  # fmt: skip
    assert status["in_flight"] == 1
    assert status["limiter"]["queued"] == {"live": 0, "short": 2, "long": 0}
    assert (status["limiter"]["concurrency"], status["limiter"]["rate"]) == (1, 150)
    assert status["retry_budget"]["left"] == 10
    await asyncio.gather(*calls)


@virtual_time
async def test_a_provider_that_is_not_ready_is_not_available() -> None:
    vendor = Vendor(state=Health(ready=False, reason="loading"))
    assert stack(vendor).available() == Health(ready=False, reason="loading")


@virtual_time
async def test_an_errors_audio_is_free_when_its_caller_has_dropped_it() -> None:
    class Audio(bytearray):
        """Bytes that can be watched."""

    def failing() -> Vendor:
        async def behaviour(*_: object) -> Recognition:
            await asyncio.sleep(0)
            raise random.choice([Unavailable, Throttled, Truncated, Rejected])("not now")

        return Vendor(behaviour)

    random = Random(1)
    vendors = [failing(), failing()]
    members = [stack(each, observer=ignore, name=name) for name, each in zip("ab", vendors, strict=True)]
    tried = route(*members, observer=ignore)
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            audio = Audio(32_000)
            gone = weakref.ref(audio)
            await outcome(tried.call(Utterance(memoryview(audio), AudioFormat(16_000)), context()))
            for vendor in vendors:
                vendor.heard.clear()
            del audio
            # By reference counts alone: under load the collector comes late, and a segment is two megabytes.
            assert gone() is None
    finally:
        gc.enable()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), hedge=st.booleans())
def test_callers_who_leave_at_any_moment_leave_nothing_behind(seed: int, hedge: bool) -> None:
    @virtual_time
    async def story() -> None:
        random = Random(seed)

        async def moody(*_: object) -> Recognition:
            await asyncio.sleep(random.choice([0.0, 0.01, 0.5, 30.0]))
            raise random.choice([Unavailable("down"), Throttled("429"), Truncated("short", text="t")])

        vendors = [Vendor(moody), Vendor(moody)]
        keys = policy(limits={"rate": 20, "burst": 2, "concurrency": 2, "queue": 3}, circuit={"failures": 3, "reset": "2s"})
        members = [stack(each, keys, name=name, seed=seed) for name, each in zip("ab", vendors, strict=True)]
        tried = route(*members, hedge=HedgeSettings(after=0.2, budget=1.0) if hedge else None)
        calls = []
        for _ in range(12):
            calls.append(asyncio.ensure_future(outcome(tried.call(speech(), context(random.choice([0.3, 20.0]))))))
            await asyncio.sleep(random.choice([0.0, 0.0, 0.05, 3.0]))
            if random.random() < 0.5:
                random.choice(calls).cancel()
        for call in calls:
            await asyncio.sleep(random.choice([0.0, 0.02]))
            if random.random() < 0.7:
                call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

        for member, vendor in zip(members, vendors, strict=True):
            status = member.status()
            assert vendor.in_flight == status["in_flight"] == 0
            assert sum(status["limiter"]["queued"].values()) == 0  # type: ignore[index]
            vendor.behaviour = None
        await asyncio.sleep(2)
        assert await outcome(tried.call(speech(), context())) == "text"

    story()
