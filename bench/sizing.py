"""What a sidecar takes: CPU and memory against requests and kinds of recordings, for the numbers in a pod's `resources`.

    python -m bench.sizing [--requests 200] [--in-flight 1 8 32] [--kinds wav-16k mp3 …]

Against the emulator, which reads the tone alphabet, in a process of its own. CPU: of the sidecar and its decoders, per request, at zero
vendor latency. Memory: PSS of all of them, about what a container is charged with, at its highest while so many requests are under way at
0.8 s vendor latency, over what the sidecar has at rest. Recordings of 5 s, and one of 10 min.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from aiohttp import ClientSession, TCPConnector

from asrproxy.testing import tones
from bench.running import Running, emulator, sidecar, table

POLICY = "{limits: {rate: null, concurrency: 1000, queue: 10000, queue_timeout: 60s}, retries: {attempts: 1}}"
PHRASE = "天地玄黄宇宙洪荒"
SECONDS = 5
PLAIN = "WAV 16 kHz mono"
LONG = "MP3, 10 min"
WARM = 8
OFTEN = 0.02

# name: seconds, what ffmpeg makes of 16 kHz mono
KINDS: dict[str, tuple[int, Sequence[str]]] = {
    PLAIN: (SECONDS, ["-f", "wav"]),
    "WAV 44.1 kHz stereo": (SECONDS, ["-ar", "44100", "-ac", "2", "-f", "wav"]),
    "FLAC 48 kHz": (SECONDS, ["-ar", "48000", "-f", "flac"]),
    "MP3 44.1 kHz stereo": (SECONDS, ["-ar", "44100", "-ac", "2", "-f", "mp3"]),
    "M4A (AAC) 48 kHz": (SECONDS, ["-ar", "48000", "-f", "ipod"]),
    "OGG (Opus) 48 kHz": (SECONDS, ["-ar", "48000", "-c:a", "libopus", "-f", "ogg"]),
    LONG: (600, ["-ar", "44100", "-f", "mp3"]),
}


@dataclass(frozen=True)
class Recording:
    """seconds: of audio."""

    name: str
    body: bytes
    seconds: float


def recording(name: str) -> Recording:
    """Tone speech with pauses, as ffmpeg encodes it."""
    seconds, encoding = KINDS[name]
    phrase = tones.synthesize(PHRASE + " ")
    pcm = (phrase * (seconds * 32_000 // len(phrase) + 1))[: seconds * 32_000]
    command = ["ffmpeg", "-loglevel", "error", "-i", "-", *encoding, "-movflags", "frag_keyframe+empty_moov", "-"]
    if "ipod" not in encoding:
        command = [each for each in command if each not in ("-movflags", "frag_keyframe+empty_moov")]
    done = subprocess.run(command, input=tones.to_wav(pcm, 16_000), capture_output=True, check=True)
    return Recording(name, done.stdout, seconds)


async def ask(url: str, body: bytes, requests: int, in_flight: int) -> None:
    left = iter(range(requests))
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def caller() -> None:
            for _ in left:
                async with session.post(f"{url}/v1/recognize", data=body) as answer:
                    text = await answer.read()
                    if answer.status != 200:
                        raise SystemExit(f"{answer.status}: {text.decode()[:300]}")

        await asyncio.gather(*(caller() for _ in range(in_flight)))


def pss(running: Running) -> int:
    """Bytes of all its processes; pages that they share count once."""
    root = psutil.Process(running.process.pid)
    total = 0
    for each in (root, *root.children(recursive=True)):
        try:
            total += each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


class Highest:
    """The most that a sidecar had while the context lasts."""

    def __init__(self, running: Running) -> None:
        self.bytes = 0
        self._running, self._end = running, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._end.wait(OFTEN):
            self.bytes = max(self.bytes, pss(self._running))

    def __enter__(self) -> Highest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def processor(each: Recording, requests: int) -> float:
    """CPU seconds of a request."""
    # As the clock of processor time ticks every 10 ms: many of what costs little.
    count = 10 * requests if each.name == PLAIN else requests if each.seconds <= SECONDS else max(2, requests // 50)
    with emulator("--answers", "tones", "--concurrency", "2000") as cloud, sidecar(cloud.url, policy=POLICY) as proxy:
        asyncio.run(ask(proxy.url, each.body, WARM if each.seconds <= SECONDS else 1, 4))
        before = proxy.cpu()
        asyncio.run(ask(proxy.url, each.body, count, 4))
        return (proxy.cpu() - before) / count


def memory(each: Recording, in_flight: Sequence[int]) -> tuple[float, list[float]]:
    """Bytes at rest, and over that at the most for each count of requests under way."""
    found = []
    rest = 0.0
    for count in in_flight:
        with (
            emulator("--answers", "tones", "--latency", "0.8s", "--concurrency", "2000") as cloud,
            sidecar(cloud.url, policy=POLICY, pool=64) as proxy,
        ):
            rest = pss(proxy)
            with Highest(proxy) as highest:
                asyncio.run(ask(proxy.url, each.body, 2 * count if each.seconds <= SECONDS else count, count))
            found.append(highest.bytes - rest)
    return rest, found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    recordings = [recording(name) for name in given.kinds]
    costs = {each.name: processor(each, given.requests) for each in recordings}
    least = min(costs.values())
    table(
        "CPU of a request",
        ["recording", "ms", "beside the least", "ms a minute of audio", "requests/s a core"],
        [
            [each.name, f"{1e3 * cost:.1f}", f"{cost / least:.1f}", f"{6e4 * cost / each.seconds:.0f}", f"{1 / cost:.1f}"]
            for each, cost in ((each, costs[each.name]) for each in recordings)
        ],
    )
    rows = []
    rest = 0.0
    for each in recordings:
        rest, found = memory(each, given.in_flight)
        rows.append([each.name, *(f"{one / 1e6:.0f}" for one in found)])
    table(
        f"Memory, MB over the {rest / 1e6:.0f} MB of a sidecar at rest, at the most, by requests under way",
        ["recording", *(str(each) for each in given.in_flight)],
        rows,
    )


if __name__ == "__main__":
    main()
