"""What a worker's API port says of all workers: health, metrics and the last requests. Its supervisor answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web

from asrproxy.errors import Overloaded

Handler = Callable[[web.Request], Awaitable[web.Response]]
TIMEOUT: Final = 5.0
"""Seconds that a worker gets to answer."""
PATIENCE: Final = 8.0
"""Seconds that a supervisor gets, who may have to wait for a worker that does not."""


async def asked(socket: Path, path: str, headers: Mapping[str, str], timeout: float = TIMEOUT) -> tuple[int, bytes, str]:
    """Status, body and content type of a GET over a Unix socket. Raises OSError, ClientError, TimeoutError."""
    async with (
        ClientSession(connector=UnixConnector(str(socket)), timeout=ClientTimeout(total=timeout)) as session,
        session.get(f"http://localhost{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.read(), answer.headers["Content-Type"]


def passed_on(request: web.Request) -> dict[str, str]:
    """Of a caller's headers: what form it takes, and its token, which each worker checks for itself."""
    return {name: request.headers[name] for name in ("Accept", "Authorization") if name in request.headers}


def relay(socket: Path) -> Handler:
    """A handler that answers as the supervisor at `socket` does."""

    async def relayed(request: web.Request) -> web.Response:
        try:
            status, body, content_type = await asked(socket, request.path_qs, passed_on(request), PATIENCE)
        except (OSError, ClientError, TimeoutError) as error:
            raise Overloaded("the supervisor of the workers does not answer", retry_after=1.0) from error
        return web.Response(status=status, body=body, headers={"Content-Type": content_type})

    return relayed
