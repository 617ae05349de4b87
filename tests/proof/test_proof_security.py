"""What `docs/security.md` claims and no other test holds: callers' addresses, processes' secrets, temporary files, TLS versions, frames."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import stat
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trustme
from aiohttp import ClientSession, FormData, UnixConnector

from asrproxy.plugin import Unreachable
from asrproxy.testing import tones
from asrproxy.testing.sidecar import CONFIGURATION, RunningSidecar, running_sidecar
from asrproxy_aliyun.emulator import Emulator
from tests.audio.audio_encoding import recording
from tests.faults.process import Process, serving
from tests.faults.proxy import FaultProxy
from tests.faults.world import world
from tests.openai_provider.openai_server import OpenAIServer
from tests.openai_provider.test_openai_provider_calls import ask as ask_openai
from tests.openai_provider.test_openai_provider_calls import opened as openai_opened

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
SECRET = "secret-of-mine-0123456789"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def sidecar(folder: Path) -> Iterator[RunningSidecar]:
    with running_sidecar(CONFIGURATION + f"server: {{spool_memory: 64KiB, spool_dir: {folder}}}") as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as each:
        yield each


@asynccontextmanager
async def bait() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address that a caller might want to be fetched, and what was asked of it."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.wav", asked


@pytest.mark.parametrize("name", ["audio_address", "audio_url", "url", "file_link", "enable_callback"])
@pytest.mark.parametrize("where", ["query", "form", "openai", "live"])
async def test_no_address_of_a_caller_is_fetched(sidecar: RunningSidecar, session: ClientSession, name: str, where: str) -> None:
    async with bait() as (address, asked):
        if where == "live":
            async with session.ws_connect(f"{sidecar.url}/v1/stream") as socket:
                await socket.send_json({"type": "start", "sample_rate": 16_000, name: address})
                said = await socket.receive_json(timeout=PATIENCE)
            assert (said["type"], said["error"]["code"], said["error"]["param"]) == ("error", "invalid_parameter", name)
        else:
            form = FormData({name: address})
            form.add_field("file", WAV, filename="a.wav")
            path = "/v1/audio/transcriptions" if where == "openai" else "/v1/recognize"
            query, body = ({name: address}, WAV) if where == "query" else ({}, form)
            async with session.post(sidecar.url + path, params=query, data=body) as answer:
                error = (await answer.json())["error"]
            assert (answer.status, error["param"]) == (400, name)
            assert error["code"] == "invalid_parameter"
        assert asked == []
    assert sidecar.vendor.asked == ()


PLAYLISTS = {
    "an address": "{}",
    "m3u": "#EXTM3U\n#EXTINF:1,\n{}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "pls": "[playlist]\nFile1={}\n",
    "dash": '<?xml version="1.0"?><MPD><BaseURL>{}</BaseURL></MPD>',
}


@pytest.mark.parametrize("playlist", PLAYLISTS)
async def test_an_address_in_place_of_audio_is_not_fetched(sidecar: RunningSidecar, session: ClientSession, playlist: str) -> None:
    async with bait() as (address, asked):
        async with session.post(f"{sidecar.url}/v1/recognize", data=PLAYLISTS[playlist].format(address).encode()) as answer:
            assert answer.status in (400, 415)
        assert asked == []


async def test_a_body_on_disk_is_in_a_file_of_nobody_elses_and_without_a_name(sidecar: RunningSidecar, folder: Path) -> None:
    host, _, port = sidecar.url.removeprefix("http://").rpartition(":")
    beginning = tones.to_wav(bytes(499_956), 16_000)[:200_000]  # audio: what is none is refused before all of it is there
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/recognize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n" + beginning)
    async with asyncio.timeout(PATIENCE):
        while not (spooled := _files_below(folder)):
            await asyncio.sleep(0.01)
        [status] = spooled
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_nlink == 0
        assert list(folder.iterdir()) == []
        writer.transport.abort()
        while _files_below(folder):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
async def test_secrets_are_in_no_title_no_answer_no_line_and_no_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("VENDOR_KEY", SECRET)
    providers = {"vendor": {"type": "fake"}, "keyed": {"type": "openai", "api_key": "${VENDOR_KEY}", "base_url": "http://127.0.0.1:9/v1"}}
    routes = {"default": {"providers": ["vendor"]}, "keyed": {"providers": ["keyed"]}}
    tree = {"server": {"workers": workers}, "providers": providers, "routes": routes, "policy": {"retries": {"attempts": 1}}}
    async with serving(tmp_path, tree) as process:
        assert (await process.ask(recording("mp3-mono-8000"))).status == 200
        refused = await process.ask(WAV, route="keyed")
        assert refused.status == 502
        told = await _everything_told(process) + json.dumps(refused.body)
        assert "keyed" in told
        assert SECRET not in told
        main = psutil.Process(process.process.pid)
        everyone = [main, *main.children(recursive=True)]
        decoders = [each for each in everyone if "asrproxy.audio.worker" in each.cmdline()]
        assert decoders
        for each in everyone:
            assert SECRET not in " ".join([each.name(), *each.cmdline()])
            assert _core_limit(each.pid) <= 1
        for each in decoders:
            assert "VENDOR_KEY" not in each.environ()
            assert SECRET not in str(each.environ())


@pytest.mark.parametrize("transport", ["rest", "websocket"])
async def test_a_vendor_that_speaks_only_tls_1_1_is_refused(tmp_path: Path, transport: str) -> None:
    old, authority = await _old_tls(tmp_path)
    async with Emulator() as cloud, FaultProxy(cloud.gateway_url, tls=old) as proxy:
        assert await _can_be_spoken_to(proxy.port), "one who takes TLS 1.1 does get through: the refusal is ours"
        settings = {"transport": transport, "gateway_url": proxy.url, "ca_file": str(authority)}
        async with world(cloud, tmp_path / "spool", aliyun=settings) as running:
            answer = await running.ask()
        assert answer.outcome == "provider_error"
        assert cloud.calls == []


async def test_so_is_one_of_openais(tmp_path: Path) -> None:
    old, authority = await _old_tls(tmp_path)
    async with OpenAIServer().running(ssl_context=old) as server, openai_opened(base_url=server.url, ca_file=str(authority)) as provider:
        with pytest.raises(Unreachable):
            await ask_openai(provider)
        assert server.calls() == 0


async def test_aiohttps_own_contexts_verify_as_they_did(tmp_path: Path) -> None:
    """For a plugin's sessions in a process that serves: certificates are checked against the system's, unless it says `ssl=False`."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with OpenAIServer().running(ssl_context=context) as server:
        for trusted in ("", str(tmp_path / "ca.pem")):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", ASKING, f"{server.url}/v1/models"),
                env=os.environ | {"SSL_CERT_FILE": trusted or os.devnull},
                stdout=asyncio.subprocess.PIPE,
            )
            said, _ = await process.communicate()
            assert said.decode().split() == ["True" if trusted else "False", "True"]


ASKING = """
import asrproxy.api.serve, aiohttp, asyncio, sys

async def answered(session, **how):
    try:
        async with session.get(sys.argv[1], **how):
            return True
    except aiohttp.ClientConnectorCertificateError:
        return False

async def main():
    async with aiohttp.ClientSession() as session:
        print(await answered(session), await answered(session, ssl=False))

asyncio.run(main())
"""


FRAMES = {
    "a continuation of nothing": b"\x80\x80\0\0\0\0",
    "an opcode that is none": b"\x83\x80\0\0\0\0",
    "reserved bits": b"\xf2\x80\0\0\0\0",
    "a ping in fragments": b"\x09\x80\0\0\0\0",
    "a ping too long": b"\x89\xfe" + struct.pack("!H", 1000) + bytes(4 + 1000),
    "text that is no UTF-8": b"\x81\x82\0\0\0\0\xff\xfe",
    "a message within a message": b"\x02\x82\0\0\0\0ab\x82\x82\0\0\0\0cd",
    "a frame of exabytes": b"\x82\xff" + struct.pack("!Q", 2**62) + bytes(4),
    "a length with its highest bit set": b"\x82\xff" + struct.pack("!Q", 2**63 + 5) + bytes(4),
    "a close with half a code": b"\x88\x81\0\0\0\0\x03",
    "a close with a code that is none": b"\x88\x82\0\0\0\0\0\x01",
    "no frame": b"GET / HTTP/1.1\r\n\r\n" * 10,
}


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("started", [False, True])
async def test_frames_that_break_the_rules_end_their_own_session(sidecar: RunningSidecar, frames: str, started: bool) -> None:
    host, _, port = sidecar.url.removeprefix("http://").rpartition(":")
    before = len(sidecar.requests)
    reader, writer = await asyncio.open_connection(host, int(port))
    key = base64.b64encode(os.urandom(16)).decode()
    head = ("GET /v1/stream HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    writer.write("\r\n".join([*head, f"Sec-WebSocket-Key: {key}", "", ""]).encode())
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        if started:
            start = json.dumps({"type": "start", "sample_rate": 16_000}).encode()
            writer.write(bytes([0x81, 0x80 | len(start)]) + bytes(4) + start)
            await reader.readuntil(b'"started"')
        writer.write(FRAMES[frames])
        await reader.read()  # closed
        while len(sidecar.requests) == before:
            await asyncio.sleep(0.01)
    writer.transport.abort()
    assert sidecar.requests[-1].live
    assert sidecar.requests[-1].code != "internal"


def _files_below(folder: Path) -> list[os.stat_result]:
    """Those that this process, which the sidecar is in, has open there."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(each).startswith(f"{folder}/"):
                found.append(os.stat(each))
        except FileNotFoundError:
            continue
    return found


async def _everything_told(process: Process) -> str:
    said = [json.dumps(process.lines), process.file.read_text().replace(SECRET, "")]
    async with ClientSession(connector=UnixConnector(str(process.socket))) as session:
        for path in ("/v1/status", "/metrics", "/v1/recent", "/openapi.json", "/v1/models"):
            async with session.get(f"http://localhost{path}") as answer:
                assert answer.status == 200
                said.append(await answer.text())
    return "\n".join(said)


def _core_limit(pid: int) -> int:
    """Bytes, of both limits the higher."""
    [line] = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core file size")]
    return max(int(word) if word.isdigit() else 2**63 for word in line.split()[4:6])


async def _old_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side that knows nothing newer than TLS 1.1, and the file of its authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    _let_in_old(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context, folder / "ca.pem"


async def _can_be_spoken_to(port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _let_in_old(context)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    version = writer.get_extra_info("ssl_object").version()
    writer.transport.abort()
    return bool(version == "TLSv1.1")


def _let_in_old(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
