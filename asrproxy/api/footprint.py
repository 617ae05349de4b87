"""How the process of a sidecar stays small and quick: what it asks of the allocator and the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 2**19
_KEPT: Final = 2**21
LOOK: Final = 5.0
"""Seconds between two looks at whether there was a request."""
SHARE: Final = 0.001
"""Of the time, what giving back may take: it holds up whoever allocates meanwhile. Taking the pages anew costs five times as much."""


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


async def give_back(most_lately: Callable[[], int], *, every: float = LOOK) -> None:
    """Gives freed memory back to the system every few seconds in which there were requests. Runs until it is cancelled; glibc only.

    Bodies lie between what lives longer, so what is freed is pages all over the heap, of which glibc returns none by itself: a sidecar
    would stay as large as its worst moment made it, and under constant load grow with each that is worse. What Python's own allocator has
    taken for small objects is not among it.

    most_lately: the most requests that were under way at once since it was last called. every: seconds between looks, at least.
    """
    trim = _trimming()
    pause = every
    while trim is not None:
        await asyncio.sleep(pause)
        if most_lately():
            pause = max(every, await asyncio.to_thread(_took, trim) / SHARE)


def _took(trim: Callable[[int], int]) -> float:
    """Seconds that it worked for, without its waits for the interpreter's lock, which it does not hold meanwhile."""
    began = time.thread_time()
    trim(0)
    return time.thread_time() - began


def _trimming() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    import ctypes

    return getattr(ctypes.CDLL(None), "malloc_trim", None)
