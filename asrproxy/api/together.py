"""Health and metrics on the API port of a worker: its supervisor answers, for all workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web

from asrproxy.errors import Overloaded

Handler = Callable[[web.Request], Awaitable[web.Response]]
TIMEOUT: Final = ClientTimeout(total=5.0)


async def asked(socket: Path, path: str, accept: str = "*/*", timeout: ClientTimeout = TIMEOUT) -> tuple[int, bytes, str]:
    """Status, body and content type of a GET over a Unix socket. Raises OSError, ClientError, TimeoutError."""
    async with (
        ClientSession(connector=UnixConnector(str(socket)), timeout=timeout) as session,
        session.get(f"http://localhost{path}", headers={"Accept": accept}) as answer,
    ):
        return answer.status, await answer.read(), answer.headers["Content-Type"]


def relay(socket: Path) -> Handler:
    """A handler that answers as the supervisor at `socket` does."""

    async def relayed(request: web.Request) -> web.Response:
        try:
            status, body, content_type = await asked(socket, request.path, request.headers.get("Accept", "*/*"))
        except (OSError, ClientError, TimeoutError) as error:
            raise Overloaded("the supervisor of the workers does not answer", retry_after=1.0) from error
        return web.Response(status=status, body=body, headers={"Content-Type": content_type})

    return relayed
