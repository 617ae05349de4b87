"""Counts, through the real door, what becomes of 5,000 requests when calls at the vendor fail by chance, and when all of them fail.

    python -m bench.bad_days [--requests 5000] [--at-once 12] [--seeds 1 2 3]

The sidecar has the default retries, budget and circuit, with shorter pauses and no limit of the rate; the vendor is the emulator.
Beside it the same callers without retries, and in the outage without a circuit. The exit status is 1 if fewer than 99 in 100
succeed with a fifth failing (all seeds together), or if an outage is multiplied by more than 1.2.

The emulator fails at once and answers later: with `--at-once 40` a fresh start brings eight failures before the first answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import urllib.request
from collections import Counter

from aiohttp import ClientSession, TCPConnector

from asrproxy.testing import tones
from bench.running import emulator, sidecar, table

RECORDING = tones.to_wav(tones.synthesize("天地玄黄"), 16_000)
POLICY = "{{limits: {{rate: null, queue_timeout: 60s}}, retries: {{attempts: {attempts}, backoff: {{initial: 1ms, max: 5ms}}}}{more}}}"
NO_CIRCUIT = ", circuit: {failures: 1000000}"
BUDGET, GOOD = 1.2, 0.99


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--at-once", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    many, at_once = arguments.requests, arguments.at_once
    rows, good = [], 0
    for seed in arguments.seeds:
        codes, calls = run(0.2, seed, POLICY.format(attempts=3, more=""), many, at_once)
        good += codes["ok"]
        rows.append([f"a fifth fails, two retries, seed {seed}", *figures(codes, calls, many)])
    codes, calls = run(0.2, 1, POLICY.format(attempts=1, more=""), many, at_once)
    rows.append(["a fifth fails, no retries", *figures(codes, calls, many)])
    codes, calls = run(1.0, 1, POLICY.format(attempts=3, more=NO_CIRCUIT), many, at_once)
    multiplied = calls / many
    rows.append(["all fail, no circuit", *figures(codes, calls, many)])
    codes, calls = run(1.0, 1, POLICY.format(attempts=3, more=""), many, at_once)
    rows.append(["all fail", *figures(codes, calls, many)])
    title = f"{many} requests, {at_once} at a time"
    table(title, ["vendor and policy", "answered", "calls at the vendor, over requests", "the others"], rows)
    return 0 if good >= GOOD * many * len(arguments.seeds) and multiplied <= BUDGET else 1


def run(share: float, seed: int, policy: str, many: int, at_once: int) -> tuple[Counter[str], int]:
    """What was answered, and how many calls the vendor saw."""
    with emulator("--failure-rate", str(share), "--seed", str(seed)) as cloud, sidecar(cloud.url, policy=policy) as running:
        codes = asyncio.run(asked(f"{running.url}/v1/recognize", many, at_once))
        with urllib.request.urlopen(f"{cloud.url}/_emulator/status") as answer:
            return codes, sum(json.load(answer)["statuses"].values())


async def asked(url: str, many: int, at_once: int) -> Counter[str]:
    left, codes = iter(range(many)), Counter[str]()
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def caller() -> None:
            for _ in left:
                async with session.post(url, data=RECORDING) as answer:
                    told = await answer.json()
                    codes["ok" if answer.ok else told["error"]["code"]] += 1

        await asyncio.gather(*(caller() for _ in range(at_once)))
    return codes


def figures(codes: Counter[str], calls: int, many: int) -> list[str]:
    others = ", ".join(f"{count} {code}" for code, count in sorted(codes.items()) if code != "ok")
    return [f"{codes['ok'] / many:.2%}", f"{calls / many:.3f}", others]


if __name__ == "__main__":
    sys.exit(main())
