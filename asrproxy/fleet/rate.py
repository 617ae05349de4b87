"""One rate for the whole fleet, decided here from permits that were fetched ahead."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

HORIZON: Final = 0.1
"""Seconds ahead for which permits are fetched: at most 2 / HORIZON round trips a second, however many calls."""
BEAT: Final = 5.0
"""Seconds between the signs of life of a sidecar with nothing to ask."""
ABSENT: Final = 3 * BEAT
"""A sidecar silent for this long is not counted any more."""
SLACK: Final = 0.001
"""Seconds: a permit due within one turn of the loop's clock is due now."""
LATE: Final = 0.02
"""Seconds for which a permit stays good when there is no room for it: a timer that rings late must not cost a call."""
RETRY: Final = (0.25, 4.0)
"""Seconds until Redis is tried again: after the first failure, and at most."""

ASK: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local owner, interval, horizon, absent = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local wanted, least = tonumber(ARGV[5]), tonumber(ARGV[6])
redis.call('ZADD', KEYS[2], now, owner)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - absent)
redis.call('PEXPIRE', KEYS[2], math.ceil(absent / 1000))
local sidecars = redis.call('ZCARD', KEYS[2])
local free = tonumber(redis.call('GET', KEYS[1]) or '0')
if free < now or free > now + 2 * (horizon + (sidecars + 1) * interval) then free = now end
local granted = math.max(least, math.min(wanted, math.floor((now + horizon - free) / interval)))
if granted > 0 then
  local after = math.ceil(free + granted * interval)
  redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 60000)
end
local warning = 0
if ARGV[7] ~= '0' then
  redis.call('SET', KEYS[3], owner, 'PX', ARGV[7])
elseif (redis.call('GET', KEYS[3]) or owner) ~= owner then
  warning = redis.call('PTTL', KEYS[3])
end
return {granted, math.ceil(free - now), sidecars, warning}
"""
"""GCRA on Redis' own clock, in microseconds. KEYS: the first free moment; the sidecars by their last sign of life; whose circuit is open.

Grants a run of moments, one an interval, up to the horizon, and at least `least`: those who find the horizon taken queue up in the order in
which they came. A moment further off than any queue can be is a clock that was set back, and is forgotten.
"""
LEAVE: Final = "return redis.call('ZREM', KEYS[1], ARGV[1])"


@dataclass(frozen=True, slots=True)
class Ask:
    """What the next round trip asks for. least: permits to be granted even if none is free soon. opened: seconds for which the others are
    to be warned of this vendor, 0: they are not.
    """

    wanted: int
    least: int
    opened: float = 0.0


class SharedRate:
    """A limit on calls a second (admission's `Rated`) of which this sidecar has its part.

    Redis hands out moments, evenly spaced over all sidecars; each becomes a permit when it comes. Up to `burst // sidecars` (at least one)
    are kept in hand, so the usual call finds its permit here, and the fleet's calls in any T seconds stay within
    `rate * T + max(burst, sidecars)`, to within the time that an answer of Redis took. Without Redis: `rate / sidecars`, by the number
    known last.

    It decides and never waits; the fleet's task does the round trips and says how they went. Times are the loop's. nudge: called when a
    round trip is due earlier than was said. rate: finite. burst: at least 1.
    """

    def __init__(self, name: str, *, rate: float, burst: int, nudge: Callable[[], None]) -> None:
        self.name: Final = name
        self.spacing: Final = 1.0 / rate
        """Seconds between two calls of the fleet."""
        self.interval = self.spacing
        """Seconds between two calls that this sidecar may count on: the fleet's, its own share while Redis is away."""
        self.sidecars = 1
        self.local = False
        self.warnings = 0
        """Answers of Redis that told of another sidecar's open circuit."""
        self._burst = burst
        self._nudge = nudge
        self._nudged = False
        self._ready = 0
        self._due = deque[float]()
        self._last = -math.inf
        self._taken = 0
        self._ahead = 0
        self._asked = -math.inf
        self._retry_at = -math.inf
        self._failures = 0
        self._trip = 0.002
        self._opened = 0.0
        self.warned: Callable[[float], None] = _unheard
        """Called when another sidecar's circuit has opened, with the seconds that this holds."""

    def wait(self, now: float) -> float:
        """Seconds until there is a permit, or until it is worth asking again; 0: now."""
        self._ripen(now)
        if self._ready:
            return 0.0
        if self._due:
            return self._due[0] - now
        self._wake()
        return self._trip

    def take(self, now: float) -> None:
        """Takes the permit that `wait` promised."""
        self._ready -= 1
        self._taken += 1
        self._wake()

    def give_back(self) -> None:
        """The call was not made."""
        self._ready = min(self._ready + 1, self._room)
        self._taken -= 1

    def opened(self, seconds: float) -> None:
        """This sidecar's circuit has opened: the others are warned with the next round trip. A hint: it is lost if that one is."""
        self._opened = seconds
        self._wake()

    def next_trip(self, now: float) -> float:
        """When Redis should be asked."""
        self._nudged = False
        if self.local:
            return self._retry_at
        self._ripen(now)
        if self._opened or (not self._ready and not self._due):
            return now
        return self._asked + (HORIZON / 2 if self._wanted(now) else BEAT)

    def ask(self, now: float) -> Ask:
        """What to ask for now: to fill the hand, and for as many calls as there were, doubled so that it can grow."""
        self._ripen(now)
        elapsed = max(now - self._asked, HORIZON / 2)
        self._ahead = math.ceil(2 * max(0, self._taken) / elapsed * HORIZON)
        self._taken = 0
        self._asked = now
        wanted = self._wanted(now)
        opened, self._opened = self._opened, 0.0
        return Ask(wanted, int(wanted > 0 and not self._ready and not self._due), opened)

    def granted(self, now: float, *, count: int, delay: float, sidecars: int, warning: float = 0.0) -> None:
        """Redis answered: `count` permits, the first `delay` seconds from now, among so many sidecars; another one's circuit is open for
        `warning` seconds more.
        """
        if warning > 0:
            self.warnings += 1
            self.warned(warning)
        self.local = False
        self._failures = 0
        self.interval = self.spacing
        self.sidecars = max(1, sidecars)
        self._trip = min(0.05, max(0.002, now - self._asked))
        start = now + max(0.0, delay)
        if self._due:
            start = max(start, self._due[-1] + self.spacing)
        self._due.extend(start + place * self.spacing for place in range(count))
        self._ripen(now)

    def lost(self, now: float, *, jitter: float) -> None:
        """Redis did not answer: on with the local share. jitter: 0 to 1."""
        if not self.local:
            self.local = True
            self.interval = self.spacing * self.sidecars
            self._last = max(now, self._due[-1] if self._due else now)
        self._failures += 1
        first, most = RETRY
        self._retry_at = now + min(most, first * 2.0 ** min(self._failures - 1, 10)) * (0.5 + 0.5 * jitter)

    @property
    def _room(self) -> int:
        return max(1, self._burst // self.sidecars)

    def _wanted(self, now: float) -> int:
        if self._due and self._due[-1] > now + HORIZON / 2:
            return 0
        return max(0, self._room + self._ahead - self._ready - len(self._due))

    def _ripen(self, now: float) -> None:
        """Permits whose moment has come are in hand; more than there is room for are lost, as in any leaky bucket, but a little later."""
        while self._due and self._due[0] <= now + SLACK:
            if self._ready < self._room:
                self._ready += 1
            elif self._due[0] > now - LATE:
                break
            self._due.popleft()
        if self.local and not self._due:
            # The share is handed out here: what came due since, and the one to come.
            missed = max(0, math.floor((now + SLACK - self._last) / self.interval))
            self._ready += missed
            self._last += (missed + 1) * self.interval
            self._due.append(self._last)
        self._ready = min(self._ready, self._room)

    def _wake(self) -> None:
        if not self._nudged and not self.local:
            self._nudged = True
            self._nudge()


def _unheard(seconds: float) -> None:
    return None
