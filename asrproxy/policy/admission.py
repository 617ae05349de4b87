"""Who may call now, who waits, and who is told to come back."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from asrproxy.config.models import LimitSettings
from asrproxy.events import LimitWaited
from asrproxy.plugin import Call, CircuitOpen, Context, DeadlineExceeded, Observer, RateLimited, Recognition, Traffic, Utterance

WEIGHTS: Final = {Traffic.LIVE: 16, Traffic.SHORT: 4, Traffic.LONG: 1}
"""While all wait, of 21 permits this many go to each. In a tie the first named goes first."""
SMOOTHING: Final = 0.05
"""Weight of the newest call in the mean time of a call."""
UNKNOWN: Final = 1.0
"""Seconds that a call is taken to last before one has ended."""


class Rated(Protocol):
    """A limit on calls a second: rate.py's, or one that a fleet shares."""

    @property
    def interval(self) -> float: ...

    def wait(self, now: float) -> float: ...
    def take(self, now: float) -> None: ...
    def give_back(self) -> None: ...


class Counted(Protocol):
    """A limit on calls under way: concurrency.py's."""

    in_flight: int

    @property
    def limit(self) -> int: ...
    def room(self) -> bool: ...
    def take(self) -> None: ...
    def give_back(self) -> None: ...
    def ended(self, *, began: float, now: float, audio_seconds: float, error: BaseException | None) -> None: ...


class Admission:
    """A call needs a permit of both limits; while there is none it waits in its class's queue.

    One queue for both limits, since a call that held one permit while it waited for the other would keep it from someone who could use
    it. Within a class first come, first served; between classes by weighted fair queueing (Demers, Keshav and Shenker, 1989), so live and
    short go first and one permit in five still goes to long when short ones never end.

    Bounds: `queue` calls of each class, so long recordings cannot fill the places of short ones; `queue_timeout` seconds, but a long
    recording's segment waits until its deadline, unless another provider could take it: refused, it would cost the whole recording.
    Over them: RateLimited, with the time that the queue needs.
    """

    def __init__(self, *, provider: str, settings: LimitSettings, rate: Rated, concurrency: Counted, observer: Observer) -> None:
        self._provider, self._settings, self._observer = provider, settings, observer
        self._rate, self._concurrency = rate, concurrency
        self._queues: Final = {traffic: OrderedDict[asyncio.Future[bool], None]() for traffic in WEIGHTS}
        self._turns: Final = dict.fromkeys(WEIGHTS, 0.0)
        self._turn = 0.0
        self._waiting = 0
        self._alarm: tuple[float, asyncio.Handle] | None = None
        self._usual: float | None = None

    def __call__(self, call: Call) -> Call:
        async def admitted(utterance: Utterance, context: Context) -> Recognition:
            began = self._entered(context)
            if began is None:
                began = await self._wait(context)
            try:
                recognition = await call(utterance, context)
            except BaseException as error:  # a cancelled call gives its permit back like any other
                self._ended(began, utterance.duration, error)
                raise
            self._ended(began, utterance.duration, None)
            return recognition

        return admitted

    @asynccontextmanager
    async def session(self, context: Context) -> AsyncIterator[None]:
        """A live session: it needs permits as a call does, but its length says nothing about the vendor's pace."""
        if self._entered(context) is None:
            await self._wait(context)
        try:
            yield
        finally:
            self._concurrency.give_back()
            self._hand_out()

    @property
    def places(self) -> int:
        """Calls of one class that may wait."""
        return self._settings.queue

    def waiting(self) -> dict[str, int]:
        """Calls in the queue of each class."""
        return {traffic.value: len(queue) for traffic, queue in self._queues.items()}

    def close(self) -> None:
        """Ends the timer. Calls that still wait go on waiting until their own time is over."""
        if self._alarm is not None:
            self._alarm[1].cancel()
            self._alarm = None

    def _entered(self, context: Context) -> float | None:
        """The usual case, decided without a pause: nobody waits and both limits have room. Returns the moment, None: it has to wait."""
        now = asyncio.get_running_loop().time()
        if context.deadline <= now:
            raise DeadlineExceeded("the request's timeout ran out before the call", provider=self._provider)
        if self._waiting or not self._concurrency.room() or self._rate.wait(now):
            return None
        self._take(now)
        return now

    async def _wait(self, context: Context) -> float:
        """Waits for a permit of each limit and returns the moment. Raises RateLimited, DeadlineExceeded."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        queue = self._queues[context.traffic]
        limit = "concurrency" if not self._concurrency.room() else "rate"
        if len(queue) >= self._settings.queue:
            self._announce(limit, context, now, 0.0, refused=True)
            raise self._refusal(f"{len(queue)} calls wait for {self._provider} already (policy.limits.queue)")
        patience = self._patience(context)
        permit: asyncio.Future[bool] = loop.create_future()
        self._join(queue, permit, context.traffic)
        timer = loop.call_at(min(now + patience, context.deadline), self._give_up, queue, permit)
        self._hand_out()
        try:
            granted = await permit
        except asyncio.CancelledError:
            if permit.done() and not permit.cancelled() and permit.result():  # cancelled with the permit in hand
                self._give_back()
            raise
        finally:
            timer.cancel()
            self._leave(queue, permit)
        waited = loop.time() - now
        context.trail.waited += waited
        self._announce(limit, context, now, waited, refused=not granted)
        if not granted:
            if context.deadline <= now + patience:
                raise DeadlineExceeded(f"the time allowed ran out in the queue for {self._provider}", provider=self._provider)
            raise self._refusal(f"no permit for {self._provider} within {patience:g} s (policy.limits.queue_timeout)")
        return now + waited

    def _patience(self, context: Context) -> float:
        """Seconds that the call may wait, its deadline apart."""
        if context.traffic is Traffic.LONG:
            return context.patience
        return min(self._settings.queue_timeout, context.patience)

    def _hand_out(self) -> None:
        """Gives permits to those who wait, as many as there are, and sees to it that this happens again when there are more."""
        now = asyncio.get_running_loop().time()
        while self._waiting:
            # A call that ends will come back here.
            if not self._concurrency.room():
                return
            # Nothing ends when the rate allows more: that takes a timer.
            if wait := self._rate.wait(now):
                self._set_alarm(now + wait)
                return
            queue = self._next()
            permit, _ = queue.popitem(last=False)
            self._waiting -= 1
            if not permit.done():
                self._take(now)
                permit.set_result(True)

        self.close()  # nobody waits, so nobody needs waking

    def _set_alarm(self, when: float) -> None:
        if self._alarm is None or self._alarm[0] > when:
            self.close()
            # The moment beside the handle: for one that has passed meanwhile uvloop gives a handle that has none.
            self._alarm = when, asyncio.get_running_loop().call_at(when, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._hand_out()

    def _next(self) -> OrderedDict[asyncio.Future[bool], None]:
        """The queue whose turn it is."""
        traffic = min((traffic for traffic in WEIGHTS if self._queues[traffic]), key=self._turns.__getitem__)
        self._turn = self._turns[traffic]
        self._turns[traffic] += 1 / WEIGHTS[traffic]
        return self._queues[traffic]

    def _join(self, queue: OrderedDict[asyncio.Future[bool], None], permit: asyncio.Future[bool], traffic: Traffic) -> None:
        if not queue:  # who comes late has saved no turns
            self._turns[traffic] = max(self._turns[traffic], self._turn + 1 / WEIGHTS[traffic])
        queue[permit] = None
        self._waiting += 1

    def _leave(self, queue: OrderedDict[asyncio.Future[bool], None], permit: asyncio.Future[bool]) -> None:
        if permit in queue:
            del queue[permit]
            self._waiting -= 1
            if not self._waiting:
                self.close()

    def _give_up(self, queue: OrderedDict[asyncio.Future[bool], None], permit: asyncio.Future[bool]) -> None:
        if not permit.done():
            self._leave(queue, permit)
            permit.set_result(False)

    def _take(self, now: float) -> None:
        self._rate.take(now)
        self._concurrency.take()

    def _give_back(self) -> None:
        self._rate.give_back()
        self._concurrency.give_back()
        self._hand_out()

    def _ended(self, began: float, audio_seconds: float, error: BaseException | None) -> None:
        if isinstance(error, CircuitOpen):  # nothing was sent; so a queue empties at once when the circuit opens
            self._give_back()
            return
        now = asyncio.get_running_loop().time()
        seconds = now - began
        self._usual = seconds if self._usual is None else self._usual + (seconds - self._usual) * SMOOTHING
        self._concurrency.ended(began=began, now=now, audio_seconds=audio_seconds, error=error)
        if self._waiting:
            self._hand_out()

    def _refusal(self, message: str) -> RateLimited:
        """Honest about when: the time that those who wait need, at the rate allowed or at the pace of the calls under way."""
        usual = UNKNOWN if self._usual is None else self._usual
        pace = max(self._rate.interval, usual / self._concurrency.limit)
        return RateLimited(message, retry_after=(self._waiting + 1) * pace, provider=self._provider)

    def _announce(self, limit: str, context: Context, began: float, seconds: float, *, refused: bool) -> None:
        traffic = context.traffic.value
        self._observer(LimitWaited(context.request_id, self._provider, limit, traffic, seconds, refused, context.trace, began))
