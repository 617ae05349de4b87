"""POSTs over an aiohttp connector's kept connections: the hot half of a request's way, for providers that call over HTTP.

aiohttp's connector finds, opens and keeps the connections, and its parser reads the answers. Only the session in between is left out: its
request and response objects, its task for the body and its timers were most of what a call cost (`bench.exchange` has both side by side).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDict
from yarl import URL

from asrproxy.plugin import Garbled, Unreachable

LONGEST_ANSWER: Final = 16 * 2**20
"""Bytes; the words of ten minutes are about 100 kB."""
_PIECE: Final = 2**18
"""Bytes written at once: a longer write would keep the loop from turning while the kernel copies it."""
_INFORMATIONAL: Final = range(100, 200)
_SWITCHING: Final = 101


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole. headers: their names in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StaleConnection(Unreachable):
    """The peer had closed a kept connection as we wrote: no answer began. Both may close an idle one at any time, so nobody is to blame."""


class ConnectionCount:
    """How many connections there are and were, over all connectors that share it. asked: how often one was wanted and had."""

    def __init__(self) -> None:
        self.asked = 0
        self.opened = 0
        self._protocols: WeakSet[ResponseHandler] = WeakSet()

    @property
    def reused(self) -> int:
        """How often a kept one served again."""
        return self.asked - self.opened

    def made(self, protocol: ResponseHandler) -> None:
        """One more was opened."""
        self.opened += 1
        self._protocols.add(protocol)

    def open(self) -> int:
        """How many there are now."""
        return sum(protocol.is_connected() for protocol in self._protocols)


class Connector(aiohttp.TCPConnector):
    """Counts, knows which connections have served before, and looks a name up anew once its address has failed."""

    def __init__(self, count: ConnectionCount, **options: Any) -> None:
        super().__init__(**options)
        self._count = count
        self._unused: WeakSet[ResponseHandler] = WeakSet()

    async def connect(self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> aiohttp.connector.Connection:
        """A connection, kept or new."""
        return (await self.take(req, timeout, traces))[0]

    async def take(
        self, req: aiohttp.ClientRequest, timeout: aiohttp.ClientTimeout, traces: list[Any] | None = None
    ) -> tuple[aiohttp.connector.Connection, bool]:
        """A connection, and whether it has served before."""
        try:
            connection = await super().connect(req, traces or [], timeout)
        except BaseException:
            self._release_waiter()  # given up just as its turn came, a call would take the turn of all behind it with it
            raise
        self._count.asked += 1
        protocol = connection.protocol
        if protocol is not None and protocol in self._unused:
            self._unused.discard(protocol)
            return connection, False
        return connection, True

    async def _resolve_host(self, *args: Any, **options: Any) -> Any:
        while True:
            try:
                return await super()._resolve_host(*args, **options)
            except KeyError:  # found for several calls at once, of which one has just been given up and had it dropped below
                continue

    async def _create_connection(self, req: Any, *args: Any, **options: Any) -> ResponseHandler:
        try:
            protocol = await super()._create_connection(req, *args, **options)
        except BaseException:  # cancelled too: nobody may be there where a silent host has been
            self.clear_dns_cache(req.url.raw_host, req.port)
            raise
        self._count.made(protocol)
        self._unused.add(protocol)
        return protocol


class Exchange:
    """One server's POSTs. To be made on the running loop.

    url: of the server; only its scheme, host and port matter. connect_timeout: seconds for TCP and TLS to one address. A call has no
    other limit of its own: the core bounds each attempt. decompress: answers may come compressed.
    """

    def __init__(self, url: URL, *, connect_timeout: float, decompress: bool = False) -> None:
        self.where: Final = url.authority
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        self._decompress = decompress
        self._address = aiohttp.ClientRequest("POST", url.origin(), loop=asyncio.get_running_loop())  # where a connector is to connect to
        self._host = self._address.headers["Host"]

    def head(self, url: URL, headers: Mapping[str, str]) -> bytes:
        """A request's first lines, as far as they are the same for every call. Raises ValueError as `header_lines` does.

        headers: may name another Host. A Content-Length is left out: each call has its own.
        """
        lines = CIMultiDict({"Host": self._host})
        lines.update(headers)
        lines.popall("Content-Length", None)
        return f"POST {url.raw_path_qs} HTTP/1.1".encode() + header_lines(lines)

    async def post(self, connector: Connector, head: bytes, *body: bytes | memoryview) -> Answer:
        """One POST, its body the pieces one after the other. Cancelled, it closes its connection.

        head: by `head`, with more `header_lines` after it or not.
        Raises Unreachable, Garbled, and StaleConnection, after which another try is owed.
        """
        with network_errors(self.where):
            connection, used = await connector.take(self._address, self._timeout)
        protocol = connection.protocol
        if protocol is None:
            raise RuntimeError("a connector gives no connection that is already released")
        try:
            with network_errors(self.where):
                answer, whole = await self._exchanged(protocol, head, body, used=used)
        except BaseException:
            protocol.abort()  # a peer that takes no more would hold a connection that is only closed
            connection.close()
            raise
        if whole:
            connection.release()
        else:
            protocol.abort()
            connection.close()
        return answer

    async def _exchanged(
        self, protocol: ResponseHandler, head: bytes, body: tuple[bytes | memoryview, ...], *, used: bool
    ) -> tuple[Answer, bool]:
        """The answer, and whether the peer took all of the request."""
        transport = protocol.transport
        if transport is None or (used and protocol.should_close):  # it said something that nobody asked for
            raise StaleConnection(f"{self.where} had closed a kept connection")
        protocol.set_response_params(read_until_eof=True, auto_decompress=self._decompress)
        size = sum(map(len, body))
        head = b"%b\r\nContent-Length: %d\r\n\r\n" % (head, size)
        sending: asyncio.Task[None] | None = None
        if size <= _PIECE:
            transport.writelines((head, *body))  # in one call of the system
        else:
            transport.write(head)
            # The answer may come before all of it is sent, and be a refusal.
            sending = asyncio.create_task(_send(protocol, body))
        try:
            message, content = await self._begun(protocol, used=used)
            whole = await self._read(content, message)
        finally:
            sent = sending is None or await _ended(sending)
        taken = sent and protocol.transport is not None and not protocol.transport.get_write_buffer_size()
        return Answer(message.code, message.headers, whole), taken

    async def _begun(self, protocol: ResponseHandler, *, used: bool) -> tuple[RawResponseMessage, StreamReader]:
        try:
            while True:
                message, content = await protocol.read()
                if message.code not in _INFORMATIONAL or message.code == _SWITCHING:
                    return message, content
                used = False  # it is at work on this call: to repeat that is the policy's business
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if used and _without_answer(error):
                raise StaleConnection(f"{self.where} had closed a kept connection") from error
            raise

    async def _read(self, content: StreamReader, message: RawResponseMessage) -> bytes:
        declared = message.headers.get("Content-Length", "")
        if len(declared) > 15 or (declared.isdigit() and int(declared) > LONGEST_ANSWER):
            raise self._too_long(message)
        try:
            body = await content.readany()
            if content.at_eof():
                return body
            pieces = bytearray(body)
            while not content.at_eof():
                pieces += await content.readany()
                if len(pieces) > LONGEST_ANSWER:
                    raise self._too_long(message)
            return bytes(pieces)
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise Garbled(f"the answer of {self.where} was cut in the middle") from error

    def _too_long(self, message: RawResponseMessage) -> Garbled:
        return Garbled(f"the answer of {self.where} is longer than {LONGEST_ANSWER} bytes", vendor_code=message.code)


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Headers as they are sent. Raises ValueError: one with a line break, by which somebody could put in others of his own, or a NUL.

    What a caller's header had in it that is not UTF-8, for which aiohttp's server puts surrogates, goes out as it came in.
    """
    text = "".join([f"\r\n{name}: {value}" for name, value in headers.items()])
    if text.count("\r") != len(headers) or text.count("\n") != len(headers) or "\0" in text:
        raise ValueError("a header of the call has a line break or NUL in it")
    return text.encode(errors="surrogateescape")


async def _send(protocol: ResponseHandler, body: tuple[bytes | memoryview, ...]) -> None:
    """Writes piece by piece, as the peer takes them."""
    for piece in chain.from_iterable(_pieces(each) for each in body):
        if protocol.transport is None:
            return
        protocol.transport.write(piece)
        await protocol._drain_helper()
        await asyncio.sleep(0)


def _pieces(data: bytes | memoryview) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE]


async def _ended(sending: asyncio.Task[None]) -> bool:
    """Ends the sending where it has not ended; whether it had sent all. What broke the connection is told by the answer."""
    whole = sending.done()
    sending.cancel()
    (outcome,) = await asyncio.gather(sending, return_exceptions=True)
    return whole and outcome is None


@contextmanager
def network_errors(where: str) -> Iterator[None]:
    """aiohttp's and the socket's errors become Unreachable, or Garbled when an answer was cut in the middle; the cause is kept."""
    try:
        yield
    except aiohttp.ClientPayloadError as error:
        raise Garbled(f"the answer of {where} was cut in the middle") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise Unreachable(f"the certificate of {where} is not trusted: {error.certificate_error} (see ca_file)") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise Unreachable(f"{where} has no address: {error.os_error}") from error
    except aiohttp.ServerDisconnectedError as error:
        # Its own text is the half of an answer that had come, where one had.
        if isinstance(error.message, str):
            raise Unreachable(f"{where} closed the connection without an answer") from error
        raise Garbled(f"the answer of {where} was cut in its head") from error
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        raise Unreachable(f"{where} took too long to connect") from error
    except (aiohttp.ClientConnectionError, ssl.SSLError, OSError) as error:
        raise Unreachable(f"{where} cannot be reached: {_reason(error)}") from error
    except (aiohttp.ClientResponseError, HttpProcessingError) as error:
        # What aiohttp's parser will not take for HTTP.
        raise Garbled(f"{where} answered what is not HTTP") from error


def _without_answer(error: Exception) -> bool:
    # A half-read head of an answer is the message of the error in place of a text.
    return not isinstance(error, aiohttp.ServerDisconnectedError) or isinstance(error.message, str)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
