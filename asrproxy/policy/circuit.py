"""A provider that fails is left alone for a while, then asked carefully."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NoReturn

from asrproxy.breaker import pybreaker
from asrproxy.config.models import CircuitSettings
from asrproxy.events import CircuitChanged
from asrproxy.plugin import AsrError, Call, CircuitOpen, Context, Fault, Observer, ProviderError, Recognition, Truncated, Utterance

if TYPE_CHECKING:
    from pybreaker import CircuitBreaker, CircuitBreakerState

CLOSED: Final = pybreaker.STATE_CLOSED
OPEN: Final = pybreaker.STATE_OPEN

RECENT: Final = 20
"""Calls that are looked back at before a run of failures opens the circuit."""
MOSTLY: Final = 0.7
"""The share of them that must have failed."""
MEMORY: Final = 60.0
"""Seconds after which a call says nothing about now."""
SOON: Final = 1.0
"""Seconds: what a caller is told while trial calls are under way and nobody knows how they will end."""


class Circuit:
    """Closed, open, half-open: pybreaker's state machine, behind a guard that decides who goes through.

    pybreaker counts failures in a row, opens, and closes again after `trials` good calls. Used as its documentation shows, it does not
    work here: it takes a coroutine function for a success as soon as that returns its coroutine, and its `calling()` lets every task
    through that arrives before the first trial has ended (tests/policy/test_policy_pybreaker.py measures both). So no call runs inside
    it. It is told how a call went, in one stretch without `await`, and the guard adds what it lacks:

    - exactly `trials` calls pass while half-open; a trial that is cancelled, or says nothing about the vendor, gives its place back
    - results of calls that began under an earlier state are not counted
    - the loop's clock decides when to try again: pybreaker goes by the wall clock, which may be moved
    - a run of failures opens it only if most of the last calls failed: where one call in five fails by chance and retries mend it, five in
      a row come every few thousand calls, and opening for that would turn a good answer rate into none
    - a call that is still under way and began before the failed one counts as one that did not fail: failures come faster than answers, so
      the first to end in any burst are those, and a vendor that does not answer at all has no older call left when its time-outs come.
      Against them the whole run of failures is weighed, so that a few calls that hang do not hold up what hundreds of failures say
    - only the vendor's and the network's faults count; Truncated does not: its judge is our voice detector, its cause may be the audio

    Two layers: `shed` refuses before a call is queued or converted, the guard itself when it is about to be sent.
    """

    def __init__(self, *, name: str, settings: CircuitSettings, observer: Observer) -> None:
        self._name, self._settings, self._observer = name, settings, observer
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=settings.failures,
            reset_timeout=settings.reset,
            success_threshold=settings.trials,
            listeners=[_Listener(self)],
            throw_new_error_on_trip=False,
            name=name,
        )
        self._epoch = 0
        self._free_trials = 0
        self._reset_at = float("-inf")
        self._recent: deque[tuple[float, bool]] = deque(maxlen=RECENT)
        self._run = 0  # failures in a row, each within MEMORY of the one before
        self._under_way: dict[_Began, None] = {}  # in this state, in the order in which they began
        self._warned_until = float("-inf")

    def __call__(self, call: Call) -> Call:
        async def guarded(utterance: Utterance, context: Context) -> Recognition:
            began = self._enter()
            try:
                recognition = await call(utterance, context)
            except BaseException as error:  # a cancelled trial must not leave the circuit half-open for ever
                self._left(began, _said(error))
                raise
            self._left(began, _Said.ANSWERED)
            return recognition

        return guarded

    def shed(self, call: Call) -> Call:
        """Refuses what the guard would refuse, before anything is spent on it. Takes no trial's place."""

        async def shedding(utterance: Utterance, context: Context) -> Recognition:
            if (seconds := self.shut_for()) is not None:
                raise self._refusal(seconds)
            return await call(utterance, context)

        return shedding

    @contextlib.contextmanager
    def session(self) -> Iterator[Callable[[], None]]:
        """The guard for a live session, which counts as one call. What it gives is called when the vendor has shown that it works.

        A session lasts for hours: a trial that is one must not keep all others out until it ends. Failing after that counts too.
        """
        began = self._enter()
        answered = False

        def answer() -> None:
            nonlocal answered
            if not answered:
                answered = True
                self._left(began, _Said.ANSWERED)

        try:
            yield answer
        except BaseException as error:
            said = _said(error)
            if not answered:
                self._left(began, said)
            elif said is _Said.FAILED and self._breaker.current_state == CLOSED:  # else others have said so before
                self._left(_Began(self._epoch), said)
            raise
        answer()

    def warn(self, seconds: float) -> None:
        """Another sidecar's circuit to this vendor has opened: for so long, one failure of our own is enough."""
        self._warned_until = asyncio.get_running_loop().time() + seconds

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        return self._breaker.current_state

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._breaker.fail_counter

    def recent(self) -> tuple[int, int]:
        """The last calls that a run of failures is weighed against: how many, and how many of them failed."""
        now = asyncio.get_running_loop().time()
        ends = [failed for ended, failed in self._recent if now - ended < MEMORY]
        return len(ends), sum(ends)

    @property
    def warned(self) -> bool:
        """Whether one failure is enough now, another sidecar's circuit having opened."""
        return asyncio.get_running_loop().time() < self._warned_until

    def shut_for(self) -> float | None:
        """Seconds after which to come back, None: a call made now would go through. Changes nothing."""
        state = self._breaker.current_state
        if state == CLOSED:
            return None
        if state == OPEN:
            left = self._reset_at - asyncio.get_running_loop().time()
            return left if left > 0 else None
        return None if self._free_trials else SOON

    def _enter(self) -> _Began:
        """Lets a call through or raises CircuitOpen. Returns what its end is to be told with."""
        # Closed: everyone passes.
        if self._breaker.current_state == CLOSED:
            return self._begun()
        # Open and its time is not over, or half-open and all trials are under way: nobody.
        if (seconds := self.shut_for()) is not None:
            raise self._refusal(seconds)
        # Open and its time is over: open => half-open.
        if self._breaker.current_state == OPEN:
            self._breaker.half_open()
        # Half-open: this call is a trial.
        self._free_trials -= 1
        return self._begun()

    def _begun(self) -> _Began:
        began = _Began(self._epoch)
        self._under_way[began] = None
        return began

    def _left(self, began: _Began, said: _Said) -> None:
        """Counts how a call ended."""
        older = self._older(began) if said is _Said.FAILED else 0
        self._under_way.pop(began, None)
        # The state has changed since it began: what it says is about then.
        if began.epoch != self._epoch:
            return
        half_open = self._breaker.current_state != CLOSED
        match said:
            case _Said.NOTHING:
                if half_open:
                    self._free_trials += 1
            case _Said.ANSWERED:
                self._recent.append((asyncio.get_running_loop().time(), False))
                # closed: the run of failures ends, if there is one; half-open => closed with the last trial.
                if half_open or self._breaker.fail_counter:
                    self._breaker.call(_succeed)
            case _Said.FAILED:
                now = asyncio.get_running_loop().time()
                ended, failed = self._recent[-1] if self._recent else (now, False)
                self._run = self._run + 1 if failed and now - ended < MEMORY else 1
                self._recent.append((now, True))
                self._reset_at = now + self._settings.reset
                # closed => open at the end of a long enough run; half-open => open.
                if self.warned:
                    self._breaker.fail_max = 1
                else:
                    self._breaker.fail_max = self._settings.failures if self._mostly_failing(older) else sys.maxsize
                failure = _Failure()
                try:
                    self._breaker.call(_fail, failure)
                except _Failure:
                    # pybreaker's frames and this object hold each other, and through its context the caller's error with its audio.
                    failure.__context__ = failure.__traceback__ = None

    def _older(self, began: _Began) -> int:
        """Calls under way that began before that one."""
        if began not in self._under_way:  # a session that had answered, or a call of an earlier state
            return 0
        return sum(1 for _ in itertools.takewhile(lambda each: each is not began, self._under_way))

    def _mostly_failing(self, older: int) -> bool:
        calls, failed = self.recent()
        # The run may be longer than what is looked back at: then there is nothing but failures.
        return max(failed, self._run) >= MOSTLY * (max(calls, self._run) + older)

    def _refusal(self, seconds: float) -> CircuitOpen:
        message = f"{self._name} failed too often just now, nothing was sent; it is tried again in {seconds:.1f} s"
        return CircuitOpen(message, retry_after=seconds, provider=self._name)

    def changed(self, before: str, after: str) -> None:
        """pybreaker says so."""
        self._epoch += 1
        self._free_trials = self._settings.trials
        self._recent.clear()
        self._under_way.clear()
        self._observer(CircuitChanged(self._name, before, after))


class _Listener(pybreaker.CircuitBreakerListener):
    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    def state_change(self, cb: CircuitBreaker, old_state: CircuitBreakerState | None, new_state: CircuitBreakerState) -> None:
        self._circuit.changed(CLOSED if old_state is None else old_state.name, new_state.name)


class _Began:
    """A call that was let through. epoch: of the state in which that was."""

    __slots__ = ("epoch",)

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch


class _Said(Enum):
    """What a call's end says about the vendor: that it works, that it does not, or nothing."""

    ANSWERED = auto()
    FAILED = auto()
    NOTHING = auto()


def _said(error: BaseException) -> _Said:
    if isinstance(error, Truncated):
        return _Said.ANSWERED
    if not isinstance(error, AsrError):
        return _Said.NOTHING
    if error.fault in {Fault.VENDOR, Fault.NETWORK}:
        return _Said.FAILED
    # A refusal of this audio, these credentials or this many calls is the answer of a vendor that works.
    return _Said.ANSWERED if isinstance(error, ProviderError) and error.fault is not Fault.PROXY else _Said.NOTHING


class _Failure(Exception):
    """What pybreaker is shown in place of the vendor's error."""


def _succeed() -> None:
    return None


def _fail(failure: _Failure) -> NoReturn:
    raise failure
