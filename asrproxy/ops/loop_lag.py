"""Looks whether the event loop keeps time: what holds it up holds up every request."""

from __future__ import annotations

import asyncio
from typing import Final

from asrproxy.events import LoopLagged, Observer

INTERVAL: Final = 0.5
"""Seconds between two looks: a hold-up that is longer is always seen, a shorter one as often as it is long."""


async def watch_loop(announce: Observer, *, interval: float = INTERVAL) -> None:
    """Announces with every look how late it came. Runs until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        announce(LoopLagged(max(0.0, loop.time() - due)))
