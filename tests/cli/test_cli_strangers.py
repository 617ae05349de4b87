"""The command line against what is no sidecar, or one behind something else: each failure is one line that says what happened.

aioresponses puts errors where aiohttp's session would have them, which no server can be made to cause at will. Answers come from a server:
with aiohttp 3.14 aioresponses cannot make one.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientOSError,
    ClientPayloadError,
    ServerDisconnectedError,
    web,
)
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.test_utils import TestServer
from aioresponses import aioresponses

from asrproxy.cli.client import Failed, calling
from asrproxy.cli.recordings import Recording

AWAY = "http://proxy.test:8790"
KEY = ConnectionKey("proxy.test", 8790, False, True, None, None, None)
ERROR = {
    "code": "provider_failed",
    "message": "it is away",
    "provider": "nls",
    "provider_status": 50000000,
    "retryable": True,
    "request_id": "r1",
}


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    file = tmp_path / "a.wav"
    file.write_bytes(bytes(100))
    return Recording(file, file.name, Path("a"))


async def failure(url: str, recording: Recording, *, streamed: bool = False) -> str:
    async with calling(url, "token") as sidecar:
        with pytest.raises(Failed) as failed:
            await sidecar.recognize(recording, {}, timeout=1, on_event=(lambda *_: None) if streamed else None)
    return str(failed.value)


@asynccontextmanager
async def answering(status: int, body: str) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (502, "<html><h1>Bad gateway</h1></html>", "status 502, and not in a sidecar's words"),
        (404, '{"detail": "Not Found"}', "status 404, and not in a sidecar's words"),
        (401, '{"error": "unauthorized"}', "status 401, and not in a sidecar's words"),
        (
            502,
            json.dumps({"error": ERROR}),
            "provider_failed: it is away (provider nls, vendor's code 50000000, trying again may help, request r1)",
        ),
    ],
)
async def test_an_answer_of_whatever_stands_in_between(recording: Recording, status: int, body: str, said: str) -> None:
    async with answering(status, body) as url:
        assert await failure(url, recording) == said


@pytest.mark.parametrize("body", ["", "event: progress\ndata: {}\n\n", "<html>hello</html>\n"])
async def test_events_that_end_without_a_result(recording: Recording, body: str) -> None:
    async with answering(200, body) as url:
        assert await failure(url, recording, streamed=True) == "the answer ended in the middle"


@pytest.mark.parametrize("body", ["<html>", "null and void"])
async def test_a_status_page_of_somebody_else(body: str) -> None:
    async with answering(200, body) as url, calling(url, None) as sidecar:
        with pytest.raises(Failed, match=f"^{url} does not say how it is: "):
            await sidecar.status()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ServerDisconnectedError(), f"the connection to {AWAY} was lost: Server disconnected"),
        (ClientOSError(104, "Connection reset by peer"), f"the connection to {AWAY} was lost: [Errno 104] Connection reset by peer"),
        (ClientPayloadError("cut"), f"{AWAY} did not answer as a sidecar does: cut"),
        (TimeoutError(), f"{AWAY} did not answer in time"),
        (ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")), "Name or service not known"),
        (ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("self-signed")), "self-signed"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_connection_that_fails(recording: Recording, error: Exception, said: str) -> None:
    with aioresponses() as between:
        between.post(f"{AWAY}/v1/recognize", exception=error)
        assert said in await failure(AWAY, recording)
        assert [(method, str(url)) for method, url in between.requests] == [("POST", f"{AWAY}/v1/recognize")]
    with aioresponses() as between:
        between.get(f"{AWAY}/v1/status", exception=error)
        async with calling(AWAY, None) as sidecar:
            with pytest.raises(Failed, match=f"^{AWAY} does not say how it is: "):
                await sidecar.status()
