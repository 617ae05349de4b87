"""A form that goes on to a file takes about `server.spool_memory` of memory on its way there."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator

from tests.recognize.conftest import FAKE, Start

MEMORY = 8 * 2**20
PIECE = bytes(2**16)
AUDIO = b'--b0undary\r\nContent-Disposition: form-data; name="audio"; filename="a.raw"\r\n\r\n'


async def long_form() -> AsyncIterator[bytes]:
    yield AUDIO
    for _ in range(3 * MEMORY // len(PIECE)):
        yield PIECE
    yield b"\r\n" + AUDIO + b"\r\n--b0undary--\r\n"  # a second recording: it is refused once it has been read


async def test_a_long_form_is_not_in_memory_twice(start: Start) -> None:
    text = FAKE.replace("server: {", f"server: {{spool_memory: {MEMORY}, ")
    async with start(text) as client:
        headers = {"Content-Type": "multipart/form-data; boundary=b0undary"}
        tracemalloc.start()
        try:
            async with client.session.post(f"{client.sidecar.url}/v1/recognize", data=long_form(), headers=headers) as answer:
                assert (answer.status, "more than one audio part" in await answer.text()) == (400, True)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 1.6 * MEMORY
