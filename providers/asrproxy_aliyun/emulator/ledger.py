"""What the cloud has seen: every call with its outcome, counted, and waited for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from .codes import CLIENT_DISCONNECT, SUCCESS, NlsFailure

_REMEMBERED: Final = 10_000


class Kind(StrEnum):
    """What was called."""

    TOKEN = "token"  # noqa: S105
    REST = "rest"
    RECOGNIZER = "recognizer"
    TRANSCRIBER = "transcriber"
    FLASH = "flash"


@dataclass(slots=True, eq=False)
class Call:
    """One recognition call. status: None while it is under way. started, ended: Unix seconds. options: as the client wrote them."""

    kind: Kind
    task_id: str
    started: float
    options: Mapping[str, object] = field(default_factory=dict)
    audio_seconds: float = 0.0
    text: str | None = None
    status: int | None = None
    ended: float | None = None
    audio_bytes: int = 0
    arrived: bool = False


class Ledger:
    """Lives on one event loop. in_flight, max_in_flight: recognition calls under way now, and most at once."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=_REMEMBERED)
        self.requests: Counter[Kind] = Counter()
        self.statuses: Counter[int] = Counter()
        self.refused_handshakes = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.arrived = 0
        self.audio_seconds = 0.0
        self._reported: deque[Call] = deque(maxlen=_REMEMBERED)
        self._waiting: set[asyncio.Future[None]] = set()

    @contextmanager
    def call(self, kind: Kind, task_id: str, options: Mapping[str, object]) -> Iterator[Call]:
        """A recognition call, from its first byte to its answer; left by an exception it has that status, cancelled: 40010004."""
        call = Call(kind, task_id, time.time(), options)
        self.requests[kind] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.calls.append(call)
        self._changed()
        try:
            yield call
            call.status = SUCCESS if call.status is None else call.status
        except NlsFailure as failure:
            call.status = failure.status
            raise
        finally:
            call.status = CLIENT_DISCONNECT if call.status is None else call.status
            call.ended = time.time()
            self.statuses[call.status] += 1
            self.audio_seconds += call.audio_seconds
            self.in_flight -= 1
            self._changed()

    def arrive(self, call: Call) -> None:
        """The cloud begins to work on the call: its audio is there, or for a WebSocket its start."""
        call.arrived = True
        self.arrived += 1
        self._reported.append(call)
        self._changed()

    def count(self, kind: Kind) -> None:
        """A request that is no recognition call."""
        self.requests[kind] += 1
        self._changed()

    async def next_arrival(self) -> Call:
        """The next call that arrived and was not yet handed out here; waits for it."""
        while not self._reported:
            await self._change()
        return self._reported.popleft()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until it holds."""
        while not condition():
            await self._change()

    def forget(self) -> None:
        """Counts from zero; calls under way stay."""
        self.calls = deque((each for each in self.calls if each.ended is None), maxlen=_REMEMBERED)
        self.requests.clear()
        self.statuses.clear()
        self._reported.clear()
        self.refused_handshakes = self.arrived = 0
        self.max_in_flight = self.in_flight
        self.audio_seconds = 0.0

    async def _change(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def _changed(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
