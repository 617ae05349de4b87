"""Calls to a sidecar, as the command line makes them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    TCPConnector,
    UnixConnector,
    WSServerHandshakeError,
)

from asrproxy.cli.reading import opened, pieces
from asrproxy.cli.recordings import Recording

CONNECT: Final = 5.0
LONGEST: Final = 12 * 3600.0
"""Seconds for an answer where the caller names no timeout: the sidecar's own policy ends it long before."""
GRACE: Final = 15.0
"""Seconds past the caller's timeout in which the sidecar's own answer about it may come."""
CLOSE: Final = 2.0
"""Seconds for the end of a live session."""

OnEvent = Callable[[str, dict[str, Any]], None]
"""Hears `progress` and `segment` with their data."""


class Failed(Exception):
    """A recording that was not recognised: one line that a person can act on. body: the sidecar's error object, where it sent one."""

    def __init__(self, message: str, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.body = body or {"code": "unreachable", "message": message}


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar to call. url: `http(s)://HOST:PORT`, what is shown to people too; base: what aiohttp is given."""

    session: ClientSession
    url: str
    base: str

    async def recognize(
        self, recording: Recording, parameters: Mapping[str, str], *, timeout: float | None, on_event: OnEvent | None = None
    ) -> bytes:
        """The answer's body in the format that the parameters ask for; with on_event by server-sent events, then JSON. Raises Failed."""
        limit = ClientTimeout(total=LONGEST if timeout is None else timeout + GRACE, sock_connect=CONNECT)
        streamed = dict(parameters) if on_event is None else {**parameters, "stream": "true"}
        try:
            with opened(recording.path) as file:
                async with self.session.post(
                    f"{self.base}/v1/recognize",
                    params=streamed,
                    data=pieces(file),
                    headers={"Content-Type": "application/octet-stream"},
                    timeout=limit,
                ) as answer:
                    if answer.status != 200:
                        raise _refused(await answer.read(), answer.status)
                    if on_event is None:
                        return await answer.read()
                    return await _result(answer, on_event)
        except TimeoutError as error:
            raise Failed(f"{self.url} did not answer in time") from error
        except ClientConnectionError as error:
            raise Failed(f"the connection to {self.url} was lost: {error}") from error
        except ClientError as error:
            raise Failed(f"{self.url} did not answer as a sidecar does: {error}") from error
        except OSError as error:
            raise Failed(f"cannot be read: {error.strerror or error}") from error

    async def status(self) -> dict[str, Any]:
        """What `/v1/status` says. Raises Failed."""
        return await self._asked("/v1/status")

    async def recent(self, *, after: int, limit: int, transcripts: bool = False) -> dict[str, Any]:
        """What `/v1/recent` says. Raises Failed."""
        said = "&transcripts=true" if transcripts else ""
        return await self._asked(f"/v1/recent?after={after}&limit={limit}{said}")

    async def _asked(self, path: str) -> dict[str, Any]:
        try:
            async with self.session.get(f"{self.base}{path}", timeout=ClientTimeout(total=CONNECT)) as answer:
                body = await answer.read()
                if answer.status != 200:
                    raise _refused(body, answer.status)
                said: dict[str, Any] = json.loads(body)
                return said
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            raise Failed(f"{self.url} does not say how it is: {error or type(error).__name__}") from error

    @asynccontextmanager
    async def live(self, start: Mapping[str, Any]) -> AsyncIterator[ClientWebSocketResponse]:
        """A live session that has begun; the messages that come are the caller's to read. Raises Failed: it was refused."""
        address = f"{self.base}/v1/stream"
        try:
            socket = await self.session.ws_connect(address, max_msg_size=0, timeout=ClientWSTimeout(ws_close=CLOSE))
        except WSServerHandshakeError as error:
            # An answer to an upgrade is not shown to us whole; the same question without one has the same refusal.
            async with self.session.get(address) as answer:
                raise _refused(await answer.read(), error.status) from error
        except (ClientError, OSError, ValueError) as error:
            raise Failed(await self.unreachable() or f"{self.url} takes no live session: {error}") from error
        async with socket:
            await socket.send_json(start)
            yield socket

    async def unreachable(self) -> str | None:
        """Why nothing can be asked of it; None: it answers."""
        try:
            async with self.session.get(f"{self.base}/livez", timeout=ClientTimeout(total=CONNECT)) as answer:
                if answer.status == 200:
                    return None
                return f"{self.url} answers, but not as a sidecar does (status {answer.status})"
        except (ClientError, OSError, ValueError) as error:  # ValueError: not an address
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number else str(error) or "no answer in time"
            return f"no sidecar answers at {self.url} ({reason}): start one with `asrproxy serve`, name one with --url, or give -c FILE"

    async def reach(self) -> None:
        """Raises Failed where nothing can be asked of it."""
        if (reason := await self.unreachable()) is not None:
            raise Failed(reason)

    async def ready(self, within: float) -> None:
        """Returns when it says that it is ready, or after that many seconds: its answers say then what is wrong."""
        until = asyncio.get_running_loop().time() + within
        while asyncio.get_running_loop().time() < until:
            async with self.session.get(f"{self.base}/readyz", timeout=ClientTimeout(total=CONNECT)) as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def calling(url: str, token: str | None) -> AsyncIterator[Sidecar]:
    """A session with a sidecar at `http(s)://HOST:PORT` or `unix:PATH`."""
    connector = UnixConnector(url.removeprefix("unix:")) if url.startswith("unix:") else TCPConnector()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    base = "http://localhost" if url.startswith("unix:") else url.rstrip("/")
    async with ClientSession(connector=connector, headers=headers, read_bufsize=2**20) as session:
        yield Sidecar(session, url, base)


async def _result(answer: ClientResponse, on_event: OnEvent) -> bytes:
    """Reads server-sent events to the `result`."""
    event, data = "", b""
    async for line in _lines(answer):
        if line.startswith(b"event:"):
            event = line.removeprefix(b"event:").strip().decode()
        elif line.startswith(b"data:"):
            data = line.removeprefix(b"data:").strip()
        elif not line and event:
            match event:
                case "result":
                    return data
                case "error":
                    raise _refused(data, answer.status)
                case _:
                    on_event(event, json.loads(data))
            event, data = "", b""
    raise Failed("the answer ended in the middle")


async def _lines(answer: ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: the result of hours of speech is one."""
    rest = bytearray()
    async for piece in answer.content.iter_any():
        rest += piece
        while (end := rest.find(b"\n")) >= 0:
            line = bytes(rest[:end])
            del rest[: end + 1]
            yield line.rstrip(b"\r")


def _refused(body: bytes, status: int) -> Failed:
    try:
        return failure_of(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return Failed(f"status {status}, and not in a sidecar's words")


def failure_of(error: Mapping[str, Any]) -> Failed:
    """The contract's error as one line: what happened, and what is known for whoever looks into it."""
    message, code = str(error["message"]), str(error["code"])
    details = [f"provider {error['provider']}"] if error.get("provider") else []
    if error.get("provider_status") is not None:
        details.append(f"vendor's code {error['provider_status']}")
    if error.get("retryable"):
        details.append("trying again may help")
    if error.get("request_id"):
        details.append(f"request {error['request_id']}")
    return Failed(f"{code}: {message}" + (f" ({', '.join(details)})" if details else ""), error)
