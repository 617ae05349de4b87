"""A caller on a bare socket, who hears everything that is answered and holds it to the contract."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

# contract.md, section 3
CODES: dict[int, set[str]] = {
    400: {"invalid_parameter", "unsupported_parameter", "invalid_audio"},
    401: {"unauthorized"},
    404: {"not_found", "unknown_route"},
    405: {"method_not_allowed"},
    408: {"request_timeout"},
    413: {"body_too_large", "audio_too_long"},
    415: {"unsupported_media"},
    429: {"rate_limited"},
    502: {"provider_error", "provider_auth"},
    503: {"circuit_open", "overloaded", "draining"},
    504: {"deadline_exceeded"},
    500: {"internal"},
}
ERROR_KEYS = {"code", "type", "message", "param", "retryable", "provider", "provider_status", "request_id", "segments"}
RESULT_KEYS = {"request_id", "text", "language", "duration", "complete", "provider", "segments"}


@dataclass(frozen=True)
class Answer:
    """status, code: None for a 200. seconds: from the connection to the last byte."""

    status: int
    headers: Mapping[str, str]
    body: Any
    seconds: float

    @property
    def code(self) -> str | None:
        return None if self.status == 200 else self.body["error"]["code"]

    @property
    def outcome(self) -> str:
        """The code word, `ok` for a 200."""
        return self.code or "ok"


async def ask(address: str, body: bytes, *, request_id: str = "", **parameters: str) -> Answer:
    """One request on a connection of its own. address: http://HOST:PORT, or the path of a Unix socket."""
    began = asyncio.get_running_loop().time()
    reader, writer = await connect(address)
    try:
        writer.write(head(len(body), request_id, **parameters))
        writer.write(body)
        said = await reader.read()
        return heard(said, asyncio.get_running_loop().time() - began)
    finally:
        writer.transport.abort()


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("/"):
        return await asyncio.open_unix_connection(address)
    host, _, port = address.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


def head(length: int | None, request_id: str = "", **parameters: str) -> bytes:
    """length: of the body, None: it comes in chunks."""
    lines = [
        f"POST /v1/recognize?{urlencode(parameters)} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
    ]
    if request_id:
        lines.append(f"X-Request-Id: {request_id}")
    return "\r\n".join([*lines, "", ""]).encode()


def heard(said: bytes, seconds: float) -> Answer:
    """All that came until the server closed: exactly one answer, of the contract's shape."""
    top, found, rest = said.partition(b"\r\n\r\n")
    assert found, f"no answer: {said[:200]!r}"
    line, *lines = top.decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in lines)
    assert len(rest) == int(headers["Content-Length"]), "one answer, whole, and nothing after it"
    answer = Answer(int(line.split()[1]), headers, json.loads(rest), seconds)
    check(answer)
    return answer


def check(answer: Answer) -> None:
    """The contract's shape."""
    request_id = answer.headers["X-Request-Id"]
    if answer.status == 200:
        assert set(answer.body) >= RESULT_KEYS
        assert answer.body["request_id"] == request_id
        assert answer.body["segments"]
        return
    error = answer.body["error"]
    assert set(error) >= ERROR_KEYS
    assert error["request_id"] == request_id
    assert error["code"] in CODES[answer.status], answer
    assert error["message"]
    assert "Traceback" not in error["message"]
    if answer.status in (429, 503):
        assert int(answer.headers["Retry-After"]) >= 1
