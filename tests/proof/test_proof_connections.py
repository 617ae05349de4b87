"""What a caller may do to the shared port, short of sending a request: nothing of it costs the other callers anything."""

from __future__ import annotations

import asyncio
import gzip
import re
import resource
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from asrproxy.testing import tones
from asrproxy.testing.sidecar import CONFIGURATION, RunningSidecar, running_sidecar
from tests.faults.process import serving
from tests.recognize.test_recognize_malformed import only_answer

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
POST = b"POST /v1/recognize HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
AT_ONCE = 500
"""Of them: asyncio takes a Unix socket whose queue is full for one that it is connected to."""
SPARE = 500
"""Descriptors for everything else."""
IDLE = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE)
"""Connections that say nothing; fewer where this user may not open so many."""

SMUGGLED = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMUGGLING = {
    "a length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED,
    "two lengths in one": POST + b"Content-Length: 0, 5\r\n\r\n" + SMUGGLED,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
    "a length in hexadecimal": POST + b"Content-Length: 0x0\r\n\r\n" + SMUGGLED,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked and then not": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an encoding nobody knows": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a folded header": GET + b"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n",
    "a header that begins with a space": GET + b" Content-Length: 5\r\n\r\n",
    "bare line feeds": GET.replace(b"\r\n", b"\n") + b"\n",
    "a bare carriage return": GET + b"X-A: b\rContent-Length: 5\r\n\r\n",
    "a zero byte": GET + b"X-A: b\0c\r\n\r\n",
    "a chunk size with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + SMUGGLED,
    "a chunk extension with a line feed": POST + b"Transfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n" + SMUGGLED,
}


@pytest.fixture(scope="module")
def sidecar() -> Iterator[RunningSidecar]:
    with running_sidecar(CONFIGURATION + "server: {max_body: 1MiB, body_timeout: 500ms, spool_memory: 64KiB}") as running:
        yield running


async def said_to(sidecar: RunningSidecar, *pieces: bytes, pause: float = 0.0) -> bytes:
    """All that is answered until the server closes the connection."""
    reader, writer = await connect(sidecar)
    try:
        answer = asyncio.ensure_future(reader.read())
        for piece in pieces:
            if answer.done():
                break
            writer.write(piece)
            await asyncio.wait([answer], timeout=pause)
        return await asyncio.wait_for(answer, 60)
    finally:
        writer.transport.abort()


async def connect(sidecar: RunningSidecar) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = sidecar.url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def answers(sidecar: RunningSidecar) -> None:
    async with ClientSession() as session, session.post(f"{sidecar.url}/v1/recognize", data=WAV) as answer:
        assert (answer.status, (await answer.json())["text"]) == (200, TEXT)


@pytest.mark.parametrize("shape", SMUGGLING)
async def test_a_request_that_two_parsers_could_read_in_two_ways_is_refused_and_nothing_after_it_is_read(
    sidecar: RunningSidecar, shape: str
) -> None:
    before = len(sidecar.requests)
    status, _, body = only_answer(await said_to(sidecar, SMUGGLING[shape]))
    assert (status, body["error"]["code"]) == (400, "invalid_parameter")
    assert len(sidecar.requests) == before + 1


@pytest.mark.parametrize("pieces", [[b"G"], [GET], [b"POST /v1/rec", *[b"ognize"] * 1000], [GET, *[b"X-A: b\r\n"] * 100]])
async def test_a_head_that_does_not_end_is_ended(sidecar: RunningSidecar, pieces: list[bytes]) -> None:
    status, _, body = only_answer(await said_to(sidecar, *pieces, pause=0.05))
    assert (status, body["error"]["code"]) == (408, "request_timeout")
    await answers(sidecar)


async def test_the_second_head_of_a_connection_is_bounded_too_and_one_that_ends_in_time_is_served(sidecar: RunningSidecar) -> None:
    whole = GET + b"\r\n"
    said = await said_to(sidecar, whole[:10], whole[10:], whole, whole[:20], pause=0.1)
    assert re.findall(rb"HTTP/1\.[01] (\d+)", said) == [b"200", b"200", b"408"]


async def test_a_connection_that_rests_between_requests_is_no_head_that_does_not_end(sidecar: RunningSidecar) -> None:
    reader, writer = await connect(sidecar)
    for _ in range(2):
        writer.write(GET + b"\r\n")
        assert (await reader.readuntil(b'{"status":"live"}')).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.8)  # longer than a head may take
    writer.close()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("form", [False, True])
async def test_a_compressed_body_counts_by_what_comes_out_of_it(sidecar: RunningSidecar, coding: str, form: bool) -> None:
    exploding = bytes(64 * 2**20)
    headers = {"Content-Encoding": coding, "Content-Type": "audio/wav"}
    if form:
        headers["Content-Type"] = "multipart/form-data; boundary=x"
        exploding = b'--x\r\nContent-Disposition: form-data; name="audio"\r\n\r\n' + exploding + b"\r\n--x--\r\n"
    compressed = gzip.compress(exploding, 9) if coding == "gzip" else zlib.compress(exploding, 9)
    assert len(compressed) < 100_000
    async with ClientSession() as session, session.post(f"{sidecar.url}/v1/recognize", data=compressed, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (413, "body_too_large")
    assert sidecar.requests[-1].body_bytes <= 2**20
    await answers(sidecar)


async def test_a_compressed_recording_is_taken(sidecar: RunningSidecar) -> None:
    headers = {"Content-Encoding": "gzip"}
    async with ClientSession() as session, session.post(f"{sidecar.url}/v1/recognize", data=gzip.compress(WAV), headers=headers) as answer:
        assert (answer.status, (await answer.json())["text"]) == (200, TEXT)


async def test_thousands_of_idle_connections_keep_nobody_from_being_answered(tmp_path: Path) -> None:
    with _descriptors(max(IDLE, 1100) + SPARE):
        async with serving(tmp_path, {"providers": {"vendor": {"type": "fake"}}}) as process:
            idle = []
            try:
                for ahead in range(0, IDLE, AT_ONCE):
                    idle += [await asyncio.open_unix_connection(process.socket) for _ in range(min(AT_ONCE, IDLE - ahead))]
                    async with asyncio.timeout(60):
                        while process.descriptors() <= len(idle):  # the last of them are still on their way in
                            await asyncio.sleep(0.01)
                answer = await process.ask(WAV)
                assert (answer.status, answer.body["text"]) == (200, TEXT)
            finally:
                for _, writer in idle:
                    writer.transport.abort()
            await process.settles(200)
            assert (await process.ask(WAV)).status == 200


@contextmanager
def _descriptors(wanted: int) -> Iterator[None]:
    """So many for this process and, from a low limit, for those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        pytest.skip(f"this user may open only {hard} files, hardly more than a process has by default")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
