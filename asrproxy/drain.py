"""The drain limit: what is still under way then ends, and its caller is told so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from asrproxy.errors import Draining


class DrainLimit:
    """Reached once, at the end of a sidecar whose requests do not end by themselves."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Timeout] = set()
        self._reached = False

    def reach(self) -> None:
        """Ends everything that is inside `heeded`, and what comes into it later."""
        self._reached = True
        for each in self._under_way:
            with suppress(RuntimeError):  # one that is ending as we speak
                each.reschedule(0.0)

    @asynccontextmanager
    async def heeded(self) -> AsyncIterator[None]:
        """What is inside is cancelled when the limit is reached. Raises Draining then."""
        limit = asyncio.timeout(0.0 if self._reached else None)
        try:
            async with limit:
                self._under_way.add(limit)
                try:
                    yield
                finally:
                    self._under_way.discard(limit)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Draining("the proxy shut down before this was finished; try again at another one", retry_after=1.0) from error
