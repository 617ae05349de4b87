"""The circuit against a model: calls begin, end well, badly or not at all, and time passes, in any order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asrproxy.config.models import CircuitSettings
from asrproxy.events import CircuitChanged
from asrproxy.plugin import CircuitOpen, Recognition, Refused, Unavailable
from asrproxy.policy.circuit import MEMORY, MOSTLY, RECENT, SOON, Circuit
from tests.policy.policy_world import Heard, VirtualLoop, context, outcome, speech

T = TypeVar("T")
RESET = 5.0


@dataclass(eq=False)
class Under:
    """A call that the vendor has. answer: when it is told so. began: in which of the model's states. started: how many had before."""

    answer: asyncio.Future[Recognition]
    task: asyncio.Task[object]
    began: int
    started: int


class Guard(RuleBasedStateMachine):
    """The model: three states, a run of failures, the last calls, and the places that are left for trials."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.under_way: list[Under] = []
        self.state, self.number, self.started = "closed", 0, 0
        self.run_of_failures = self.places = self.good = 0
        self.again_at = self.warned_until = float("-inf")
        self.last: list[tuple[float, bool]] = []
        self.changes: list[tuple[str, str]] = []
        self.heard = Heard()

    @initialize(failures=st.integers(1, 4), trials=st.integers(1, 3))
    def build(self, failures: int, trials: int) -> None:
        self.failures, self.trials = failures, trials
        settings_ = CircuitSettings(failures=failures, reset=RESET, trials=trials)
        self.circuit = Circuit(name="vendor", settings=settings_, observer=self.heard)

    @rule()
    def begin(self) -> None:
        wanted = self._refused_for()
        reached: list[asyncio.Future[Recognition]] = []

        async def vendor(*_: object) -> Recognition:
            reached.append(self.loop.create_future())
            return await reached[0]

        async def call() -> object:
            return await outcome(self.circuit(vendor)(speech(0.01), context(1e9)))

        async def start() -> asyncio.Task[object]:
            task = asyncio.ensure_future(call())
            await asyncio.sleep(0)
            return task

        task = self._run(start())
        if wanted is not None:
            refusal = task.result()
            assert isinstance(refusal, CircuitOpen)
            assert abs(refusal.retry_after - wanted) < 1e-6  # type: ignore[operator]
            assert not reached, "nothing is sent"
            return
        assert reached, "it goes through"
        if self.state == "open":
            self._changes_to("half-open")
        if self.state == "half-open":
            self.places -= 1
        self.under_way.append(Under(reached[0], task, self.number, self.started))
        self.started += 1

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), refused=st.booleans())
    def answers(self, data: st.DataObject, refused: bool) -> None:
        """A refusal of this call is the answer of a vendor that works."""
        call = self._one(data)
        if refused:
            call.answer.set_exception(Refused("no"))
        else:
            call.answer.set_result(Recognition("text"))
        self._ended(call)
        if call.began != self.number:
            return
        self.last.append((self.loop.now, False))
        self.run_of_failures = 0
        if self.state == "half-open":
            self.good += 1
            if self.good == self.trials:
                self._changes_to("closed")

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def fails(self, data: st.DataObject) -> None:
        call = self._one(data)
        older = sum(each.started < call.started and each.began == call.began for each in self.under_way)
        call.answer.set_exception(Unavailable("down"))
        self._ended(call)
        if call.began != self.number:
            return
        self.again_at = self.loop.now + RESET
        self.last.append((self.loop.now, True))
        self.run_of_failures += 1
        recent = [failed for at, failed in self.last[-RECENT:] if self.loop.now - at < MEMORY]
        unbroken = self._unbroken()
        mostly = max(sum(recent), unbroken) >= MOSTLY * (max(len(recent), unbroken) + older)
        warned = self.loop.now < self.warned_until
        if self.state == "half-open" or warned or (mostly and self.run_of_failures >= self.failures):
            self._changes_to("open")

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        call = self._one(data)
        call.task.cancel()
        self._ended(call)
        if call.began == self.number and self.state == "half-open":
            self.places += 1

    @rule(seconds=st.sampled_from([0.1, RESET, 20.0, MEMORY]))
    def time_passes(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    @rule(seconds=st.sampled_from([1.0, 40.0]))
    def another_sidecar_warns(self, seconds: float) -> None:
        async def warn() -> None:
            self.circuit.warn(seconds)

        self._run(warn())
        self.warned_until = self.loop.now + seconds

    @invariant()
    def it_is_in_the_models_state(self) -> None:
        if not hasattr(self, "circuit"):
            return

        async def look() -> float | None:
            return self.circuit.shut_for()

        assert self.circuit.state == self.state
        refused_for, wanted = self._run(look()), self._refused_for()
        assert (refused_for is None) == (wanted is None)
        assert [(each.before, each.after) for each in self.heard.of(CircuitChanged)] == self.changes
        trials = [call for call in self.under_way if call.began == self.number and self.state == "half-open"]
        assert len(trials) + self.good <= self.trials
        assert self.state != "half-open" or trials or self.places, "whoever comes can bring it back"

    def teardown(self) -> None:
        async def end_all() -> None:
            for call in self.under_way:
                call.task.cancel()
            await asyncio.gather(*(call.task for call in self.under_way), return_exceptions=True)

        self._run(end_all())
        self.loop.close()

    def _refused_for(self) -> float | None:
        """Seconds that the model would tell a caller now, None: he goes through."""
        if self.state == "open":
            return self.again_at - self.loop.now if self.loop.now < self.again_at else None
        return SOON if self.state == "half-open" and not self.places else None

    def _unbroken(self) -> int:
        """How many of the last calls failed with less than MEMORY between one and the next."""
        length, next_at = 0, self.loop.now
        for at, failed in reversed(self.last):
            if not failed or next_at - at >= MEMORY:
                break
            length, next_at = length + 1, at
        return length

    def _changes_to(self, state: str) -> None:
        self.changes.append((self.state, state))
        self.state, self.number = state, self.number + 1
        self.places, self.good, self.last = self.trials, 0, []
        if state != "half-open":
            self.run_of_failures = 0

    def _one(self, data: st.DataObject) -> Under:
        call = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(call)
        return call

    def _ended(self, call: Under) -> None:
        async def wait() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await call.task

        self._run(wait())

    def _run(self, coroutine: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(coroutine)


TestGuard = Guard.TestCase
TestGuard.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
