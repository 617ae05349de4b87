"""A port that serves an application, can stop listening and listen again, and counts who came."""

from __future__ import annotations

import asyncio
import socket
import ssl
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from .faults import Outage, Service
from .replies import reset

_BACKLOG = 1024
_OUT_OF_ORDER = "<html><body><h1>Service Unavailable</h1></body></html>"


class Listener:
    """accepted: TCP connections taken since the start."""

    def __init__(self, app: web.Application, host: str, port: int, *, tls: ssl.SSLContext | None = None, keep_alive: float = 75.0) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2, keepalive_timeout=keep_alive, handle_signals=False
        )
        self._host, self._port, self._tls = host, port, tls
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self.accepted = 0

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, f"[{self._host}]" if ":" in self._host else self._host)  # noqa: S104
        return f"{'http' if self._tls is None else 'https'}://{host}:{self._port}"

    @property
    def open_connections(self) -> int:
        server = self._runner.server
        return 0 if server is None else len(server.connections)

    async def start(self) -> None:
        """Listens from now on. Raises OSError: the port is taken."""
        await self._runner.setup()
        self._reserved = _bound(self._host, self._port)
        self._port = self._reserved.getsockname()[1]
        await self.listen()

    async def listen(self) -> None:
        """Takes connections again."""
        if self._reserved is not None:
            sock, self._reserved = self._reserved, None
            self._server = await asyncio.get_running_loop().create_server(self._accept, sock=sock, ssl=self._tls, backlog=_BACKLOG)

    def refuse(self) -> None:
        """Takes no connection: the port stays ours, but nothing listens on it, so that the kernel refuses."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._reserved = _bound(self._host, self._port)

    def reset_connections(self) -> None:
        """Ends every open connection with a reset."""
        server = self._runner.server
        for protocol in [] if server is None else server.connections:
            reset(protocol.transport)

    async def aclose(self) -> None:
        """Ends what is under way and gives the port back."""
        if self._server is not None:
            self._server.close()
        if self._reserved is not None:
            self._reserved.close()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        self.accepted += 1
        server = self._runner.server
        if server is None:
            raise RuntimeError("a connection came after the end")
        return server()


def in_order(service: Service, handler: Handler) -> Handler:
    """The handler, while its service is; else what a service that is out of order does with a request."""

    async def judged(request: web.Request) -> web.StreamResponse:
        match service.outage:
            case Outage.RESET | Outage.REFUSE:
                reset(request.transport)
                return web.Response(status=HTTPStatus.NO_CONTENT)
            case Outage.ERROR:
                await request.read()
                return web.Response(status=service.http_status, text=_OUT_OF_ORDER, content_type="text/html")
            case Outage.SILENT:
                await service.speaking()
        return await handler(request)

    return judged


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
