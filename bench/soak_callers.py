"""Who calls a sidecar during a soak: short and long recordings of several kinds, live sessions, rubbish, and people who hang up."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession

from asrproxy.testing import tones
from bench.decoders import FORMS, recording
from bench.live import BYTES, FRAME, PCM, RATE
from bench.load import Connection
from bench.throughput import multipart

HUNG_UP = 499
LIVE = 101
NONE = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request. weight: how often among all. hangs_up: sends half of the body and goes."""

    name: str
    weight: float
    path: str
    body: bytes
    headers: Mapping[str, str]
    hangs_up: bool = False


def kinds() -> list[Kind]:
    """Mostly what callers send: five seconds of 16 kHz WAV."""

    def plain(name: str, weight: float, body: bytes, *, hangs_up: bool = False) -> Kind:
        return Kind(name, weight, "/v1/recognize", body, {"Content-Type": "application/octet-stream"}, hangs_up)

    short = recording(*FORMS["WAV 16 kHz mono"])
    form, headers = multipart(short)
    sentence = [("天地玄黄宇宙洪荒日月", 1.0), ("盈昃辰宿列张", 0.8)]
    found = [
        plain("WAV 16 kHz", 80, short),
        plain("WAV 44.1 kHz stereo", 6, recording(*FORMS["WAV 44.1 kHz stereo"])),
        plain("MP3", 3, recording(*FORMS["MP3 44.1 kHz stereo"])),
        plain("Opus", 3, recording(*FORMS["Opus 48 kHz mono"])),
        Kind("OpenAI's door", 5, "/v1/audio/transcriptions", form, headers),
        plain("no audio", 1, b"this is not audio " * 500),
        plain("nothing", 0.5, b""),
        plain("hangs up", 0.5, short, hangs_up=True),
    ]
    for minutes, weight in ((2.0, 0.15), (2.5, 0.1), (3.0, 0.05)):
        parts = [each for _ in range(round(minutes * 60 / 10)) for pair in sentence for each in pair]
        found.append(plain(f"{minutes:g} min", weight, _wav(tones.compose(parts).render(RATE))))
    return found


def _wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(samples)
    return file.getvalue()


class Callers:
    """Everybody who calls. statuses: by request id, as the caller saw it. unanswered: what the rest of them met instead."""

    def __init__(self, url: str, session: ClientSession, chance: Random) -> None:
        self._url, self._session, self._chance = url, session, chance
        self._parts = urlsplit(url)
        self._free: list[Connection] = []
        self._kinds = kinds()
        self._weights = [each.weight for each in self._kinds]
        self.statuses: dict[str, int] = {}
        self.unanswered: list[str] = []

    async def everything_once(self) -> None:
        """A request of each kind and two live sessions: what is loaded at first use is there from then on."""
        for kind in self._kinds:
            await self._request(kind)
        await asyncio.gather(self.speak(0, 5.0), self.speak(1, 5.0))

    async def closed_loop(self, callers: int, *, seconds: float) -> float:
        """Answers a second while so many callers ask again as soon as they are answered."""
        before, end = len(self.statuses), time.monotonic() + seconds

        async def caller() -> None:
            while time.monotonic() < end:
                await self.request()

        await asyncio.gather(*(caller() for _ in range(callers)))
        return (len(self.statuses) - before) / (time.monotonic() - end + seconds)

    async def open_loop(self, rate: float, seconds: float) -> None:
        """Evenly spaced requests whatever the answers do; returns when the last is answered."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as calls:
            for number in range(int(rate * seconds)):
                if (wait := began + number / rate - loop.time()) > 0:
                    await asyncio.sleep(wait)
                calls.create_task(self.request())
        for connection in self._free:
            connection.close()

    async def request(self) -> None:
        """One, of a kind that is drawn."""
        (kind,) = self._chance.choices(self._kinds, self._weights)
        await self._request(kind)

    async def _request(self, kind: Kind) -> None:
        request_id = f"{self._chance.getrandbits(64):016x}"
        try:
            await (self._hang_up(kind, request_id) if kind.hangs_up else self._ask(kind, request_id))
        except (OSError, TimeoutError) as error:
            self.unanswered.append(f"{kind.name} {request_id}: {error!r}")

    async def speak(self, number: int, seconds: float) -> None:
        """Live sessions, one after the other; even numbers over the vendor's own streaming, odd ones through cuts at pauses."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 2:
            request_id = f"live-{number}-{self._chance.getrandbits(48):012x}"
            try:
                await self._session_of("live" if number % 2 == 0 else "default", request_id, min(left, self._chance.uniform(5, 25)))
            except (ClientError, OSError, TimeoutError) as error:
                self.unanswered.append(f"live session {request_id}: {error!r}")

    async def _ask(self, kind: Kind, request_id: str) -> None:
        connection = None
        while self._free and connection is None:
            connection = self._free.pop()
            connection = connection if connection.reusable else None
        if connection is None:
            connection = await Connection.open(self._parts.hostname or "", self._parts.port or 80)
        try:
            self.statuses[request_id] = await connection.ask(self._head(kind, request_id), kind.body)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            self._free.append(connection)
        else:
            connection.close()

    async def _hang_up(self, kind: Kind, request_id: str) -> None:
        """Only after `100 Continue` is it sure that the sidecar has begun with the request, and counts it."""
        reader, writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        try:
            async with asyncio.timeout(60):
                writer.write(self._head(kind, request_id, "Expect: 100-continue\r\n"))
                await reader.readuntil(b"\r\n\r\n")
                writer.write(kind.body[: len(kind.body) // 2])
                await writer.drain()
                await asyncio.sleep(0.3)
                self.statuses[request_id] = HUNG_UP
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("closed before 100 Continue") from error
        finally:
            writer.close()

    def _head(self, kind: Kind, request_id: str, more: str = "") -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in kind.headers.items())
        return (
            f"POST {kind.path} HTTP/1.1\r\nHost: {self._parts.netloc}\r\nX-Request-Id: {request_id}\r\n"
            f"Content-Length: {len(kind.body)}\r\n{lines}{more}\r\n"
        ).encode()

    async def _session_of(self, route: str, request_id: str, seconds: float) -> None:
        """At the pace of speech. An `error` ends it too: it was answered."""
        headers = {"X-Request-Id": request_id}
        async with (
            asyncio.timeout(seconds + 90),
            self._session.ws_connect(f"{self._url}/v1/stream", headers=headers, compress=0) as socket,
        ):
            self.statuses[request_id] = LIVE
            await socket.send_json({"type": "start", "sample_rate": RATE, "route": route})

            async def speak() -> None:
                for frame in range(int(seconds / FRAME)):
                    at = frame * BYTES % (len(PCM) - BYTES) // 2 * 2
                    await socket.send_bytes(PCM[at : at + BYTES])
                    await asyncio.sleep(FRAME)
                await socket.send_json({"type": "stop"})

            speaking = asyncio.create_task(speak())
            try:
                async for message in socket:
                    if message.json()["type"] in ("done", "error"):
                        break
            finally:
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)
