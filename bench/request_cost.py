"""CPU time of one request through the sidecar, beside a minimal forwarder and a bare decode, measured in turns in one run.

    python -m bench.request_cost [--requests 600] [--rounds 5] [--uvloop]

Against the emulator at zero latency. 16 kHz: a 5 s mono WAV that fits as it is. 44.1 kHz: a 5 s stereo WAV that has to be decoded; its
measure is the forwarder's time plus PyAV decoding the same file in a loop.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import math
import struct
import time
import wave
from statistics import median

import av
from aiohttp import ClientSession, TCPConnector

from bench.running import Running, emulator, forwarder, sidecar, table

SECONDS = 5
TEXT = "text:今天天气很好我们一起去公园散步然后回家吃饭"  # what five seconds hold: a shorter one would be asked for again
POLICY = "{limits: {rate: null, concurrency: 1000, queue: 10000, queue_timeout: 60s}}"


def tone(rate: int, channels: int) -> bytes:
    frames = b"".join(
        struct.pack("<h", int(8000 * math.sin(2 * math.pi * 440 * index / rate))) * channels for index in range(rate * SECONDS)
    )
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(frames)
    return file.getvalue()


def bare_decode(recording: bytes, times: int) -> float:
    """CPU seconds of one decode to 16 kHz mono with PyAV, single-threaded, in this process."""
    began = time.process_time()
    for _ in range(times):
        # FFmpeg's default reads megabytes ahead to be sure of the container; the sidecar's worker does not either.
        with av.open(io.BytesIO(recording), options={"probesize": "32768"}) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
            samples = b"".join(
                bytes(out.planes[0])[: out.samples * 2] for frame in container.decode(audio=0) for out in resampler.resample(frame)
            )
            samples += b"".join(bytes(out.planes[0])[: out.samples * 2] for out in resampler.resample(None))
        assert len(samples) > 16_000 * 2 * (SECONDS - 0.2)
    return (time.process_time() - began) / times


async def load(target: Running, recording: bytes, requests: int, concurrency: int) -> float:
    """Sends; returns the target's CPU seconds a request."""
    left = iter(range(requests))
    async with ClientSession(connector=TCPConnector(limit=concurrency)) as session:

        async def caller() -> None:
            for _ in left:
                async with session.post(f"{target.url}/v1/recognize", data=recording) as answer:
                    body = await answer.read()
                    assert answer.status == 200, body

        before = target.cpu()
        await asyncio.gather(*(caller() for _ in range(concurrency)))
        return (target.cpu() - before) / requests


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--uvloop", action="store_true", help="give the forwarder uvloop as well")
    arguments = parser.parse_args()
    fits, decoded = tone(16_000, 1), tone(44_100, 2)
    rows = []
    with (
        emulator("--answers", TEXT) as cloud,
        forwarder(cloud.url, uvloop=arguments.uvloop) as measure,
        sidecar(cloud.url, policy=POLICY) as proxy,
    ):
        for name, recording, goal in (("16 kHz mono WAV", fits, 2.0), ("44.1 kHz stereo WAV", decoded, 1.3)):
            asyncio.run(load(proxy, recording, 100, arguments.concurrency))
            asyncio.run(load(measure, fits, 100, arguments.concurrency))
            ours, theirs, bare = [], [], []
            for _ in range(arguments.rounds):
                theirs.append(asyncio.run(load(measure, fits, arguments.requests, arguments.concurrency)))
                ours.append(asyncio.run(load(proxy, recording, arguments.requests, arguments.concurrency)))
                bare.append(bare_decode(recording, 40) if recording is decoded else 0.0)
            ratios = [own / (other + plain) for own, other, plain in zip(ours, theirs, bare, strict=True)]
            rows.append(
                [
                    name,
                    f"{median(ours) * 1e3:.3f}",
                    f"{median(theirs) * 1e3:.3f}",
                    f"{median(bare) * 1e3:.3f}",
                    f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                    f"{goal:.1f}",
                ]
            )
    table(
        "CPU time a request, ms (median of rounds)",
        ["5 s recording", "sidecar", "forwarder", "bare decode", "ratio (min-max)", "goal"],
        rows,
    )


if __name__ == "__main__":
    main()
