"""Live audio between the caller and the vendor: what is not sent yet, and what may have to be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from asrproxy.plugin import KeptAudio

_AHEAD: Final = 10.0
_SAMPLE: Final = 2


class Backlog:
    """Moments are seconds of the caller's stream. The caller is read at most ten seconds ahead of what was sent; then it has to wait."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._kept = KeptAudio(bytes_per_second, time=asyncio.get_running_loop().time)
        self._sent = 0  # byte of the stream up to which the current task has been given it
        self._moved = asyncio.Event()
        self.ended = False
        self.done = False

    @property
    def sent(self) -> float:
        """How far the current task has been given it."""
        return self._sent / self._rate

    async def fill(self, audio: AsyncIterator[bytes]) -> None:
        """Reads the caller to the end."""
        try:
            async for piece in audio:
                self._kept.append(piece)
                self._moved.set()
                while self._kept.end - self._sent > _AHEAD * self._rate:
                    self._moved.clear()
                    await self._moved.wait()
        finally:
            self.ended = True
            self._moved.set()

    def rewind(self) -> float:
        """A new task is given it from the first that is kept; returns where that is."""
        self._sent = self._kept.begin
        return self.sent

    async def take(self, size: int, patience: float) -> bytes:
        """Up to `size` bytes that come next, whole samples; nothing when none came within `patience` seconds, or at the end."""
        if self._left < _SAMPLE and not self.ended:
            await self._wait(patience)
        piece = self._kept.part(self._sent, self._sent + min(size, self._left) // _SAMPLE * _SAMPLE)
        self._sent += len(piece)
        self._moved.set()
        return piece

    async def _wait(self, patience: float) -> None:
        """Until there is something, or the end, or so many seconds are over. For each frame: a timer is less work than a timeout."""
        over = False

        def end() -> None:
            nonlocal over
            over = True
            self._moved.set()

        timer = asyncio.get_running_loop().call_later(patience, end)
        try:
            while self._left < _SAMPLE and not self.ended and not over:
                self._moved.clear()
                await self._moved.wait()
        finally:
            timer.cancel()

    @property
    def exhausted(self) -> bool:
        """The caller has ended and all was given out."""
        return self.ended and self._left < _SAMPLE

    def settled(self, until: float) -> None:
        """A sentence that ended at `until` is final: what came before is not needed again."""
        self._kept.settled(min(until, self.sent))

    def given(self, *, speaking: bool) -> None:
        """The current task has been given what was taken. speaking: a sentence is open."""
        self._kept.given(self._sent, speaking=speaking)

    def since(self, moment: float) -> bytes:
        """What the current task has been given since then, as far as it is kept."""
        return self._kept.part(self._kept.position(moment), self._sent)

    @property
    def _left(self) -> int:
        return self._kept.end - self._sent
