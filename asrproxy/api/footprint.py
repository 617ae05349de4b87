"""How the process of a sidecar stays small and quick: what it asks of the allocator and the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 2**19
_KEPT: Final = 2**21
LOOK: Final = 5.0
"""Seconds between two looks at how many requests are under way."""
RUSH: Final = 64
"""Requests under way at once whose bodies are worth giving back: 10 MB and more."""


def return_large_blocks() -> None:
    """Blocks of half a megabyte and more go back to the system when they are freed. glibc only; elsewhere nothing happens.

    glibc raises that bound to the largest block that was freed. After the first minute of speech (1.9 MB) it would keep those that
    follow in its heap, between what lives longer: 18 MiB more after an hour's recording, for good.
    """
    if sys.platform == "linux":
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGE)
            mallopt(_M_TRIM_THRESHOLD, _KEPT)  # setting either ends the adjustment of both


def freeze() -> None:
    """What is there now stays to the end: the collector need not look at it again and again. To be called when all is loaded."""
    gc.collect()
    gc.freeze()


async def give_back_after_rushes(most_lately: Callable[[], int], *, every: float = LOOK) -> None:
    """Gives freed memory back to the system each time that a rush is over. Runs until it is cancelled; glibc only.

    Bodies of a rush lie between what lives longer, so its end frees pages all over the heap, of which glibc returns none by itself: after
    thousands of requests at once a sidecar would stay as large as they made it. most_lately: the most requests that were under way at once
    since it was last called. every: seconds between looks.
    """
    trim = _trimming()
    rush = 0
    while trim is not None:
        await asyncio.sleep(every)
        rush = max(rush, most := most_lately())
        if rush >= RUSH and most <= rush // 8:
            rush = most
            await asyncio.to_thread(trim, 0)  # without the interpreter's lock: it takes a while where there is much to give back


def _trimming() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    import ctypes

    return getattr(ctypes.CDLL(None), "malloc_trim", None)
