"""Live sessions at the pace of speech through one sidecar, beside the same sessions straight to the emulator.

    python -m bench.live [--sessions 200 …] [--seconds 20] [--rounds 3]     # latency and CPU, in turns
    python -m bench.live --growth 600 [--sessions 200]                      # memory over time, sessions of 30 s one after the other

Latency of an interim text: from the moment at which the last frame of a sentence's first symbol was sent to the first interim text of the
sentence. Of a final: from the frame with which 0.8 s of quiet were complete. Emulator, sidecar and speakers are a process each; on a
machine with few cores they wait for each other, so that only what is measured side by side says something.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import uvloop
from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector

from asrproxy.testing import tones
from bench.forwarder import token
from bench.running import APPKEY, KEY_ID, KEY_SECRET, Running, emulator, sidecar_of, table

FRAME = 0.1
RATE = 16_000
BYTES = int(FRAME * RATE) * 2
LASTS = 30.0
"""Seconds of a session while memory is watched."""
SPEECH = tones.compose(
    [part for text in ("天地玄黄", "宇宙洪荒日月", "盈昃辰宿列张寒来", "暑往秋收冬藏") for part in (text, 1.2)], lead=0.3
)
PCM = SPEECH.render(RATE)


@dataclass
class Heard:
    """Seconds of latency, and how sessions ended."""

    interims: list[float] = field(default_factory=list)
    finals: list[float] = field(default_factory=list)
    sessions: int = 0
    wrong: int = 0


def _sentences() -> list[tuple[float, float]]:
    """For each sentence of the speech: seconds at which its first symbol has ended, and at which it has been quiet for 0.8 s."""
    found: list[list[tones.Symbol]] = [[]]
    for symbol in SPEECH.symbols:
        if found[-1] and symbol.start - found[-1][-1].end > 0.8:
            found.append([])
        found[-1].append(symbol)
    return [(sentence[0].end, sentence[-1].end + 0.8) for sentence in found]


SENTENCES = _sentences()


class Speaker:
    """One session: speaks at the pace of speech, and looks at the clock when something is said."""

    def __init__(self, heard: Heard, seconds: float) -> None:
        self._heard = heard
        self._frames = int(seconds / FRAME)
        self._began = 0.0
        self._waiting = 0  # the sentence whose first interim text has not come
        self._finals = 0

    async def speak(self, socket: ClientWebSocketResponse) -> None:
        self._began = time.perf_counter()
        for number in range(self._frames):
            at = number * BYTES % len(PCM)
            frame = PCM[at : at + BYTES]
            if len(frame) < BYTES:
                frame += PCM[: BYTES - len(frame)]
            # A frame is sent when its last sample has been spoken.
            if (pause := self._began + (number + 1) * FRAME - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            await socket.send_bytes(frame)

    def interim(self, text: str) -> None:
        if text and self._waiting == self._finals:
            self._heard.interims.append(time.perf_counter() - self._sent(self._waiting, 0))
            self._waiting += 1

    def final(self) -> None:
        self._heard.finals.append(time.perf_counter() - self._sent(self._finals, 1))
        self._finals += 1
        self._waiting = self._finals

    def over(self) -> None:
        self._heard.sessions += 1
        spoken = sum(self._moment(number, 1) < self._frames * FRAME - 0.5 for number in range(self._finals + 5))
        if self._finals < spoken:
            self._heard.wrong += 1

    def _moment(self, sentence: int, which: int) -> float:
        round_, place = divmod(sentence, len(SENTENCES))
        return round_ * len(PCM) / 2 / RATE + SENTENCES[place][which]

    def _sent(self, sentence: int, which: int) -> float:
        """When the frame with that moment was to be sent."""
        return self._began + (int(self._moment(sentence, which) / FRAME) + 1) * FRAME


async def straight(session: ClientSession, url: str, token_id: str, heard: Heard, seconds: float) -> None:
    """A client of the vendor's."""
    task_id = uuid.uuid4().hex

    def message(name: str, payload: dict[str, Any]) -> str:
        header = {"message_id": uuid.uuid4().hex, "task_id": task_id, "namespace": "SpeechTranscriber", "name": name, "appkey": APPKEY}
        return json.dumps({"header": header, "payload": payload})

    async with session.ws_connect(f"{url.replace('http', 'ws')}/ws/v1", headers={"X-NLS-Token": token_id}, compress=0) as socket:
        await socket.send_str(message("StartTranscription", {"format": "pcm", "sample_rate": RATE, "enable_intermediate_result": True}))
        await socket.receive()
        speaker = Speaker(heard, seconds)

        async def speak() -> None:
            await speaker.speak(socket)
            await socket.send_str(message("StopTranscription", {}))

        speaking = asyncio.create_task(speak())
        async for each in socket:
            event = json.loads(each.data)
            match event["header"]["name"]:
                case "TranscriptionResultChanged":
                    speaker.interim(event["payload"]["result"])
                case "SentenceEnd":
                    speaker.final()
                case "TranscriptionCompleted":
                    speaker.over()
                    break
        await speaking


async def through(session: ClientSession, url: str, token_id: str, heard: Heard, seconds: float) -> None:
    """A client of the sidecar's."""
    async with session.ws_connect(f"{url}/v1/stream", compress=0) as socket:
        await socket.send_json({"type": "start", "sample_rate": RATE})
        await socket.receive()
        speaker = Speaker(heard, seconds)

        async def speak() -> None:
            await speaker.speak(socket)
            await socket.send_json({"type": "stop"})

        speaking = asyncio.create_task(speak())
        async for each in socket:
            event = json.loads(each.data)
            match event["type"]:
                case "interim":
                    speaker.interim(event["text"])
                case "final":
                    speaker.final()
                case "done":
                    speaker.over()
                case "error":
                    print(event, file=sys.stderr)
        await speaking


@asynccontextmanager
async def connections() -> AsyncIterator[ClientSession]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield session


async def crowd(way: Any, url: str, token_id: str, sessions: int, seconds: float) -> Heard:
    heard = Heard()
    async with connections() as session:

        async def one() -> None:
            await asyncio.sleep(random.uniform(0.0, 4.0))  # people do not speak in step
            await way(session, url, token_id, heard, seconds)

        await asyncio.gather(*(one() for _ in range(sessions)))
    return heard


async def churn(url: str, sessions: int, seconds: float, proxy: Running) -> tuple[Heard, list[tuple[float, float]]]:
    """Sessions of half a minute, one after the other in each of so many places. Returns (seconds, MB) of the sidecar too."""
    heard = Heard()
    memory: list[tuple[float, float]] = []
    began = time.perf_counter()
    async with connections() as session:

        async def place() -> None:
            await asyncio.sleep(random.uniform(0.0, min(LASTS, seconds / 4)))
            while (left := seconds - (time.perf_counter() - began)) > 2:
                await through(session, url, "", heard, min(LASTS, left))
                await asyncio.sleep(1)

        async def watch() -> None:
            while True:
                memory.append((time.perf_counter() - began, proxy.rss() / 1e6))
                await asyncio.sleep(2)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(place() for _ in range(sessions)))
        watching.cancel()
    return heard, memory


def configuration(gateway: str) -> str:
    return f"""
server: {{listen: ["{{listen}}"], ops_listen: []}}
providers:
  aliyun:
    type: aliyun
    transport: websocket
    appkey: {APPKEY}
    access_key_id: {KEY_ID}
    access_key_secret: {KEY_SECRET}
    gateway_url: {gateway}
    token_url: {gateway}
policy: {{limits: {{rate: null, concurrency: 2000, queue: 2000, queue_timeout: 60s}}}}
log: {{level: warning}}
"""


def run(main: Any) -> Any:
    return asyncio.run(main, loop_factory=uvloop.new_event_loop) if sys.version_info >= (3, 12) else uvloop.run(main)


def compare(sessions: int, seconds: float, rounds: int) -> None:
    with emulator("--concurrency", "5000") as cloud, sidecar_of(configuration(cloud.url)) as proxy:
        token_id = token(cloud.url)
        run(crowd(through, proxy.url, token_id, min(sessions, 20), 3))  # what is imported on the first session is
        rows, added = [], []
        for number in range(rounds):
            found = {}
            for name, way, target in (("straight", straight, cloud), ("sidecar", through, proxy)):
                before, driver = (cloud.cpu(), proxy.cpu()), time.process_time()
                heard = found[name] = run(crowd(way, target.url, token_id, sessions, seconds))
                vendor, own = (after - earlier for after, earlier in zip((cloud.cpu(), proxy.cpu()), before, strict=True))
                rows.append(
                    [
                        f"{number + 1} {name}", f"{heard.sessions}", f"{heard.wrong}", *latency(heard.interims), *latency(heard.finals),
                        f"{1000 * own / sessions / seconds:.2f}", f"{1000 * vendor / sessions / seconds:.2f}",
                        f"{(time.process_time() - driver) / seconds:.2f}",
                    ]
                )  # fmt: skip
            added.append([quantile(found["sidecar"].interims, at) - quantile(found["straight"].interims, at) for at in (0.5, 0.95)])
    table(
        f"{sessions} sessions at the pace of speech, {seconds:g} s each; latency in ms (median, 95, 99 %), CPU in ms a second of a session",
        ["round", "ended", "wrong", "interim", "95", "99", "final", "95", "99", "sidecar", "emulator", "speakers, cores"],
        rows,
    )
    table(
        "First interim text: what the sidecar adds to the emulator's own (goal: 150 ms)",
        ["", "ms, rounds"],
        [[name, ", ".join(f"{1000 * each[at]:.0f}" for each in added)] for at, name in enumerate(("median", "95 %"))],
    )


def grow(sessions: int, seconds: float) -> None:
    with emulator("--concurrency", "5000") as cloud, sidecar_of(configuration(cloud.url)) as proxy:
        before = proxy.rss() / 1e6
        cpu = proxy.cpu()
        heard, memory = run(churn(proxy.url, sessions, seconds, proxy))
        used = proxy.cpu() - cpu
        time.sleep(2)
        after = proxy.rss() / 1e6
    parts = 6
    rows = []
    for part in range(parts):
        inside = [megabytes for at, megabytes in memory if part <= at * parts / seconds < part + 1]
        if inside:
            rows.append([f"{seconds * part / parts:.0f}-{seconds * (part + 1) / parts:.0f}", f"{min(inside):.1f}", f"{max(inside):.1f}"])
    table(
        f"Memory of the sidecar, MB; {sessions} places, {heard.sessions} sessions, {heard.wrong} wrong", ["seconds", "least", "most"], rows
    )
    later = [(at, megabytes) for at, megabytes in memory if at > seconds / 3]
    table(
        "Growth",
        ["at rest before", "after", "MB a minute after the first third", "interim, ms", "95", "99", "CPU, ms a second of a session"],
        [
            [
                f"{before:.1f}",
                f"{after:.1f}",
                f"{60 * slope(later):.2f}",
                *latency(heard.interims),
                f"{1000 * used / sessions / seconds:.2f}",
            ]
        ],
    )


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares: how much the second grows for one of the first."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def quantile(values: list[float], at: float) -> float:
    return median(values) if at == 0.5 else quantiles(values, n=100)[round(at * 100) - 1]


def latency(values: list[float]) -> list[str]:
    return [f"{1000 * quantile(values, at):.0f}" for at in (0.5, 0.95, 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, nargs="+", default=[200], choices=range(1, 501), metavar="1..500")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", type=float, metavar="SECONDS", help="watch memory for so long instead")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without ending what was started
    for sessions in arguments.sessions:
        if arguments.growth:
            grow(sessions, arguments.growth)
        else:
            compare(sessions, arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main()
