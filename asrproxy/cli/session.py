"""One live session of the command line: sound in, text on the screen."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import ClientWebSocketResponse, WSMsgType

from asrproxy.cli.client import Failed, Sidecar, failure_of
from asrproxy.cli.inprocess import sidecar_of
from asrproxy.cli.sound import Sound, recorded
from asrproxy.errors import ConfigError

if TYPE_CHECKING:
    from asrproxy.audio.decode import RawFormat
    from asrproxy.config.models import Configuration

INTERRUPTED: Final = 130
"""Exit status of a second Ctrl-C, as the shell has it."""


class Show(Protocol):
    """Where the sidecar's messages go. interim: whether what is being said is wanted too."""

    @property
    def interim(self) -> bool: ...
    def tell(self, message: dict[str, Any]) -> None: ...
    def clear(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """start: the session's first message, but for what is found out about the sound. file: None: the microphone, `-`: standard input."""

    start: Mapping[str, Any]
    file: str | None
    raw: RawFormat | None
    pace: float
    device: str | None
    show: Show


def listen(wanted: Wanted, configuration: Configuration | None, url: str, token: str | None) -> int:
    """configuration: a sidecar of our own is started on it; None: the one at `url` is asked. Returns an exit status."""
    try:
        return asyncio.run(_listen(wanted, configuration, url, token))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone; nothing is left to say
        return 1


def list_microphones() -> int:
    """Returns an exit status."""
    from asrproxy.cli.microphone import devices

    try:
        print(devices())
    except Failed as error:
        return _failed(error)
    return 0


async def _listen(wanted: Wanted, configuration: Configuration | None, url: str, token: str | None) -> int:
    try:
        async with AsyncExitStack() as stack:
            # The sound first: without one nobody has to wait for a sidecar to start.
            sound = await stack.enter_async_context(_sound(wanted))
            sidecar = await stack.enter_async_context(sidecar_of(configuration, url, token))
            await _Session(wanted, sidecar).run(sound)
    except (Failed, ConfigError) as error:
        return _failed(error)
    finally:
        wanted.show.clear()
    return 0


def _failed(error: Exception) -> int:
    print(f"asrproxy listen: {error}", file=sys.stderr, flush=True)
    return 1


def _sound(wanted: Wanted) -> AbstractAsyncContextManager[Sound]:
    if wanted.file is None:
        from asrproxy.cli.microphone import microphone

        return microphone(wanted.device)
    return recorded(None if wanted.file == "-" else Path(wanted.file), wanted.raw, wanted.pace)


class _Session:
    """The first Ctrl-C (or SIGTERM) ends the speaking, and what was said is still told; a second one ends all."""

    def __init__(self, wanted: Wanted, sidecar: Sidecar) -> None:
        self._wanted, self._sidecar = wanted, sidecar
        self._enough, self._stop = asyncio.Event(), asyncio.Event()

    async def run(self, sound: Sound) -> None:
        """Raises Failed; KeyboardInterrupt after the second Ctrl-C."""
        start = {**self._wanted.start, "sample_rate": sound.sample_rate, "encoding": sound.encoding, "interim": self._wanted.show.interim}
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt)
        async with self._sidecar.live(start) as socket:
            hearing = asyncio.create_task(self._hear(socket))
            speaking = asyncio.create_task(self._speak(socket, sound.pieces))
            stopping = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait((hearing, speaking, stopping), return_when=asyncio.FIRST_COMPLETED)
                if speaking.done() and isinstance(error := speaking.exception(), Failed):
                    raise error
                await asyncio.wait((hearing, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not hearing.done():
                    raise KeyboardInterrupt
                await hearing  # what it met is what the sidecar said, where speaking met a closed connection too
            finally:
                for task in (hearing, speaking, stopping):
                    task.cancel()
                await asyncio.gather(hearing, speaking, stopping, return_exceptions=True)

    def _interrupt(self) -> None:
        (self._stop if self._enough.is_set() else self._enough).set()

    async def _speak(self, socket: ClientWebSocketResponse, pieces: AsyncIterator[bytes]) -> None:
        enough = asyncio.create_task(self._enough.wait())
        try:
            async with aclosing(pieces) as rest:  # type: ignore[type-var]
                while not enough.done():
                    piece = asyncio.ensure_future(anext(rest, b""))
                    await asyncio.wait([piece, enough], return_when=asyncio.FIRST_COMPLETED)
                    if not piece.done():
                        piece.cancel()
                        await asyncio.gather(piece, return_exceptions=True)
                        break
                    if not (samples := piece.result()):
                        break
                    await socket.send_bytes(samples)
        finally:
            enough.cancel()
        await socket.send_json({"type": "stop"})

    async def _hear(self, socket: ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            body = message.json()
            self._wanted.show.tell(body)
            match body["type"]:
                case "done":
                    return
                case "error":
                    raise failure_of(body["error"])
        raise Failed(f"the connection to {self._sidecar.url} was lost")
