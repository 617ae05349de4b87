"""A session's audio, read once, so that whoever takes over can be given it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from asrproxy.kept import KeptAudio


class Replay:
    """Mono s16le audio of a session, kept as long as a provider may fail on it.

    Whoever reads may be cancelled in the middle of a read: nothing that the source gives is lost, whatever kind of iterator it is.
    sentences: how many are finished. speaking: a sentence is open, as far as the reader has said.
    """

    def __init__(self, audio: AsyncIterator[bytes], bytes_per_second: int) -> None:
        self._audio = audio
        self._rate = bytes_per_second
        self._kept = KeptAudio(bytes_per_second, time=asyncio.get_running_loop().time)
        self._coming: asyncio.Future[bytes] | None = None
        self._ended = False
        self.speaking = False
        self.sentences = 0

    @property
    def offset(self) -> float:
        """Seconds of the session at which the kept audio begins."""
        return self._kept.begin / self._rate

    async def again(self) -> AsyncIterator[bytes]:
        """What is kept, then what comes. One reader at a time."""
        at = self._kept.begin
        while True:
            if held := self._kept.part(at, self._kept.end):
                at = self._kept.end
                yield held
                self._kept.given(at, speaking=self.speaking)
            elif not await self._more():
                return

    def done(self, end: float, sentences: int) -> None:
        """`sentences` are finished, the last one at `end` seconds of the session: what came before is not needed again."""
        self.sentences = sentences
        self._kept.settled(end)

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
            self._kept.append(coming.result())
        except StopAsyncIteration:
            self._ended = True
            return False
        return True
