"""Connections to the gateway: kept for the next call, counted, and replaced when the peer had closed one under us."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from asrproxy.plugin import ConfigError, Connections, Garbled, Unreachable
from asrproxy_aliyun.settings import PoolSettings
from asrproxy_aliyun.status import network_errors

_CONNECT: Final = 5.0  # seconds for name, TCP and TLS; a call is bounded by the core's attempt_timeout, this only by sense
_WARMING: Final = 3.0
_LARGEST_ANSWER: Final = 16 * 2**20
_PIECE: Final = 2**18  # a longer write would keep the loop from turning while the kernel copies it

# Whether the connection that this task's call was given had served before; aiohttp connects in the task that calls.
_KEPT: Final[ContextVar[bool]] = ContextVar("aliyun_kept_connection", default=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Pool:
    """Keeps up to `size` connections, each for `idle` seconds after its last call; a call beyond them has one of its own.

    So it never makes a call wait: how many may run at once is the policy's business.
    """

    def __init__(self, settings: PoolSettings, base: str, *, ca_file: Path | None = None, proxy: str | None = None) -> None:
        self._settings = settings
        self._base = URL(base)
        self._ca_file = ca_file
        self._proxy = proxy
        self._kept: aiohttp.ClientSession | None = None
        self._single: aiohttp.ClientSession | None = None
        self._count = _Count()
        self._busy = 0
        self._stale = 0
        self._warming: asyncio.Task[None] | None = None

    @property
    def where(self) -> str:
        """The gateway, for error messages."""
        return self._base.authority

    def start(self, *, warm: bool) -> None:
        """Opens the sessions. warm: begins to open connections too, in a task."""
        tls = tls_context(self._ca_file) if self._base.scheme == "https" else False
        staying = aiohttp.TraceConfig()
        staying.on_request_redirect.append(_stay)
        self._kept = self._session(_Connector(self._count, limit=0, keepalive_timeout=self._settings.idle, ssl=tls, ttl_dns_cache=60), [])
        self._single = self._session(_Connector(self._count, limit=0, force_close=True, ssl=tls, ttl_dns_cache=60), [staying])
        if warm and self._settings.warm:
            self._warming = asyncio.create_task(self._warm(self._kept), name="aliyun-warm")

    async def post(self, url: URL, headers: CIMultiDict[str], body: bytes | memoryview, *, head: bytes = b"") -> Answer:
        """One POST of `body`, with `head` in front of it. Raises Unreachable or Garbled. Cancelled, it closes its connection.

        A kept connection that the peer closed before any byte of an answer is not the vendor's fault (both may close an idle one at any
        time), so that one case is repeated at once, and costs no attempt.
        """
        try:
            return await self._exchange(url, headers, body, head)
        except _Stale:
            self._stale += 1
        return await self._exchange(url, headers, body, head)

    async def _exchange(self, url: URL, headers: CIMultiDict[str], body: bytes | memoryview, head: bytes) -> Answer:
        session = self._kept if self._busy < self._settings.size else self._single
        if session is None:
            raise RuntimeError("the pool is not started")
        self._busy += 1
        _KEPT.set(False)
        try:
            with network_errors(self.where):
                response = await self._begun(session, url, headers, Samples(body, head))
                try:
                    if (response.content_length or 0) > _LARGEST_ANSWER:
                        raise Garbled(f"{self.where} answered {response.content_length} bytes")
                    return Answer(response.status, response.headers, await self._read(response))
                except BaseException:
                    response.close()
                    raise
        finally:
            self._busy -= 1

    async def _begun(self, session: aiohttp.ClientSession, url: URL, headers: CIMultiDict[str], body: Samples) -> aiohttp.ClientResponse:
        try:
            return await session.post(url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if _KEPT.get() and not isinstance(error, aiohttp.ClientConnectorError) and _without_answer(error):
                raise _Stale(f"{self.where} had closed a kept connection") from error
            raise

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.read()
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise Garbled(f"the answer of {self.where} was cut in the middle") from error

    def websocket(self, url: URL, headers: CIMultiDict[str]) -> Any:
        """A context manager: a WebSocket on a connection of its own.

        Without pings: what is sent shows whether the line stands, a gateway that is slow for a moment must not lose all its lines at once,
        and aiohttp's timer for them would hold each socket for as long again after its end.
        """
        if self._single is None:
            raise RuntimeError("the pool is not started")
        return self._single.ws_connect(url, headers=headers, compress=0, max_msg_size=2**22)

    def connections(self) -> Connections:
        idle = max(0, self._count.open() - self._busy)
        return Connections(self._busy, idle, self._count.opened, self._count.asked - self._count.opened)

    def status(self) -> Mapping[str, object]:
        open_now = self._count.open()
        return {
            "size": self._settings.size,
            "open": open_now,
            "idle": max(0, open_now - self._busy),
            "opened": self._count.opened,
            "reused": self._count.asked - self._count.opened,
            "stale": self._stale,
        }

    async def aclose(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        for session in (self._kept, self._single):
            if session is not None:
                await session.close()

    def _session(self, connector: _Connector, traces: list[aiohttp.TraceConfig]) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
            skip_auto_headers=("Accept", "Accept-Encoding"),
            headers={"User-Agent": "asrproxy"},
            auto_decompress=False,
            proxy=self._proxy,
            trace_configs=traces,
        )

    async def _warm(self, session: aiohttp.ClientSession) -> None:
        """Opens connections with a request that recognises nothing. If it fails, the first call says so."""

        async def one() -> None:
            async with asyncio.timeout(_WARMING), session.head(self._base, allow_redirects=False) as response:
                await response.read()

        await asyncio.gather(*(one() for _ in range(min(self._settings.warm, self._settings.size))), return_exceptions=True)


async def _stay(session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams) -> None:
    """Ends a WebSocket's handshake at a redirect. aiohttp would follow it, with the token in a header, and has no switch for that."""
    response = params.response
    response.close()
    raise aiohttp.WSServerHandshakeError(response.request_info, (), status=response.status, headers=response.headers)


class _Stale(Unreachable):
    """A kept connection was closed as we wrote: no answer began."""


class _Count:
    """How many connections there are and were, over all connectors of a pool."""

    def __init__(self) -> None:
        self.asked = 0
        self.opened = 0
        self._protocols: WeakSet[Any] = WeakSet()

    def made(self, protocol: Any) -> None:
        self.opened += 1
        self._protocols.add(protocol)

    def open(self) -> int:
        return sum(protocol.is_connected() for protocol in self._protocols)


class _Connector(aiohttp.TCPConnector):
    """Counts, tells the calling task whether its connection is a kept one, and looks a name up anew once its address has failed."""

    def __init__(self, count: _Count, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._count = count

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        _KEPT.set(True)
        connection = await super().connect(*args, **kwargs)
        self._count.asked += 1
        return connection

    async def _create_connection(self, req: Any, *args: Any, **kwargs: Any) -> Any:
        _KEPT.set(False)
        try:
            protocol = await super()._create_connection(req, *args, **kwargs)
        except BaseException:  # cancelled too: nobody may be there where a silent host has been
            self.clear_dns_cache(req.url.raw_host, req.port)
            raise
        self._count.made(protocol)
        return protocol


class Samples(aiohttp.payload.Payload):
    """A body sent from where it lies, whole when short and in pieces when long. head: bytes in front of the samples."""

    _autoclose = True

    def __init__(self, samples: bytes | memoryview, head: bytes = b"") -> None:
        super().__init__(samples, content_type="application/octet-stream")
        self._head = head
        self._size = len(head) + len(samples)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("samples are not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        if self._head:
            await writer.write(self._head)
        for start in range(0, len(self._value), _PIECE):
            await writer.write(memoryview(self._value)[start : start + _PIECE])

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await self.write(writer)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The system's certification authorities, or those of `ca_file` alone. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"ca_file {ca_file}: {error.strerror or 'not a PEM file of certificates'}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the system's own configuration of OpenSSL allows
    return context


def _without_answer(error: Exception) -> bool:
    # A half-read head of an answer is the message of the error in place of a text.
    return not isinstance(error, aiohttp.ServerDisconnectedError) or isinstance(error.message, str)
