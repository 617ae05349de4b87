"""Whom a browser may bring here: headers as browsers send them, on real sockets."""

from __future__ import annotations

import asyncio
import base64

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from asrproxy.testing import tones
from tests.recognize.conftest import FAKE, Client, Start, client, start

__all__ = ["client", "start"]

WAV = tones.to_wav(tones.synthesize("天地玄黄"), 16_000)
MINE = "https://mine.example"
SERVER = "server: {listen: ['127.0.0.1:0'], ops_listen: ['127.0.0.1:0'], %s}\nproviders: {tones: {type: fake}}"
TOKEN = "s3cret/+=token"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example"}, id="another site"),
        pytest.param({"Origin": "http://localhost:1"}, id="another port of this machine"),
        pytest.param({"Origin": "null"}, id="a sandboxed frame or a file"),
        pytest.param({"Origin": "null", "Host": ""}, id="no origin and no host"),
        pytest.param({"Origin": "file://"}, id="a file"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="a form of another site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="a form of another port"),
        pytest.param({"Origin": "http://rebound.example", "Host": "rebound.example"}, id="a rebound name"),
        pytest.param({"Origin": "http://rebound.example", "Host": "rebound.example", "Sec-Fetch-Site": "same-origin"}, id="rebound, newer"),
    ],
)
async def test_a_page_that_is_not_ours_cannot_post(client: Client, headers: dict[str, str]) -> None:
    answer, body = await client.post(WAV, headers=headers | {"Content-Type": "text/plain"})
    assert (answer.status, body["error"]["code"]) == (403, "forbidden")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert (await client.get("/v1/status"))[1]["providers"]["tones"]["calls"] == 0


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://rebound.example", "Host": "rebound.example"}]
)
async def test_nor_can_it_open_a_live_session(client: Client, headers: dict[str, str]) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.session.ws_connect(client.sidecar.url + "/v1/stream", headers=headers)
    assert refused.value.status == 403


async def test_a_rebound_name_cannot_read_what_runs_here(client: Client) -> None:
    """Under a name that is not localhost, browsers send neither `Origin` nor `Sec-Fetch-Site` when a page reads of its own origin."""
    for path in ("/", "/v1/status", "/v1/models"):
        answer, _ = await client.get(path, headers={"Host": "rebound.example", "User-Agent": FIREFOX})
        assert answer.status == 403
        answer, _ = await client.get(path, headers={"Host": "asr.pod.example", "User-Agent": "curl/8"})
        assert answer.status == 200  # programs may call us what they like


async def test_a_person_may_look_at_health_under_any_name(client: Client) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        answer, _ = await client.get(path, ops=True, headers={"Host": "node7.example", "User-Agent": FIREFOX})
        assert answer.status == 200


async def test_names_that_the_configuration_gives_are_ours(start: Start) -> None:
    async with start(SERVER.replace("127.0.0.1:0'], ops", "localhost:0'], ops") % "hosts: [asr.mine.example]") as client:
        for host in ("asr.mine.example", "asr.mine.example:8790", "ASR.mine.example", "localhost:1234", "127.0.0.1", "[::1]:8790"):
            answer, _ = await client.post(WAV, headers={"Host": host, "Origin": f"http://{host}"})
            assert answer.status == 200, host


async def test_a_named_origin_is_answered_when_it_asks_first(start: Start) -> None:
    asking = {"Origin": MINE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    async with start(SERVER % f"origins: ['{MINE}'], tokens: ['{TOKEN}']") as client:
        async with client.session.options(client.sidecar.url + "/v1/recognize", headers=asking) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == MINE
            assert "POST" in answer.headers["Access-Control-Allow-Methods"]
            assert {"Authorization", "Content-Type"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
        async with client.session.options(
            client.sidecar.url + "/v1/recognize", headers=asking | {"Origin": "https://evil.example"}
        ) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
        headers = {"Origin": MINE, "Authorization": f"Bearer {TOKEN}"}
        for path in ("/v1/recognize", "/v1/recognize?stream=true"):
            answer, _ = await client.post(WAV, path, headers=headers)
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (200, MINE, "Origin")
        answer, _ = await client.post(WAV, headers={"Origin": MINE})
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, MINE)  # a page may read why it was refused
        async with client.session.ws_connect(client.sidecar.url + "/v1/stream", headers=headers) as socket:
            assert not socket.closed


async def test_asking_first_does_not_help_where_nobody_is_named(client: Client) -> None:
    asking = {"Access-Control-Request-Method": "POST"}
    async with client.session.options(client.sidecar.url + "/v1/recognize", headers=asking | {"Origin": "https://evil.example"}) as answer:
        assert answer.status == 403
    async with client.session.options(client.sidecar.url + "/v1/recognize", headers=asking) as answer:
        assert answer.status == 405


def subprotocol(token: bytes) -> str:
    return "asrproxy.bearer." + base64.urlsafe_b64encode(token).decode().rstrip("=")


async def test_a_browser_gives_its_token_among_the_subprotocols(start: Start) -> None:
    async with start(SERVER % f"tokens: [other, '{TOKEN}']") as client:
        url = client.sidecar.url + "/v1/stream"
        async with client.session.ws_connect(url, protocols=("asrproxy.v1", subprotocol(TOKEN.encode()))) as socket:
            assert socket.protocol == "asrproxy.v1"  # and never the token
            await socket.send_json({"type": "start", "sample_rate": 16_000})
            assert (await socket.receive_json())["type"] == "started"
        async with client.session.ws_connect(url, headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
            assert socket.protocol is None  # programs go on as before
        for wrong in (b"guess", b"", TOKEN.encode()[:-1], TOKEN.encode() + b"="):
            await refused(client.session, url, "asrproxy.v1", subprotocol(wrong))
        await refused(client.session, url, "asrproxy.v1", "asrproxy.bearer.%%%")
        await refused(client.session, url, "asrproxy.v1", "asrproxy.bearer.")
        await refused(client.session, url, "asrproxy.v1")
        await refused(client.session, url, subprotocol(TOKEN.encode()))  # nothing would be agreed on: browsers hang up
        await refused(client.session, f"{url}?token={TOKEN}&authorization=Bearer+{TOKEN}")


async def test_a_token_of_any_bytes_is_compared_and_never_a_defect(start: Start) -> None:
    async with start(SERVER % "tokens: ['tökén']") as client:
        assert (await client.get("/v1/status", headers={"Authorization": "Bearer tökén"}))[0].status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", client.sidecar.url.rpartition(":")[2])
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\xf6k\xe9n\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def refused(session: ClientSession, url: str, *protocols: str) -> None:
    with pytest.raises(WSServerHandshakeError) as answer:
        await session.ws_connect(url, protocols=protocols)
    assert answer.value.status == 401


async def test_the_page_is_there_with_its_rules(client: Client) -> None:
    answer, _ = await client.get("/")
    assert (answer.status, answer.content_type) == (200, "text/html")
    policy = dict(each.strip().split(" ", 1) for each in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "Access-Control-Allow-Origin" not in answer.headers
    again, _ = await client.get("/", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304
    assert again.headers["ETag"] == answer.headers["ETag"]
    changed, _ = await client.get("/", headers={"If-None-Match": '"something else"'})
    assert changed.status == 200
    script, _ = await client.get("/page/main.js")
    assert script.content_type == "text/javascript"
    assert script.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/page/", "/page/files.py", "/page/..%2ffiles.py", "/page/%2e%2e/files.py", "/page/index.html/x", "/page/nothing.js"]
)
async def test_nothing_beside_the_pages_own_files_is_served(client: Client, path: str) -> None:
    answer, body = await client.get(path)
    assert (answer.status, body["error"]["code"]) == (404, "not_found")


async def test_the_page_can_only_be_read(client: Client) -> None:
    answer, body = await client.post(b"", "/")
    assert (answer.status, body["error"]["code"], answer.headers["Allow"]) == (405, "method_not_allowed", "GET, HEAD")
    async with client.session.head(client.sidecar.url + "/") as head:
        assert head.status == 200
        assert await head.read() == b""


async def test_switched_off_it_is_as_if_it_had_never_been(start: Start) -> None:
    async with start(SERVER % "page: false") as client:
        nothing, known = await client.get("/nothing")
        for path in ("/", "/page/main.js", "/page/index.html"):
            for answer, body in (await client.get(path), await client.post(b"", path)):
                assert (answer.status, body["error"]["code"]) == (nothing.status, known["error"]["code"])
                assert "Content-Security-Policy" not in answer.headers
        assert (await client.post(WAV))[0].status == 200


async def test_the_ops_port_has_no_page(client: Client) -> None:
    for path in ("/", "/page/main.js"):
        answer, _ = await client.get(path, ops=True)
        assert answer.status == 404


async def test_looking_at_the_page_is_no_request_of_the_callers(client: Client) -> None:
    for path in ("/", "/page/main.js", "/page/nothing.js"):
        await client.get(path)
    assert [type(event).__name__ for event in client.events] == []


async def test_the_status_says_how_long_providers_took_and_what_they_can(start: Start) -> None:
    async with start(FAKE.replace("type: fake", "type: fake, script: [{error: rejected}]")) as client:
        _, before = await client.get("/v1/status")
        assert before["providers"]["tones"]["latency"] == {"calls": 0, "failed": 0, "p50": None, "p95": None, "max": None}
        for _ in range(3):
            await client.post(WAV)
        _, status = await client.get("/v1/status")
    provider = status["providers"]["tones"]
    assert (provider["latency"]["calls"], provider["latency"]["failed"]) == (3, 1)
    assert 0 < provider["latency"]["p50"] <= provider["latency"]["p95"] <= provider["latency"]["max"]
    can = {"longest": 60.0, "whole": None, "languages": None, "options": ["punctuation", "words"], "streaming": True}
    assert provider["can"] == can
    assert status["takes"] == {"body": 200 * 2**20, "audio": 4 * 3600.0}


async def test_an_event_of_a_stream_says_when_to_try_again(start: Start) -> None:
    """Its headers have gone out long before."""
    async with start(
        "policy: {retries: {attempts: 1}, circuit: {failures: 1}}"
        + FAKE.replace("type: fake", "type: fake, script: [{error: unavailable}]")
    ) as client:
        await client.post(WAV)
        answer, body = await client.post(WAV, "/v1/recognize?stream=true")
        assert answer.status == 200
        assert '"code":"circuit_open"' in body
        assert '"retry_after":' in body
