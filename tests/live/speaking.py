"""A person at the live door: says things, and hears what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientWebSocketResponse

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.recognize.conftest import Client


def server(**more: object) -> str:
    keys = {"listen": '["127.0.0.1:0"]', "ops_listen": "[]", **more}
    return f"server: {{{', '.join(f'{name}: {value}' for name, value in keys.items())}}}\n"


def aliyun(cloud: Emulator, **more: object) -> str:
    """An entry of `providers` whose vendor is the emulator."""
    keys = {
        "type": "aliyun", "transport": "websocket", "appkey": cloud.appkey, "access_key_id": cloud.access_key_id,
        "access_key_secret": cloud.access_key_secret, "gateway_url": f"'{cloud.gateway_url}'", "token_url": f"'{cloud.token_url}'", **more,
    }  # fmt: skip
    return f"{{{', '.join(f'{name}: {value}' for name, value in keys.items())}}}"


class Speaker:
    """One session. told: every message so far."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []

    async def begin(self, rate: int = 16_000, **more: Any) -> None:
        await self.socket.send_json({"type": "start", "sample_rate": rate, **more})

    async def say(self, pcm: bytes, step: int = 3200) -> None:
        for at in range(0, len(pcm), step):
            await self.socket.send_bytes(pcm[at : at + step])

    async def stop(self) -> None:
        await self.socket.send_json({"type": "stop"})

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message of that kind; what comes before it is kept in `told`."""
        while True:
            message = await self.socket.receive()
            assert isinstance(message.data, str), f"{message} in place of {kind!r} after {self.told}"
            self.told.append(message.json())
            if self.told[-1]["type"] == kind:
                return self.told[-1]
            assert self.told[-1]["type"] != "error", self.told[-1]

    async def rest(self) -> list[dict[str, Any]]:
        """Everything that is told, once the socket has been closed."""
        async for message in self.socket:
            self.told.append(message.json())
        return self.told

    @property
    def finals(self) -> list[dict[str, Any]]:
        return [each for each in self.told if each["type"] == "final"]


@asynccontextmanager
async def speaking(client: Client, rate: int = 16_000, **more: Any) -> AsyncIterator[Speaker]:
    """A session that has begun."""
    async with client.session.ws_connect(client.sidecar.url + "/v1/stream", max_msg_size=2**24) as socket:
        speaker = Speaker(socket)
        await speaker.begin(rate, **more)
        await speaker.hear("started")
        yield speaker


async def awake(client: Client, name: str) -> None:
    """Returns when a provider can answer: one that is still starting is passed over where another is ready."""
    while not (await client.get("/v1/status"))[1]["providers"][name]["ready"]:
        await asyncio.sleep(0.01)


def symbols(text: str) -> str:
    """Without the punctuation that a vendor adds."""
    return "".join(each for each in text if each in tones.ALPHABET)
