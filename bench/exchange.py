"""CPU time of one call to a vendor: aiohttp's client session beside `asrproxy_http.exchange`, the providers' own, in turns in one process.

    python -m bench.exchange [--calls 3000] [--rounds 7] [--seconds 5]

The vendor is nginx, which answers at once; what the kernel takes to carry the samples there is in both figures.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

import aiohttp
import uvloop
from yarl import URL

from asrproxy_http.exchange import ConnectionCount, Connector, Exchange
from bench.running import table
from bench.upstream import quick

CALLERS = 16
Post = Callable[[], Awaitable[bytes]]


async def microseconds(post: Post, calls: int) -> float:
    """CPU time of a call, of this process, with CALLERS of them under way."""
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            assert b"SUCCESS" in await post()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    left = iter(range(calls))
    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return (time.process_time() - began) / calls * 1e6


async def measure(vendor: str, samples: bytes, calls: int, rounds: int) -> dict[str, list[float]]:
    url = URL(f"{vendor}/stream/v1/asr?appkey=bench&format=pcm&sample_rate=16000")
    headers = {"X-NLS-Token": "bench", "Content-Type": "application/octet-stream", "User-Agent": "asrproxy"}
    seen: dict[str, list[float]] = {"aiohttp's session": [], "asrproxy_http": []}
    connector = Connector(ConnectionCount(), limit=0)
    exchange = Exchange(url, connect_timeout=5)
    head = exchange.head(url, headers)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def by_session() -> bytes:
            async with session.post(url, data=samples, headers=headers, allow_redirects=False) as answer:
                return await answer.read()

        async def by_exchange() -> bytes:
            return (await exchange.post(connector, head, samples)).body

        for each in range(rounds):
            ways: list[tuple[str, Post]] = list(zip(seen, (by_session, by_exchange), strict=True))
            for name, post in ways if each % 2 else reversed(ways):
                seen[name].append(await microseconds(post, calls))
    await connector.close()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of 16 kHz speech in a call")
    arguments = parser.parse_args()
    samples = bytes(int(arguments.seconds * 32_000))
    with quick() as vendor:
        seen = uvloop.run(measure(vendor.url, samples, arguments.calls, arguments.rounds))
    least = median(seen["asrproxy_http"])
    table(
        f"One call with {arguments.seconds:g} s of speech: CPU of the caller",
        ["by", "us CPU a call", "ratio"],
        [[name, f"{median(each):.0f}", f"{median(each) / least:.2f}"] for name, each in seen.items()],
    )


if __name__ == "__main__":
    main()
