"""A provider gets audio in a format that it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from asrproxy.plugin import AudioFormat, Call, Context, DeadlineExceeded, Recognition, Utterance


class Fit:
    """Converts an utterance whose format is not among `formats`; usually it is, as a route is decoded to its first provider's format.

    formats: what the provider takes, most wanted first. convert: takes an utterance to a format.
    """

    def __init__(self, *, formats: Sequence[AudioFormat], convert: Callable[[Utterance, AudioFormat], Awaitable[Utterance]]) -> None:
        self._formats, self._convert = tuple(formats), convert

    def __call__(self, call: Call) -> Call:
        async def fitting(utterance: Utterance, context: Context) -> Recognition:
            if utterance.format not in self._formats:
                utterance = await self._converted(utterance, context)
            return await call(utterance, context)

        return fitting

    async def _converted(self, utterance: Utterance, context: Context) -> Utterance:
        limit = asyncio.timeout_at(context.deadline)
        try:
            async with limit:
                return await self._convert(utterance, self._formats[0])
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded("the time allowed ran out while the audio was converted") from error
