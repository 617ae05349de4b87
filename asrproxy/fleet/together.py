"""The fleet's scripts over a Unix socket: a supervisor that keeps, and workers that ask it in place of Redis."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from asrproxy.fleet.scripts import Away, Ground
from asrproxy.fleet.seal import Clear
from asrproxy.fleet.store import Store, Value

TIMEOUT: Final = 0.25
LARGEST: Final = 2**16
"""Bytes of one line: a question or an answer holds a token at most."""


def together_ground(path: Path) -> Ground:
    """Where the workers of one sidecar meet. The token is not sealed: it never leaves this machine's memory, nor this user's processes."""
    return Ground("supervisor", TogetherScripts(path, timeout=TIMEOUT), Clear(), "asrproxy")


class Keeper:
    """The supervisor's side: answers every worker that connects to `path`, until closed. Only this user may connect."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store = Store(asyncio.get_running_loop().time)
        self._server: asyncio.Server
        self._workers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._talk, self._path, limit=LARGEST)
        self._path.chmod(0o600)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for writer in self._workers:
            writer.transport.abort()  # its talk reads the end

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One worker, as long as it is connected: a line with a question, a line with its answer."""
        self._workers.add(writer)
        owners: set[str] = set()
        try:
            while line := await reader.readline():
                script, keys, arguments = json.loads(line)
                values = [_read(each) for each in arguments]
                owners.add(str(values[0]))
                try:
                    answer: object = self._store.run(script, keys, values)
                except KeyError:
                    answer = None
                writer.write(json.dumps([_written(each) for each in answer] if isinstance(answer, list) else answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # a worker that ended in mid-sentence; a new one will connect
        finally:
            for owner in owners:
                self._store.gone(owner)
            self._workers.discard(writer)
            writer.close()


class TogetherScripts:
    """The workers' side: `Scripts` of the fleet, kept by the supervisor at `path`. One question at a time.

    timeout: seconds for everything, connecting too.
    """

    def __init__(self, path: Path, *, timeout: float) -> None:
        self._path, self._timeout = path, timeout
        self._turn = asyncio.Lock()
        self._link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, script: str, keys: list[str], *arguments: Value) -> Any:
        """What the script returns. Raises Away."""
        question = json.dumps([script, keys, [_written(each) for each in arguments]]).encode() + b"\n"
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                answered = False
                try:
                    reader, writer = self._link = self._link or await asyncio.open_unix_connection(self._path, limit=LARGEST)
                    writer.write(question)
                    await writer.drain()
                    answer = json.loads(await reader.readline())
                    answered = True
                finally:
                    if not answered:  # cancelled too: the answer to come would be taken for the next question's
                        self._drop()
        except (OSError, ValueError, TimeoutError) as error:
            raise Away(type(error).__name__) from error
        if answer is None:
            raise Away("not a script of the supervisor's")
        return [_read(each) for each in answer] if isinstance(answer, list) else answer

    async def aclose(self) -> None:
        if self._link is not None:
            _, writer = self._link
            self._drop()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await writer.wait_closed()

    def _drop(self) -> None:
        if self._link is not None:
            self._link[1].close()
            self._link = None


def _written(value: Value) -> object:
    """As JSON: bytes are a list of their text, one character a byte."""
    return [value.decode("latin-1")] if isinstance(value, bytes) else value


def _read(value: Any) -> Value:
    return value[0].encode("latin-1") if isinstance(value, list) else value  # type: ignore[no-any-return]
