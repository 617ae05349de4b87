"""Live audio between the caller and the vendor: what is not sent yet, and what may have to be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

_AHEAD: Final = 10.0
_QUIET: Final = 20.0


class Backlog:
    """Positions are seconds of the caller's stream.

    The caller is read at most ten seconds ahead of what was sent (then it has to wait), and while no sentence is open, twenty seconds of
    what was sent are kept: a sentence that NLS has not noticed by then is none.
    """

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._bytes = bytearray()
        self._base = 0  # byte of the stream that _bytes begins with
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
                self._bytes += piece
                self._moved.set()
                while self._base + len(self._bytes) - self._sent > _AHEAD * self._rate:
                    self._moved.clear()
                    await self._moved.wait()
        finally:
            self.ended = True
            self._moved.set()

    def rewind(self) -> float:
        """A new task is given it from the first that is kept; returns where that is."""
        self._sent = self._base
        return self.sent

    async def take(self, size: int, patience: float) -> bytes:
        """Up to `size` bytes that come next, whole samples; nothing when none came within `patience` seconds, or at the end."""
        while len(self._bytes) - (self._sent - self._base) < 2 and not self.ended:
            self._moved.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._moved.wait()
            except TimeoutError:
                return b""
        begin = self._sent - self._base
        piece = bytes(self._bytes[begin : begin + size])
        piece = piece[: len(piece) // 2 * 2]
        self._sent += len(piece)
        self._moved.set()
        return piece

    @property
    def exhausted(self) -> bool:
        """The caller has ended and all was given out."""
        return self.ended and len(self._bytes) - (self._sent - self._base) < 2

    def settled(self, until: float) -> None:
        """A sentence that ended at `until` is final: what came before is not needed again."""
        self._forget(int(until * self._rate))

    def quiet(self) -> None:
        """No sentence is open."""
        self._forget(self._sent - int(_QUIET * self._rate))

    def _forget(self, until: int) -> None:
        drop = min(until, self._sent) // 2 * 2 - self._base
        if drop > 0:
            del self._bytes[:drop]
            self._base += drop
