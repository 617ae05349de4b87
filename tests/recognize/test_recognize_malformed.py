"""What is no proper HTTP is refused in the contract's shape too, once, and its connection is closed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from asrproxy.events import RequestEnded
from asrproxy.testing import tones
from tests.recognize.conftest import Client

WAV = tones.to_wav(tones.synthesize("天地玄黄"), 16_000)
POST = b"POST /v1/recognize HTTP/1.1\r\nHost: localhost\r\n"
MALFORMED = {
    "no http": b"hello\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 3,
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version": b"GET /livez HTTP/9.9\r\n\r\n",
    "a line too long": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header too long": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "too many headers": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X%d: v\r\n" % n for n in range(200)) + b"\r\n",
    "no header": b"GET /livez HTTP/1.1\r\nsecret-of-mine\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a negative length": POST + b"Content-Length: -5\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a chunk without its size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk longer than its size": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nsecret-of-mine\r\n",
    "an expectation": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nExpect: wonders\r\n\r\n",
    "an expectation at no address": b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nExpect: wonders\r\n\r\n",
}


async def said_to(url: str, first: bytes, then: bytes = b"", *, when: Callable[[], bool] = lambda: True) -> bytes:
    """All that is answered until the server closes. when: what has to hold before the rest is sent."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(first)
        while not when():
            await asyncio.sleep(0.01)
        writer.write(then)
        return await reader.read()
    finally:
        writer.close()


def only_answer(said: bytes) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON body of the one answer that was given."""
    head, _, body = said.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in lines)
    assert int(headers["Content-Length"]) == len(body), "one answer and nothing after it"
    return int(line.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.parametrize("door", ["api", "ops"])
async def test_malformed_requests_get_the_contracts_error(client: Client, door: str, what: str) -> None:
    said = await said_to(client.sidecar.url if door == "api" else client.sidecar.ops_urls[0], MALFORMED[what])
    status, headers, body = only_answer(said)
    error = body["error"]
    assert (status, error["code"], error["type"], error["retryable"]) == (400, "invalid_parameter", "invalid_request_error", False)
    assert set(error) >= {"message", "param", "provider", "provider_status", "request_id", "segments"}
    assert headers["X-Request-Id"] == error["request_id"]
    assert "secret-of-mine" not in said.decode()
    assert [(event.status, event.code) for event in client.events if isinstance(event, RequestEnded)] == [(400, "invalid_parameter")]


@pytest.mark.parametrize(
    ("headers", "rest"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"zz\r\n"),
        (b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", b"hello"),
        (b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n--x\r\n\r\n", b"zz\r\n"),
        (b"Content-Type: multipart/form-data; boundary=x\r\nContent-Encoding: deflate\r\nContent-Length: 5\r\n\r\n", b"hello"),
    ],
)
async def test_a_body_that_turns_out_malformed_gets_one_answer_at_once(client: Client, headers: bytes, rest: bytes) -> None:
    status, _, body = only_answer(
        await said_to(client.sidecar.url, POST + headers, rest, when=lambda: client.sidecar.runtime.in_flight == 1)
    )
    assert (status, body["error"]["code"]) == (400, "invalid_parameter")
    assert [event.status for event in client.events if isinstance(event, RequestEnded)] == [400]


async def test_the_callers_request_id_is_kept_where_it_could_be_read(client: Client) -> None:
    said = await said_to(client.sidecar.url, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nExpect: wonders\r\n\r\n")
    _, headers, body = only_answer(said)
    assert headers["X-Request-Id"] == body["error"]["request_id"] == "mine"
    assert body["error"]["param"] == "Expect"


async def test_100_continue_is_met(client: Client) -> None:
    head = POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(WAV)
    said = await said_to(client.sidecar.url, head, WAV)
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    status, _, body = only_answer(said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"))
    assert (status, body["text"]) == (200, "天地玄黄")


async def test_a_connection_that_goes_bad_had_its_good_answers(client: Client) -> None:
    host, _, port = client.sidecar.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readuntil(b'{"status":"live"}')).startswith(b"HTTP/1.1 200")
    writer.write(b"nonsense\r\n\r\n")
    assert only_answer(await reader.read())[0] == 400
    writer.close()
