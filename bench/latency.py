"""What a sidecar adds to the vendor's time: open loop, 0.8 s vendor latency, direct calls in the same run; and what growing load costs.

    python -m bench.latency [--rates 10 50 150 300] [--seconds 20]

Every answer is charged from the moment its request was due, so a stall is charged to all who would have come meanwhile. Direct calls and
calls through the sidecar run in turns at each rate. The vendor is a bare asyncio protocol that answers after its latency.
"""

from __future__ import annotations

import argparse
import asyncio
import gc

from bench.load import Open, open_loop
from bench.request_cost import tone
from bench.running import sidecar_of, table
from bench.throughput import LIMITS, NLS
from bench.upstream import slow

LATENCY = 0.8
HEADERS = {"Content-Type": "audio/wav", "X-NLS-Token": "bench"}
DIRECT = "/stream/v1/asr?appkey=bench&format=wav&sample_rate=16000"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rates", type=float, nargs="*", default=[10, 50, 150, 300])
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    recording = tone(16_000, 1)
    rows, growth = [], []
    with (
        slow(LATENCY) as vendor,
        sidecar_of(NLS.format(vendor=vendor.url, limits=LIMITS, workers=1).replace("size: 256", "size: 1000")) as ours,
    ):

        def load(url: str, rate: float, seconds: float) -> Open:
            gc.collect()
            gc.disable()
            try:
                return asyncio.run(
                    open_loop(url, recording, headers={"Content-Type": "audio/wav", "X-NLS-Token": "bench"}, rate=rate, seconds=seconds)
                )
            finally:
                gc.enable()

        load(f"{ours.url}/v1/recognize", 20, 3)
        for rate in arguments.rates:
            direct = load(vendor.url + DIRECT, rate, arguments.seconds)
            before = ours.cpu()
            through = load(f"{ours.url}/v1/recognize", rate, arguments.seconds)
            cost = (ours.cpu() - before) / max(1, len(through.seconds))
            added = [1e3 * (through.percentile(share) - direct.percentile(share)) for share in (0.5, 0.99, 0.999)]
            bad = sum(count for status, count in through.statuses.items() if status != 200)
            times = [f"{1e3 * direct.percentile(share):.1f}" for share in (0.5, 0.99, 0.999)]
            rows.append([f"{rate:g}/s", *times, *(f"{each:+.1f}" for each in added), str(bad)])
            growth.append((rate, added[0], cost * 1e3, ours.rss() / 1e6))
    head = ["offered", "direct p50 ms", "p99", "p99.9", "added p50 ms", "added p99", "added p99.9", "errors"]
    table("Latency added at 0.8 s vendor latency, open loop", head, rows)
    grown = [[f"{rate:g}/s", f"{p50:+.1f}", f"{cost:.2f}", f"{rss:.0f}"] for rate, p50, cost, rss in growth]
    if len(growth) > 1:
        slopes = [slope([each[0] for each in growth], [each[column] for each in growth]) for column in (1, 2, 3)]
        grown.append(["slope for 100/s more", *(f"{100 * each:+.2f}" for each in slopes)])
    table("Growth with load", ["offered", "added p50 ms", "CPU ms a request", "RSS MB"], grown)


def slope(places: list[float], values: list[float]) -> float:
    """Of the straight line with the least squares."""
    middle, level = sum(places) / len(places), sum(values) / len(values)
    spread = sum((place - middle) ** 2 for place in places)
    return sum((place - middle) * (value - level) for place, value in zip(places, values, strict=True)) / spread


if __name__ == "__main__":
    main()
