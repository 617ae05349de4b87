"""Calls over HTTP: the body arrives whole, the answer is this call's own, a connection is kept only where both sides are done with it."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from asrproxy.plugin import Unreachable
from asrproxy_http.exchange import Answer, ConnectionCount, Connector, Exchange, StaleConnection, header_lines

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Line:
    """A server, and the calls to it over one connector."""

    exchange: Exchange
    connector: Connector
    count: ConnectionCount
    base: URL

    async def post(self, *body: bytes | memoryview, **headers: str) -> Answer:
        return await self.exchange.post(self.connector, self.exchange.head(self.base / "hear", headers), *body)


@asynccontextmanager
async def line(handler: Handler, *, decompress: bool = False, **options: Any) -> AsyncIterator[Line]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    base = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    count = ConnectionCount()
    connector = Connector(count, **{"limit": 0} | options)
    try:
        yield Line(Exchange(base, connect_timeout=5, decompress=decompress), connector, count, base)
    finally:
        await connector.close()
        server.close()


async def taken(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """The head and the body of a request; None at the connection's end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


@dataclass
class Echoing:
    """Keeps what it was sent, and answers each request with one piece after the other."""

    pieces: tuple[bytes, ...] = (OK,)
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    connections: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while (request := await taken(reader)) is not None:
            self.requests.append(request)
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()


@given(st.lists(st.binary(max_size=50) | st.integers(0, 700_000).map(lambda size: memoryview(bytes(size))), max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_body_in_any_pieces_arrives_byte_for_byte(pieces: list[bytes | memoryview]) -> None:
    async def sent() -> None:
        peer = Echoing()
        async with line(peer) as way:
            assert (await way.post(*pieces)).body == b"ok"
            assert (await way.post(b"again")).status == 200
        assert [body for _, body in peer.requests] == [b"".join(pieces), b"again"]
        assert peer.connections == 1

    asyncio.run(sent())


async def test_the_head_has_what_was_asked_for_and_nothing_else() -> None:
    peer = Echoing()
    async with line(peer) as way:
        await way.post(b"abc", Authorization="Bearer x")
        port = way.base.port
    head = f"POST /hear HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer x\r\nContent-Length: 3\r\n\r\n".encode()
    assert peer.requests == [(head, b"abc")]


async def test_a_callers_header_that_is_no_text_is_sent_on_as_it_came() -> None:
    """aiohttp's server gives what is not UTF-8 as surrogates."""
    peer = Echoing()
    async with line(peer) as way:
        await way.post(b"x", tracestate="a=\u5929\udcff")
    assert b"\r\ntracestate: a=\xe5\xa4\xa9\xff\r\n" in peer.requests[0][0]


@pytest.mark.parametrize("value", ["a\r\nX-Mine: b", "a\nb", "a\rb", "a\0b"])
def test_nobody_puts_a_header_of_his_own_in(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        header_lines({"tracestate": value})
    with pytest.raises(ValueError, match="line break"):
        header_lines({value: "x"})


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n", b"1\r\nk\r\n", b"0\r\n\r\n"),
        tuple(bytes([each]) for each in OK),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"o", b"k"),
    ],
    ids=["interim answers", "chunks", "byte by byte", "head alone"],
)
async def test_an_answer_is_read_however_it_comes(pieces: tuple[bytes, ...]) -> None:
    peer = Echoing(pieces)
    async with line(peer) as way:
        for _ in range(3):
            answer = await way.post(b"x")
            assert (answer.status, answer.body) == (200, b"ok")
        assert (peer.connections, way.count.opened, way.count.reused, way.count.open()) == (1, 1, 2, 1)


async def test_an_answer_may_end_with_its_connection() -> None:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\no")
        await writer.drain()
        writer.write(b"k")
        writer.close()

    async with line(closing) as way:
        assert [(await way.post(b"x")).body for _ in range(2)] == [b"ok", b"ok"]
        assert way.count.opened == 2


async def test_compressed_answers_are_read_where_they_were_asked_for() -> None:
    body = gzip.compress(b"so many words " * 1000)
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with line(Echoing((packed,)), decompress=True) as way:
        assert (await way.post(b"x")).body == b"so many words " * 1000
    async with line(Echoing((packed,))) as way:
        assert (await way.post(b"x")).body == body


async def test_a_refusal_before_the_body_is_sent_is_read_at_once() -> None:
    """The peer takes no more and leaves the connection open: nobody may wait until it does."""
    done = asyncio.Event()

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        await done.wait()
        writer.close()

    async with line(refusing) as way, asyncio.timeout(30):
        answer = await way.post(memoryview(bytes(64 * 2**20)))
        assert (answer.status, answer.body, way.count.open()) == (413, b"no", 0)
        done.set()


async def test_what_nobody_asked_for_is_no_answer_to_the_next_call() -> None:
    second = asyncio.Event()

    async def talking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(OK)
        await writer.drain()
        await second.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign")
        await writer.drain()
        await taken(reader)
        writer.close()

    async with line(talking) as way:
        assert (await way.post(b"x")).body == b"ok"
        (protocol,) = way.count._protocols
        second.set()
        while not protocol._buffer:
            await asyncio.sleep(0.001)
        with pytest.raises(StaleConnection):
            await way.post(b"y")
        assert way.count.open() == 0

    two = Echoing((OK + OK,))
    async with line(two) as way:
        assert [(await way.post(b"x")).body for _ in range(2)] == [b"ok", b"ok"]
        assert two.connections == 2


async def test_a_peer_that_hangs_up_at_work_on_a_call_had_not_closed_a_kept_connection() -> None:
    async def processing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(OK)
        await taken(reader)
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        writer.close()

    async with line(processing) as way:
        await way.post(b"x")
        with pytest.raises(Unreachable) as caught:
            await way.post(b"y")
        assert not isinstance(caught.value, StaleConnection)
        assert way.count.open() == 0


@pytest.mark.parametrize("size", [10, 8 * 2**20], ids=["short", "long"])
async def test_whoever_gives_up_closes_his_connection(size: int) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        try:
            while await reader.read(2**20):
                pass
        except ConnectionError:
            pass
        gone.set()
        writer.close()

    async with line(silent) as way, asyncio.timeout(30):
        call = asyncio.create_task(way.post(memoryview(bytes(size))))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await gone.wait()
        assert way.count.open() == 0


async def test_a_call_that_is_given_up_as_its_turn_comes_leaves_the_turn_to_the_next() -> None:
    peer = Echoing()
    async with line(peer, limit=1) as way, asyncio.timeout(30):

        async def first() -> None:
            await way.post(b"1")
            second.cancel()  # it has been woken and has not run yet

        calls = asyncio.gather(first(), return_exceptions=True)
        await asyncio.sleep(0)
        second, third = asyncio.create_task(way.post(b"2")), asyncio.create_task(way.post(b"3"))
        await calls
        assert (await third).body == b"ok"
        assert second.cancelled()
    assert [body for _, body in peer.requests] == [b"1", b"3"]


async def test_a_call_that_is_given_up_as_its_peers_name_is_found_leaves_the_others_their_address() -> None:
    asked, found = asyncio.Event(), asyncio.Event()

    class Names(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
            asked.set()
            await found.wait()
            return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

        async def close(self) -> None: ...

    async with line(Echoing(), resolver=Names()) as way, asyncio.timeout(30):
        named = Exchange(way.base.with_host("speech.test"), connect_timeout=5)
        first, second = (asyncio.create_task(named.post(way.connector, named.head(way.base, {}), b"x")) for _ in range(2))
        await asked.wait()
        found.set()
        first.cancel()
        assert (await second).body == b"ok"
        assert first.cancelled()


async def test_a_peer_that_hangs_up_in_the_middle_of_a_body_is_unreachable() -> None:
    async def cutting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with line(cutting) as way:
        with pytest.raises(Unreachable):
            await way.post(memoryview(bytes(32 * 2**20)))
        assert way.count.open() == 0


async def test_a_connection_that_was_upgraded_is_not_kept() -> None:
    upgraded = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    async with line(Echoing((upgraded,))) as way, asyncio.timeout(30):
        assert (await way.post(b"x")).status == 101
        assert way.count.open() == 0
