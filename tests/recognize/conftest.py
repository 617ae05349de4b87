"""A whole sidecar on loopback ports, made from YAML as a user writes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from asrproxy.api.sidecar import Sidecar, sidecar
from asrproxy.config.load import loads
from asrproxy.discovery import provider_type
from asrproxy.events import Event

FAKE = """
server: {listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"]}
providers: {tones: {type: fake}}
"""


@dataclass
class Client:
    """What a caller sees."""

    sidecar: Sidecar
    session: ClientSession
    events: list[Event]

    async def post(self, body: Any, path: str = "/v1/recognize", **parameters: str) -> tuple[ClientResponse, Any]:
        headers = parameters.pop("headers", {})
        async with self.session.post(self.sidecar.url + path, data=body, params=parameters, headers=headers) as answer:
            await answer.read()
            return answer, (await answer.json() if answer.content_type == "application/json" else await answer.text())

    async def get(self, path: str, *, ops: bool = False, **options: Any) -> tuple[ClientResponse, Any]:
        base = self.sidecar.ops_urls[0] if ops else self.sidecar.url
        async with self.session.get(base + path, **options) as answer:
            await answer.read()
            return answer, (await answer.json() if answer.content_type == "application/json" else await answer.text())


Start = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def start() -> Start:
    @asynccontextmanager
    async def starting(text: str = FAKE, **environ: str) -> AsyncIterator[Client]:
        configuration = loads(text, "test.yaml", environ=environ, provider_settings=lambda name: provider_type(name).Settings)
        events: list[Event] = []
        async with sidecar(configuration, [events.append]) as running, ClientSession() as session:
            yield Client(running, session, events)

    return starting


@pytest.fixture
async def client(start: Start) -> AsyncIterator[Client]:
    async with start() as running:
        yield running


@pytest.fixture
def encoded_headerless() -> Callable[[bytes, str], bytes]:
    """s16le mono samples at 8 kHz as the bytes of a headerless encoding."""

    def encode(pcm: bytes, encoding: str) -> bytes:
        if encoding == "pcm_s16le":
            return pcm
        import av
        import numpy as np

        codec = av.CodecContext.create(f"pcm_{encoding}", "w")
        codec.sample_rate, codec.layout, codec.format = 8000, "mono", "s16"
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2").reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 8000
        return b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))

    return encode
