"""One process with one engine in it, from its start to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from typing import Any, Final, Self

from asrproxy.plugin import bare_environment
from asrproxy_local.channel import Head, head_of_frame, read_frame
from asrproxy_local.heard import Heard, Order

_OF_ENGINES: Final = r"(OMP|GOMP|KMP|MKL|OPENBLAS|CT2|ORT|MOONSHINE|MALLOC)_.*|CUDA_VISIBLE_DEVICES"
"""How people tune the libraries that compute."""

CANCELLING: Final = 1.0
"""Seconds that a cancelled call may go on before the process is ended over it."""


class NotLoaded(Exception):
    """The engine could not be loaded; the message says why."""


class Crashed(Exception):
    """The engine ended or failed under this call."""


class Replaced(Exception):
    """The process was ended for another call's sake: this one had better be made again, in the next process."""


class EngineProcess:
    """Speaks frames with `engine_worker` over a pair of sockets; whatever a library prints cannot get in between.

    `loaded` becomes true or false once. After `ended` has become true it takes nothing more; it is never started a second time.
    """

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self._numbers = count(1)
        self._calls: dict[int, asyncio.Future[Heard]] = {}
        self._cancelled: dict[int, asyncio.TimerHandle] = {}
        self._loaded: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._replaced = False
        self.ended = False
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def begin(cls, settings: Mapping[str, Any]) -> Self:
        """Starts the process, which begins to load. Raises NotLoaded: the system gives no process."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "asrproxy_local.engine_worker", str(theirs.fileno()), str(os.getpid())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=bare_environment(_OF_ENGINES),
                )
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except OSError as error:
            ours.close()
            raise NotLoaded(f"no process can be started: {error.strerror or error}") from error
        except BaseException:
            ours.close()  # the process, if there is one, ends when nobody holds the other end
            raise
        writer.write(head_of_frame(settings))
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def loading(self) -> float:
        """Returns once the engine is loaded: how many seconds it took. Raises NotLoaded."""
        return await asyncio.shield(self._loaded)

    async def recognize(self, order: Order, pcm: bytes | memoryview) -> Heard:
        """Raises Crashed, Replaced. Cancelling it ends the call in the engine, or the engine where that cannot be done."""
        if self.ended:
            raise Replaced
        number = next(self._numbers)
        answer: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        self._writer.write(head_of_frame({"op": "recognize", "id": number, "order": asdict(order)}, pcm))
        self._writer.write(pcm)
        try:
            return await answer
        except asyncio.CancelledError:
            if number in self._calls and not self.ended:
                self._writer.write(head_of_frame({"op": "cancel", "id": number}))
                self._cancelled[number] = asyncio.get_running_loop().call_later(CANCELLING, self.replace)
            raise

    def replace(self) -> None:
        """Ends it; the calls in it are free to be made again."""
        self._replaced = True
        self.kill()

    def kill(self) -> None:
        """Ends it at once. `wait` returns when it is over."""
        self.ended = True
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def wait(self) -> None:
        await asyncio.wait({self._listening})

    async def _listen(self) -> None:
        try:
            while True:
                self._take(await read_frame(self._reader))
        except (EOFError, OSError, ValueError):
            pass  # it has ended, or is beyond being spoken with
        finally:
            self.kill()
            self._writer.close()
            self._fail(_how(await self._process.wait()))

    def _take(self, head: Head) -> None:
        if event := head.get("event"):
            if event == "loaded":
                self._loaded.set_result(head["seconds"])
            else:
                self._not_loaded(head["message"])
            return
        if timer := self._cancelled.pop(head["id"], None):
            timer.cancel()
        answer = self._calls.pop(head["id"])
        if answer.done():
            return
        if reason := head.get("error") or head.get("crashed"):
            answer.set_exception(Crashed(reason))
        else:
            words = head["words"]
            timed = None if words is None else tuple((text, start, end) for text, start, end in words)
            answer.set_result(Heard(head["text"], head["language"], timed))

    def _fail(self, how: str) -> None:
        if not self._loaded.done():
            self._not_loaded(f"its process {how} while it loaded")
        for timer in self._cancelled.values():
            timer.cancel()
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(Replaced() if self._replaced else Crashed(how))
        self._calls.clear()
        self._cancelled.clear()

    def _not_loaded(self, reason: str) -> None:
        self._loaded.set_exception(NotLoaded(reason))
        self._loaded.exception()  # whether or not somebody still waits for it


def _how(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"
