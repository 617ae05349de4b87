"""Blocking vendor code off the event loop, in threads that never keep the process from ending."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], *, name: str) -> T:
    """What `call` returns or raises. Cancelled or timed out, nobody waits for it any longer: it ends by its own time limits.

    A daemon thread and not an executor: those are joined at exit, and a name server that hangs would hold the drain up.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            value = call()
        except BaseException as error:  # the thread's owner: everything goes to whoever waits
            report(error, None)
        else:
            report(None, value)

    def report(error: BaseException | None, value: T | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(deliver, error, value)

    def deliver(error: BaseException | None, value: T | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(value)  # type: ignore[arg-type]

    threading.Thread(target=run, name=name, daemon=True).start()
    return await outcome
