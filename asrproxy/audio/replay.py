"""A session's audio, read once and kept a while, so that whoever takes over can be given it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from asrproxy.model import BYTES_PER_SAMPLE


class Replay:
    """Mono s16le audio of a session, kept from the end of the last finished sentence on.

    Whoever reads may be cancelled in the middle of a read: nothing that the source gives is lost, whatever kind of iterator it is.
    offset: seconds of the session at which the kept audio begins. sentences: how many are finished.
    """

    LONGEST: Final = 60.0
    """Seconds kept at most: who takes over after a longer stretch without a finished sentence does not hear what is older."""

    def __init__(self, audio: AsyncIterator[bytes], bytes_per_second: int) -> None:
        self._audio = audio
        self._rate = bytes_per_second
        self._most = int(self.LONGEST * bytes_per_second)
        self._kept = bytearray()
        self._base = 0  # the byte of the session that `_kept` begins with
        self._coming: asyncio.Future[bytes] | None = None
        self._ended = False
        self.sentences = 0

    @property
    def offset(self) -> float:
        return self._base / self._rate

    async def again(self) -> AsyncIterator[bytes]:
        """What is kept, then what comes. One reader at a time."""
        at = self._base
        while True:
            at = max(at, self._base)
            if held := bytes(self._kept[at - self._base :]):
                at += len(held)
                yield held
            elif not await self._more():
                return

    def done(self, end: float, sentences: int) -> None:
        """`sentences` are finished, the last one at `end` seconds of the session: what came before is not needed again."""
        self.sentences = sentences
        self._forget(int(end * self._rate) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE - self._base)

    async def aclose(self) -> None:
        """Gives up what it waits for."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)

    async def _more(self) -> bool:
        """Waits for the next piece; False: the audio is over. What the source raises comes out."""
        if self._ended:
            return False
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self._audio))
        await asyncio.wait([self._coming])  # a cancelled reader leaves it to the next one
        coming, self._coming = self._coming, None
        try:
            self._kept += coming.result()
        except StopAsyncIteration:
            self._ended = True
            return False
        self._forget(len(self._kept) - self._most)
        return True

    def _forget(self, size: int) -> None:
        size = min(size, len(self._kept))
        if size > 0:
            del self._kept[:size]
            self._base += size
