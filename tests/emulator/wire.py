"""The vendor's wire format as the tests write it, by hand, so that it does not come from what is tested."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import aiohttp

from asrproxy_aliyun.emulator import Emulator


async def recognize(http: aiohttp.ClientSession, cloud: Emulator, audio: bytes, **changes: str) -> tuple[int, dict[str, Any]]:
    """One sentence over HTTP: HTTP status and JSON."""
    headers = {"X-NLS-Token": changes.pop("token", None) or cloud.create_token()}
    query = {"appkey": cloud.appkey, "format": "pcm", "sample_rate": "16000"} | changes
    async with http.post(f"{cloud.gateway_url}/stream/v1/asr", params=query, headers=headers, data=audio) as response:
        return response.status, await response.json()


def signed(cloud: Emulator, method: str = "GET", *, secret: str | None = None, age: float = 0.0, **changes: str) -> dict[str, str]:
    """Parameters of CreateToken as the vendor's page says they are signed. age: seconds that the time stamp is behind."""
    parameters = {
        "Action": "CreateToken",
        "Version": "2019-02-28",
        "Format": "JSON",
        "RegionId": "cn-shanghai",
        "AccessKeyId": cloud.access_key_id,
        "Timestamp": (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": str(uuid.uuid4()),
    } | changes
    canonical = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(parameters.items()))
    text = f"{method}&%2F&{quote(canonical, safe='~')}"
    key = f"{cloud.access_key_secret if secret is None else secret}&".encode()
    parameters["Signature"] = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha1).digest()).decode()
    return parameters


@dataclass
class Speaker:
    """One WebSocket task, message by message."""

    socket: aiohttp.ClientWebSocketResponse
    cloud: Emulator
    namespace: str = "SpeechTranscriber"
    task_id: str = "0123456789abcdef0123456789abcdef"

    @property
    def noun(self) -> str:
        return "Transcription" if self.namespace == "SpeechTranscriber" else "Recognition"

    async def send(self, name: str, payload: dict[str, Any] | None = None, **header: Any) -> None:
        message: dict[str, Any] = {
            "header": {
                "message_id": uuid.uuid4().hex,
                "task_id": self.task_id,
                "namespace": self.namespace,
                "name": name,
                "appkey": self.cloud.appkey,
            }
            | header
        }
        await self.socket.send_str(json.dumps(message if payload is None else message | {"payload": payload}))

    async def start(self, **options: Any) -> None:
        await self.send(f"Start{self.noun}", {"format": "pcm", "sample_rate": 16000} | options)

    async def stop(self) -> None:
        await self.send(f"Stop{self.noun}")

    async def say(self, audio: bytes, piece: int = 3200) -> None:
        for at in range(0, len(audio), piece):
            await self.socket.send_bytes(audio[at : at + piece])

    async def hear(self) -> dict[str, Any]:
        """The next message; an AssertionError where the server closed instead."""
        message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def hear_all(self) -> list[dict[str, Any]]:
        """Until the task is over."""
        heard = [await self.hear()]
        while heard[-1]["header"]["name"] not in (f"{self.noun}Completed", "TaskFailed"):
            heard.append(await self.hear())
        return heard

    async def whole(self, audio: bytes, **options: Any) -> list[dict[str, Any]]:
        """Start, audio, stop: everything that the server says."""
        await self.start(**options)
        await self.say(audio)
        await self.stop()
        return await self.hear_all()


async def connect(http: aiohttp.ClientSession, cloud: Emulator, namespace: str = "SpeechTranscriber") -> Speaker:
    socket = await http.ws_connect(cloud.websocket_url, headers={"X-NLS-Token": cloud.create_token()})
    return Speaker(socket, cloud, namespace)


def names(messages: list[dict[str, Any]]) -> list[str]:
    return [each["header"]["name"] for each in messages]
