"""The queue against a model: calls come, end, are cancelled and time passes in any order; nothing is lost and nothing is left."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asrproxy.plugin import Recognition, Traffic, Unavailable
from asrproxy.policy.rate import SLACK
from tests.policy.policy_world import Vendor, VirtualLoop, context, outcome, policy, speech, stack


class Queue(RuleBasedStateMachine):
    """Real layers on a virtual loop; the model is a list of calls that have not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.calls: list[asyncio.Task[object]] = []
        self.working: list[asyncio.Future[None]] = []
        self.vendor = Vendor(self._until_told)

    async def _until_told(self, *_: object) -> Recognition:
        told: asyncio.Future[None] = self.loop.create_future()
        self.working.append(told)
        try:
            await told
        finally:
            self.working.remove(told)
        return Recognition("text")

    @initialize(rate=st.sampled_from([None, 2.0, 20.0]), burst=st.integers(1, 3), concurrency=st.integers(1, 3), queue=st.integers(0, 4))
    def open(self, rate: float | None, burst: int, concurrency: int, queue: int) -> None:
        self.rate, self.burst, self.concurrency, self.queue = rate, burst, concurrency, queue
        limits = {"rate": rate, "burst": burst, "concurrency": concurrency, "queue": queue, "queue_timeout": "3s"}
        keys = {"retries": {"attempts": 1}, "circuit": {"failures": 10_000}, "attempt_timeout": "9h"}
        self.stack = stack(self.vendor, policy(limits=limits, **keys))

    @rule(traffic=st.sampled_from(Traffic), timeout=st.sampled_from([1.0, 1e4]))
    def call(self, traffic: Traffic, timeout: float) -> None:
        async def begin() -> None:
            call = self.stack.call(speech(), context(timeout, traffic=traffic))
            self.calls.append(asyncio.ensure_future(outcome(call)))

        self._run(begin())

    @precondition(lambda self: self.working)
    @rule(data=st.data(), fails=st.booleans())
    def end(self, data: st.DataObject, fails: bool) -> None:
        async def tell() -> None:
            told = data.draw(st.sampled_from(self.working))
            if fails:
                told.set_exception(Unavailable("down"))
            else:
                told.set_result(None)

        self._run(tell())

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        async def give_up() -> None:
            data.draw(st.sampled_from(self.calls)).cancel()

        self._run(give_up())

    @rule(seconds=st.sampled_from([0.01, 0.5, 3.0]))
    def wait(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "stack"):
            return

        async def look() -> None:
            status = self.stack.status()
            waiting = status["limiter"]["queued"]  # type: ignore[index]
            assert status["in_flight"] == len(self.working) <= self.concurrency
            assert sum(waiting.values()) == len(self.calls) - len(self.working)
            assert max(waiting.values()) <= self.queue
            if sum(waiting.values()) and len(self.working) < self.concurrency:
                assert status["limiter"]["next_permit"] > 0  # type: ignore[index]  # only the rate may keep a place empty

        self._run(look())
        if self.rate is not None:
            starts = self.vendor.calls
            for first, last in zip(starts, starts[self.burst :], strict=False):
                assert last - first >= 1 / self.rate - SLACK - 1e-6
            assert all(earlier <= later for earlier, later in pairwise(starts))

    def teardown(self) -> None:
        async def end_all() -> None:
            for call in self.calls:
                call.cancel()
            await asyncio.gather(*self.calls, return_exceptions=True)
            await asyncio.sleep(0)
            assert self.loop.timers() == []
            if hasattr(self, "stack"):
                self.vendor.behaviour = None
                await asyncio.sleep(10)
                assert await outcome(self.stack.call(speech(), context())) == "text"  # at once: nothing of theirs is in its way

        self._run(end_all())
        self.loop.close()

    def _run(self, coroutine: object) -> None:
        async def settled() -> None:
            await coroutine  # type: ignore[misc]
            for _ in range(20):
                await asyncio.sleep(0)
            self.calls = [call for call in self.calls if not call.done()]

        self.loop.run_until_complete(settled())


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
