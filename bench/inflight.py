"""A thousand requests under way at once: memory over rest beside the bodies themselves, and how late the answers are.

python -m bench.inflight [--calls 1000] [--latency 4]
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time

from bench.load import open_loop
from bench.request_cost import tone
from bench.running import sidecar_of, table
from bench.throughput import NLS
from bench.upstream import slow

LIMITS = "{limits: {rate: null, concurrency: 5000, queue: 10000, queue_timeout: 60s}, retries: {attempts: 1}, attempt_timeout: 60s}"
DIRECT = "/stream/v1/asr?appkey=bench&format=wav&sample_rate=16000"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=4.0)
    arguments = parser.parse_args()
    recording = tone(16_000, 1)
    headers = {"Content-Type": "audio/wav", "X-NLS-Token": "bench"}
    text = NLS.format(vendor="{vendor}", limits=LIMITS, workers=1)
    with slow(arguments.latency) as vendor, sidecar_of(text.replace("{vendor}", vendor.url).replace("size: 256", "size: 4096")) as ours:
        asyncio.run(open_loop(f"{ours.url}/v1/recognize", recording, headers=headers, rate=20, seconds=1))
        time.sleep(1.0)
        rest, peak, done = ours.rss(), [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.02):
                peak[0] = max(peak[0], ours.rss())

        watching = threading.Thread(target=watch)
        watching.start()
        # All of them within half of the vendor's time, so that they are under way together.
        rate = arguments.calls / (arguments.latency / 2)
        through = asyncio.run(open_loop(f"{ours.url}/v1/recognize", recording, headers=headers, rate=rate, seconds=arguments.calls / rate))
        done.set()
        watching.join()
        direct = asyncio.run(open_loop(vendor.url + DIRECT, recording, headers=headers, rate=rate, seconds=arguments.calls / rate))
    bodies = len(recording) * arguments.calls / 2**20
    over = (peak[0] - rest) / 2**20
    added = [f"{1e3 * (through.percentile(share) - direct.percentile(share)):+.0f}" for share in (0.5, 0.99)]
    figures = [f"{bodies:.0f}", f"{rest / 2**20:.0f}", f"{over:.0f}", f"{over - bodies:+.0f}"]
    rows = [[str(arguments.calls), *figures, *added, str(dict(through.statuses))]]
    head = [
        "in flight",
        "bodies MiB",
        "RSS at rest MiB",
        "peak over rest MiB",
        "beyond the bodies (goal +80)",
        "added p50 ms",
        "p99",
        "statuses",
    ]
    table("Under way at once, 5 s clips", head, rows)


if __name__ == "__main__":
    main()
