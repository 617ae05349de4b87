"""What every task and thread of this process is doing: for a process that hangs, or should not."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from asrproxy.events import Noted

DEEPEST: Final = 30
"""Frames of a stack that are told, the innermost ones."""


def dump() -> Iterator[Noted]:
    """A note for each task of the running loop and each thread: places in the code, no values."""
    current = asyncio.current_task()
    for task in sorted(asyncio.all_tasks(), key=lambda each: each.get_name()):
        if task is not current:
            coroutine = task.get_coro()
            yield Noted("warning", "task", {"name": task.get_name(), "coroutine": _name(coroutine), "stack": list(_awaits(coroutine))})
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        yield Noted("warning", "thread", {"name": names.get(ident, str(ident)), "stack": _places(frame)})


def _awaits(coroutine: Any) -> Iterator[str]:
    """From the outermost coroutine to the one that waits."""
    for _ in range(DEEPEST):
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is None:
            return
        yield _place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None) or getattr(coroutine, "ag_await", None)


def _places(frame: FrameType) -> list[str]:
    return [_place(each.filename, each.lineno or 0, each.name) for each in traceback.extract_stack(frame)[-DEEPEST:]]


def _place(file: str, line: int, name: str) -> str:
    shortened = file.rpartition("site-packages/")[2] if "site-packages/" in file else file[file.rfind("/asrproxy") + 1 :]
    return f"{shortened}:{line} {name}"


def _name(coroutine: Any) -> str:
    return getattr(coroutine, "__qualname__", type(coroutine).__name__)
