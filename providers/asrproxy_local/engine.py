"""Keeping an engine's process while it is needed: loaded ahead, replaced when it ends, ended when idle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from asrproxy_local.heard import Heard, Order
from asrproxy_local.process import EngineProcess, NotLoaded, Replaced

LOADING: Final = 60.0
"""Seconds after which an engine that does not come up is given up."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
"""Seconds between attempts to load an engine that does not load; they double from the first to the longest."""

Prepare = Callable[[], Awaitable[Mapping[str, Any]]]
"""Sees to it that there is something to load (which may take minutes) and gives the settings for the process. Raises NotLoaded."""


class State(StrEnum):
    """closed: not started. loading: a process is coming up. ready. asleep: ended when idle, or it crashed; the next call starts another.
    failed: it does not load; it is tried again now and then."""

    CLOSED = "closed"
    LOADING = "loading"
    READY = "ready"
    ASLEEP = "asleep"
    FAILED = "failed"


class Engine:
    """At most one process at work. A call waits for it to load; calls over `most` wait their turn, first come, first served.

    idle: seconds without a call after which the process is ended; 0: never. told: hears why an engine does not load.
    """

    def __init__(self, *, prepare: Prepare, most: int, idle: float, told: Callable[[str], None]) -> None:
        self._prepare, self._idle, self._told = prepare, idle, told
        self._permits = asyncio.Semaphore(most)
        self._process: EngineProcess | None = None
        self._opening: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self.calls = 0
        self._open = False
        self.failure: str | None = None
        self.started = 0
        self.load_seconds: float | None = None

    def start(self) -> None:
        """Begins to load; returns at once."""
        self._open = True
        self._begin()

    @property
    def state(self) -> State:
        if not self._open:
            return State.CLOSED
        if self.failure is not None:
            return State.FAILED
        if self._process is not None and not self._process.ended:
            return State.READY
        return State.LOADING if self._opening is not None else State.ASLEEP

    @property
    def pid(self) -> int | None:
        """Of the process, where there is one that answers."""
        return self._process.pid if self._process is not None and not self._process.ended else None

    async def recognize(self, order: Order, pcm: bytes | memoryview) -> Heard:
        """Raises NotLoaded, Crashed."""
        self.calls += 1
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        try:
            while True:
                process = await self._ready()
                async with self._permits:
                    with suppress(Replaced):
                        return await process.recognize(order, pcm)
        finally:
            self.calls -= 1
            self._rest_later()

    async def aclose(self) -> None:
        """Ends the process and whatever is being prepared."""
        self._open = False
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait({opening})
        self._settled.set()  # who still waits is told that it is closed
        if self._resting is not None:
            self._resting.cancel()
        self._part_with_process()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _ready(self) -> EngineProcess:
        while True:
            if self.failure is not None:
                raise NotLoaded(self.failure)
            if not self._open:
                raise NotLoaded("it is not started")
            if self._process is not None and not self._process.ended:
                return self._process
            self._begin()
            await self._settled.wait()

    def _begin(self) -> None:
        if self._opening is None:
            self._settled.clear()
            self._opening = asyncio.create_task(self._load())

    async def _load(self) -> None:
        """Tries until it loads: whoever calls meanwhile is told why it did not, and waits for nothing."""
        pause = FIRST_PAUSE
        while True:
            self._part_with_process()
            try:
                process = await self._loaded()
            except Exception as error:  # this task's owner: a defect here must not leave callers waiting
                if self.failure != str(error):
                    self._told(str(error))
                self.failure = str(error)
                self._settled.set()
            else:
                self._process, self.failure, self._opening = process, None, None
                self._settled.set()
                self._rest_later()
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _loaded(self) -> EngineProcess:
        settings = await self._prepare()
        process = await EngineProcess.begin(settings)
        try:
            async with asyncio.timeout(LOADING):
                self.load_seconds = await process.loading()
        except BaseException as error:
            self._end(process)
            if isinstance(error, TimeoutError):
                raise NotLoaded(f"it did not load within {LOADING:g} s") from error
            raise
        self.started += 1
        return process

    def _rest_later(self) -> None:
        if self._open and self._idle and not self.calls and self._process is not None and self._resting is None:
            self._resting = asyncio.get_running_loop().call_later(self._idle, self._rest)

    def _rest(self) -> None:
        self._resting = None
        self._part_with_process()

    def _part_with_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._end(process)

    def _end(self, process: EngineProcess) -> None:
        process.kill()
        task = asyncio.create_task(process.wait())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
