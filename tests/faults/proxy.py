"""A TCP proxy between a sidecar and its vendor that spoils what goes through it, in the ways a network does."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from types import TracebackType
from typing import Self

from yarl import URL

PIECE = 65_536


class FaultProxy:
    """Listens on a port of its own and passes everything on to `target`; what is spoilt may be changed at any time.

    cut_upload: bytes of a connection from the sidecar after which it is reset; it is read slowly, so that the sidecar is still writing.
    cut_answer: resets a connection as soon as the vendor begins to answer on it. drip: seconds for each byte of an answer.
    tls: what it shows to the sidecar, by connection; the vendor is spoken to in the clear.
    """

    def __init__(self, target: str, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = URL(target)
        self._host, self._port = host, port
        self.tls = tls
        self.cut_upload: int | None = None
        self.cut_answer = False
        self.drip = 0.0
        self.accepted = 0
        self._server: asyncio.Server
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self._host}:{self.port}"

    @property
    def open(self) -> int:
        return len(self._connections)

    async def __aenter__(self) -> Self:
        raw = socket.create_server((self._host, self._port), backlog=256)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # what we have not read is for the most part not sent
        self._server = await asyncio.start_server(self._accepted, sock=raw)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def close_all(self) -> None:
        """Ends every connection properly, as a balancer does that is restarted."""
        for writer in self._connections.values():
            writer.close()

    def mend(self) -> None:
        """Passes everything on again; connections that are spoilt already are ended."""
        self.cut_upload, self.cut_answer, self.drip = None, False, 0.0
        for writer in self._connections.values():
            reset(writer)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._connections[task] = writer
        try:
            if self.tls is not None:
                await writer.start_tls(self.tls)
            assert self._target.host is not None
            assert self._target.port is not None
            inward, outward = await asyncio.open_connection(self._target.host, self._target.port)
            try:
                await self._both_ways(reader, writer, inward, outward)
            finally:
                outward.transport.abort()
        except OSError:  # ssl.SSLError is one: a sidecar that does not like our certificate
            pass
        finally:
            writer.transport.abort()
            del self._connections[task]

    async def _both_ways(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inward: asyncio.StreamReader, outward: asyncio.StreamWriter
    ) -> None:
        up = asyncio.create_task(self._up(reader, outward, writer))
        down = asyncio.create_task(self._down(inward, writer))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (up, down):
                each.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _up(self, reader: asyncio.StreamReader, outward: asyncio.StreamWriter, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await reader.read(PIECE if self.cut_upload is None else 1024):
            passed += len(data)
            if self.cut_upload is not None and passed > self.cut_upload:
                reset(writer)
                return
            outward.write(data)
            await outward.drain()

    async def _down(self, inward: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await inward.read(PIECE):
            if self.cut_answer:
                reset(writer)
                return
            if not self.drip:
                writer.write(data)
                await writer.drain()
                continue
            for each in data:
                writer.write(bytes([each]))
                await asyncio.sleep(self.drip)


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a TCP reset."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
