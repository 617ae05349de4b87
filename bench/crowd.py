"""Measures what short recordings pay for long ones beside them: 10 callers with 4 hours each, and 100 short ones meanwhile.

    python -m bench.crowd [--long 10] [--hours 4] [--short 100] [--latency 0.2]

The long ones are 8 kHz WAV (230 MB each, 2.3 GB on disk together) with four symbols of tone speech a minute, sent as fast as
they are taken; the vendor is the emulator. The short ones come all at once, first alone and then while the long ones are
at work. Memory is the sidecar's own at its highest, over what it had before. What is said is checked to the symbol. The exit status
is 1 if anything is lost, or if a short one waited for the end of a long one.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from asrproxy.testing import tones
from bench.running import Running, emulator, sidecar, table

TEXT = "天地玄黄"
RATE = 8_000
MINUTE = tones.compose([TEXT, 59.0], lead=0.2, tail=0.2).render(RATE)[: 60 * RATE * 2]
SHORT = tones.to_wav(tones.synthesize(TEXT), 16_000)
PERMITS = 20
HEADER = 44
MIB = 2**20

SERVER = ", max_body: 4GiB, max_audio: 24h, body_timeout: 5m"
POLICY = f"{{timeout: 2h, limits: {{concurrency: {PERMITS}, queue_timeout: 60s}}, long_audio: {{remember: {{enabled: false}}}}}}"


@dataclass(frozen=True)
class Ended:
    """seconds: from asking to the answer. at: when that was."""

    text: str
    segments: int
    seconds: float
    at: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", type=int, default=10)
    parser.add_argument("--hours", type=float, default=4.0)
    parser.add_argument("--short", type=int, default=100)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds of a call at the vendor")
    arguments = parser.parse_args()
    with (
        emulator("--latency", str(arguments.latency)) as cloud,
        sidecar(cloud.url, policy=POLICY, server=SERVER) as running,
    ):
        return asyncio.run(measured(running, arguments))


async def measured(running: Running, arguments: argparse.Namespace) -> int:
    minutes = round(arguments.hours * 60)
    async with ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None)) as session:
        url = f"{running.url}/v1/recognize"
        alone = await asyncio.gather(*(asked(session, url, SHORT) for _ in range(arguments.short)))
        before, began, cpu = peak(running), time.perf_counter(), running.cpu()
        long = [asyncio.create_task(asked(session, url, minutes)) for _ in range(arguments.long)]
        while await calls(session, running.url) < min(PERMITS, arguments.long):
            await asyncio.sleep(0.05)
        beside = await asyncio.gather(*(asked(session, url, SHORT) for _ in range(arguments.short)))
        recordings = await asyncio.gather(*long)
        took, cpu, memory = time.perf_counter() - began, running.cpu() - cpu, peak(running) - before
    lost = sum(each.text != TEXT for each in (*alone, *beside)) + sum(each.text != TEXT * minutes for each in recordings)
    first = min(each.at for each in recordings)
    waited = sum(each.at > first for each in beside)
    hours = arguments.long * minutes / 60
    table(
        f"{arguments.long} recordings of {arguments.hours:g} h, {arguments.short} short ones beside them, {PERMITS} calls at a time",
        ["what", "measured"],
        [
            ["recordings that lost or doubled a symbol", str(lost)],
            ["short ones answered after the first long one", str(waited)],
            ["a short one beside the long ones, over alone: median", f"{ratio(beside, alone, 0.5):.2f} times"],
            ["the same, the slowest of 20", f"{ratio(beside, alone, 0.95):.2f} times"],
            ["calls for the long ones", str(sum(each.segments for each in recordings))],
            ["memory of the sidecar at most, over before", f"{memory / MIB:.0f} MiB ({hours * 3600 * RATE * 2 / MIB:.0f} MiB were sent)"],
            ["processor seconds an hour of audio, decoders included", f"{cpu / hours:.2f}"],
            ["time, over the audio's", f"1/{hours * 3600 / took:.0f}"],
        ],
    )
    return 1 if lost or waited else 0


async def asked(session: ClientSession, url: str, what: bytes | int) -> Ended:
    """what: a recording, or the minutes of a long one."""
    began = time.perf_counter()
    body = what if isinstance(what, bytes) else recording(what)
    async with session.post(url, data=body, headers={"Content-Type": "audio/wav"}) as answer:
        told = await answer.json()
    if answer.status != 200:
        sys.exit(f"not answered: {told}")
    now = time.perf_counter()
    return Ended(told["text"], len(told["segments"]), now - began, now)


async def recording(minutes: int) -> AsyncIterator[bytes]:
    """A WAV of so many minutes, which nobody holds as a whole."""
    size = minutes * len(MINUTE)
    header = bytearray(tones.to_wav(b"", RATE))
    struct.pack_into("<I", header, 4, HEADER - 8 + size)
    struct.pack_into("<I", header, HEADER - 4, size)
    yield bytes(header)
    for _ in range(minutes):
        yield MINUTE


async def calls(session: ClientSession, url: str) -> int:
    """Calls at the vendor now."""
    async with session.get(f"{url}/v1/status") as answer:
        return int((await answer.json())["providers"]["aliyun"]["in_flight"])


def peak(running: Running) -> int:
    """Bytes of memory that the sidecar, without its decoders, has had at most."""
    lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def ratio(some: list[Ended], others: list[Ended], share: float) -> float:
    """How much slower some are than others."""
    return quantile(some, share) / quantile(others, share)


def quantile(some: list[Ended], share: float) -> float:
    seconds = sorted(each.seconds for each in some)
    return median(seconds) if share == 0.5 else seconds[int(share * (len(seconds) - 1))]


if __name__ == "__main__":
    sys.exit(main())
