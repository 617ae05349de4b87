"""Many at once: 300 calls at 0.8 s vendor latency, directly and through the sidecar; then TCP connections over 5,000 calls.

python -m bench.burst [--calls 300] [--many 5000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import urllib.request
from collections import Counter

from aiohttp import ClientSession, TCPConnector

from bench.forwarder import token
from bench.request_cost import TEXT, tone
from bench.running import APPKEY, emulator, sidecar, table

POLICY = "{limits: {rate: null, concurrency: 1000, queue: 10000, queue_timeout: 60s}, retries: {attempts: 1}}"
POOL = 64


async def at_once(url: str, recording: bytes, calls: int, headers: dict[str, str]) -> tuple[float, Counter[int]]:
    """Seconds until all are answered, and the statuses."""
    async with ClientSession(connector=TCPConnector(limit=0), headers=headers) as session:

        async def call() -> int:
            async with session.post(url, data=recording) as answer:
                await answer.read()
                return answer.status

        began = time.perf_counter()
        statuses = await asyncio.gather(*(call() for _ in range(calls)))
        return time.perf_counter() - began, Counter(statuses)


async def in_turn(url: str, recording: bytes, calls: int, concurrency: int) -> Counter[int]:
    left = iter(range(calls))
    statuses: Counter[int] = Counter()
    async with ClientSession(connector=TCPConnector(limit=concurrency)) as session:

        async def caller() -> None:
            for _ in left:
                async with session.post(url, data=recording) as answer:
                    await answer.read()
                    statuses[answer.status] += 1

        await asyncio.gather(*(caller() for _ in range(concurrency)))
    return statuses


def connections(url: str) -> int:
    with urllib.request.urlopen(f"{url}/_emulator/status") as answer:
        return int(json.load(answer)["connections_accepted"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--many", type=int, default=5000)
    arguments = parser.parse_args()
    recording = tone(16_000, 1)
    with (
        emulator("--answers", TEXT, "--latency", "0.8s", "--concurrency", "2000") as cloud,
        sidecar(cloud.url, policy=POLICY, pool=400) as proxy,
    ):
        query = f"/stream/v1/asr?appkey={APPKEY}&format=wav&sample_rate=16000"
        direct, direct_statuses = asyncio.run(at_once(cloud.url + query, recording, arguments.calls, {"X-NLS-Token": token(cloud.url)}))
        through, statuses = asyncio.run(at_once(f"{proxy.url}/v1/recognize", recording, arguments.calls, {}))
    table(
        f"{arguments.calls} calls at once, 0.8 s vendor latency",
        ["", "wall, s", "statuses"],
        [
            ["emulator alone", f"{direct:.2f}", str(dict(direct_statuses))],
            ["through the sidecar", f"{through:.2f}", str(dict(statuses))],
            ["difference (goal 1.5)", f"{through - direct:.2f}", ""],
        ],
    )
    with emulator("--answers", TEXT, "--concurrency", "2000") as cloud, sidecar(cloud.url, policy=POLICY, pool=POOL) as proxy:
        before = connections(cloud.url)
        answered = asyncio.run(in_turn(f"{proxy.url}/v1/recognize", recording, arguments.many, POOL))
        after = connections(cloud.url)
    table(
        f"TCP connections at the emulator over {arguments.many} calls, {POOL} at a time",
        ["statuses", "new during the calls", "all, with start and token", "goal"],
        [[str(dict(answered)), str(after - before), str(after), f"at most {POOL}"]],
    )


if __name__ == "__main__":
    main()
