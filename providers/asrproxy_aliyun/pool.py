"""Connections to the gateway: kept for the next call, counted, and replaced when the peer had closed one under us."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from asrproxy.plugin import Connections
from asrproxy_aliyun.settings import PoolSettings
from asrproxy_http.exchange import Answer, ConnectionCount, Connector, Exchange, StaleConnection
from asrproxy_http.tls import tls_context

_CONNECT: Final = 5.0  # seconds for TCP and TLS to one address; a call is bounded by the core's attempt_timeout, this only by sense
_WARMING: Final = 3.0
_USER_AGENT: Final = "asrproxy"


class Pool:
    """Keeps up to `size` connections, each for `idle` seconds after its last call; a call beyond them has one of its own.

    So it never makes a call wait: how many may run at once is the policy's business.
    """

    def __init__(self, settings: PoolSettings, base: str, *, ca_file: Path | None = None) -> None:
        self._settings = settings
        self._base = URL(base)
        self._ca_file = ca_file
        self._open: _Open | None = None
        self._count = ConnectionCount()
        self._busy = 0
        self._stale = 0
        self._warming: asyncio.Task[None] | None = None

    @property
    def where(self) -> str:
        """The gateway, for error messages."""
        return self._base.authority

    def start(self, *, warm: bool) -> None:
        """Opens the connectors. warm: begins to open connections too, in a task."""
        tls = tls_context(self._ca_file) if self._base.scheme == "https" else False
        kept = Connector(self._count, limit=0, keepalive_timeout=self._settings.idle, ssl=tls, ttl_dns_cache=60)
        single = Connector(self._count, limit=0, force_close=True, ssl=tls, ttl_dns_cache=60)
        self._open = _Open(Exchange(self._base, connect_timeout=_CONNECT), kept, single, _session(single))
        if warm and self._settings.warm:
            self._warming = asyncio.create_task(self._warm(kept), name="aliyun-warm")

    def head(self, url: URL, headers: Mapping[str, str]) -> bytes:
        """The first lines of calls to one address, to be kept by whoever makes many."""
        return self._ways().exchange.head(url, {"User-Agent": _USER_AGENT, **headers})

    async def post(self, head: bytes, *body: bytes | memoryview) -> Answer:
        """One POST. head: by `head`. body: its pieces. Raises Unreachable or Garbled. Cancelled, it closes its connection.

        A kept connection that the peer closed before any byte of an answer is not the vendor's fault (both may close an idle one at any
        time), so that one case is repeated at once, and costs no attempt.
        """
        try:
            return await self._exchange(head, body)
        except StaleConnection:
            self._stale += 1
        return await self._exchange(head, body)

    async def _exchange(self, head: bytes, body: tuple[bytes | memoryview, ...]) -> Answer:
        ways = self._ways()
        connector = ways.kept if self._busy < self._settings.size else ways.single
        self._busy += 1
        try:
            return await ways.exchange.post(connector, head, *body)
        finally:
            self._busy -= 1

    def _ways(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the pool is not started")
        return self._open

    def websocket(self, url: URL, headers: CIMultiDict[str]) -> Any:
        """A context manager: a WebSocket on a connection of its own.

        Without pings: what is sent shows whether the line stands, a gateway that is slow for a moment must not lose all its lines at once,
        and aiohttp's timer for them would hold each socket for as long again after its end.
        """
        return self._ways().sockets.ws_connect(url, headers=headers, compress=0, max_msg_size=2**22)

    def connections(self) -> Connections:
        idle = max(0, self._count.open() - self._busy)
        return Connections(self._busy, idle, self._count.opened, self._count.reused)

    def status(self) -> Mapping[str, object]:
        open_now = self._count.open()
        return {
            "size": self._settings.size,
            "open": open_now,
            "idle": max(0, open_now - self._busy),
            "opened": self._count.opened,
            "reused": self._count.reused,
            "stale": self._stale,
        }

    async def aclose(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        if self._open is not None:
            await self._open.sockets.close()
            await self._open.kept.close()

    async def _warm(self, kept: Connector) -> None:
        """Opens connections with a request that recognises nothing. If it fails, the first call says so."""
        async with aiohttp.ClientSession(connector=kept, connector_owner=False, headers={"User-Agent": _USER_AGENT}) as session:

            async def one() -> None:
                async with asyncio.timeout(_WARMING), session.head(self._base, allow_redirects=False) as response:
                    await response.read()

            await asyncio.gather(*(one() for _ in range(min(self._settings.warm, self._settings.size))), return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Open:
    """What a started pool has. single: for calls beyond the pool. sockets: opens WebSockets, each on a connection of its own."""

    exchange: Exchange
    kept: Connector
    single: Connector
    sockets: aiohttp.ClientSession


def _session(connector: Connector) -> aiohttp.ClientSession:
    staying = aiohttp.TraceConfig()
    staying.on_request_redirect.append(_stay)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
        skip_auto_headers=("Accept", "Accept-Encoding"),
        headers={"User-Agent": _USER_AGENT},
        auto_decompress=False,
        trace_configs=[staying],
    )


async def _stay(session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams) -> None:
    """Ends a WebSocket's handshake at a redirect. aiohttp would follow it, with the token in a header, and has no switch for that."""
    response = params.response
    response.close()
    raise aiohttp.WSServerHandshakeError(response.request_info, (), status=response.status, headers=response.headers)
