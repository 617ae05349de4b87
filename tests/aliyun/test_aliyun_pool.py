"""Connections are opened once, kept, counted, replaced when stale, and trusted only where their certificate is."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from asrproxy.plugin import ConfigError, Garbled, Unreachable
from asrproxy_aliyun.emulator import Emulator
from asrproxy_aliyun.pool import Pool
from asrproxy_aliyun.settings import PoolSettings
from tests.aliyun.making import Make


async def test_calls_one_after_the_other_use_one_connection(make: Make, cloud: Emulator) -> None:
    made = await make(pool={"warm": 0})
    for _ in range(50):
        await made.text()
    assert cloud.connections_accepted == 1
    shown: Any = made.provider.status()["pool"]
    assert (shown["opened"], shown["reused"], shown["open"], shown["idle"]) == (1, 49, 1, 1)


async def test_a_connection_a_slot_however_many_calls(make: Make, cloud: Emulator) -> None:
    made = await make(pool={"size": 8, "warm": 4})
    room = asyncio.Semaphore(8)

    async def one() -> str:
        async with room:
            return await made.text("天")

    assert set(await asyncio.gather(*(one() for _ in range(200)))) == {"天"}
    assert cloud.connections_accepted <= 8


async def test_calls_beyond_the_pool_do_not_wait_for_it(make: Make, cloud: Emulator) -> None:
    made = await make(pool={"size": 2, "warm": 0})
    cloud.hold_answers()
    calls = [asyncio.create_task(made.text()) for _ in range(12)]
    await cloud.calls_in_flight(12)
    cloud.release_answers()
    assert set(await asyncio.gather(*calls)) == {"天地玄黄"}
    shown: Any = made.provider.status()["pool"]
    assert shown["opened"] == 12
    assert shown["idle"] <= 2


async def test_connections_are_warm_before_the_first_call(make: Make, cloud: Emulator) -> None:
    made = await make(pool={"warm": 3})
    while cloud.connections_accepted < 3:
        await asyncio.sleep(0.01)
    await made.text()
    assert cloud.connections_accepted == 3
    assert len(cloud.calls) == 1


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_OK = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"status": 1234}'


@asynccontextmanager
async def _peer(handler: Handler) -> AsyncIterator[str]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader) -> bool:
    """Reads one request; False at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return False
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    await reader.readexactly(length)
    return True


async def _post(base: str, pool: Pool) -> int:
    return (await pool.post(pool.head(URL(f"{base}/x"), {}), b"0" * 1000)).status


async def test_a_kept_connection_closed_under_a_call_costs_nothing() -> None:
    served: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Each connection answers once; the second request on it is read and the connection closed without a word.
        if await _request(reader):
            served.append(1)
            writer.write(_OK)
            await writer.drain()
            await _request(reader)
        writer.close()

    async with _peer(handler) as base:
        pool = Pool(PoolSettings(warm=0), base)
        pool.start(warm=False)
        try:
            assert [await _post(base, pool) for _ in range(3)] == [200] * 3
            assert pool.status()["stale"] == 2
        finally:
            await pool.aclose()
    assert len(served) == 3


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 20"])
async def test_a_new_connection_closed_without_an_answer_is_not_tried_again(answer: bytes) -> None:
    asked: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        asked.append(1)
        writer.write(answer)
        writer.close()

    async with _peer(handler) as base:
        pool = Pool(PoolSettings(warm=0), base)
        pool.start(warm=False)
        try:
            with pytest.raises(Unreachable if not answer else (Garbled, Unreachable)):
                await _post(base, pool)
        finally:
            await pool.aclose()
    assert asked == [1]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{",
    ],
)
async def test_what_is_not_a_whole_answer_is_garbled(answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with _peer(handler) as base:
        pool = Pool(PoolSettings(warm=0), base)
        pool.start(warm=False)
        try:
            with pytest.raises(Garbled):
                await _post(base, pool)
        finally:
            await pool.aclose()


async def test_a_long_body_arrives_whole() -> None:
    got: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        got.append(await reader.readexactly(length))
        writer.write(_OK)
        await writer.drain()
        writer.close()

    body = memoryview(bytes(range(256)) * 8000)
    async with _peer(handler) as base:
        pool = Pool(PoolSettings(warm=0), base)
        pool.start(warm=False)
        try:
            assert (await pool.post(pool.head(URL(f"{base}/x"), {}), body)).status == 200
        finally:
            await pool.aclose()
    assert got == [bytes(body)]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = ["openssl", *new.split(), "-addext", names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize("transport", ["rest", "websocket"])
async def test_a_private_authority_is_trusted_where_it_is_named(certificate: tuple[Path, Path], transport: str) -> None:
    from asrproxy.plugin import Host
    from asrproxy_aliyun.provider import AliyunProvider
    from asrproxy_aliyun.settings import AliyunSettings
    from tests.aliyun.making import Made

    cert, key = certificate
    async with Emulator(tls_cert=cert, tls_key=key) as cloud:
        base: dict[str, Any] = {
            "appkey": cloud.appkey,
            "gateway_url": cloud.gateway_url,
            "token_url": cloud.token_url,
            "access_key_id": cloud.access_key_id,
            "access_key_secret": cloud.access_key_secret,
            "transport": transport,
        }
        trusting = Made(AliyunProvider(AliyunSettings.model_validate({**base, "ca_file": cert}), Host("aliyun")), [])
        try:
            await trusting.provider.start()
            assert await trusting.text() == "天地玄黄"
        finally:
            await trusting.provider.aclose()
        doubting = Made(AliyunProvider(AliyunSettings.model_validate(base), Host("aliyun")), [])
        try:
            await doubting.provider.start()
            with pytest.raises(Unreachable, match="certificate"):
                await doubting.text()
        finally:
            await doubting.provider.aclose()
        token = {"appkey": cloud.appkey, "gateway_url": cloud.gateway_url, "token": cloud.create_token(), "transport": transport}
        doubting = Made(AliyunProvider(AliyunSettings.model_validate(token), Host("aliyun")), [])
        try:
            await doubting.provider.start()
            with pytest.raises(Unreachable, match="certificate"):
                await doubting.text()
        finally:
            await doubting.provider.aclose()


async def test_a_ca_file_that_cannot_be_used_stops_the_start(make: Make, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(ConfigError, match="ca_file"):
            await make(gateway_url="https://127.0.0.1:1", ca_file=str(tmp_path / name))
