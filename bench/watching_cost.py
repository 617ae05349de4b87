"""What being watched costs: CPU time a request of one sidecar with the log at level warning, at info, and with traces, side by side."""

from __future__ import annotations

import argparse
import asyncio
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median

from bench.request_cost import POLICY, TEXT, load, tone
from bench.running import aliyun_configuration, emulator, sidecar_of, table


class Taking(BaseHTTPRequestHandler):
    """A collector that takes everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: its caller is being measured."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=16)
    arguments = parser.parse_args()
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{collector.server_port}"
    ways = {
        "log: warning": "log: {level: warning}",
        "log: info": "log: {level: info}",
        "and 5% traced": f"log: {{level: info}}\ntracing: {{otlp: '{url}', sample: 0.05}}",
        "and all traced": f"log: {{level: info}}\ntracing: {{otlp: '{url}', sample: 1}}",
    }
    recording = tone(16_000, 1)
    costs: dict[str, list[float]] = {way: [] for way in ways}
    with ExitStack() as stack:
        cloud = stack.enter_context(emulator("--answers", TEXT))
        base = aliyun_configuration(cloud.url, listen="{listen}", ops="{ops}", policy=POLICY).replace("log: {level: warning}", "")
        sidecars = {way: stack.enter_context(sidecar_of(f"{base}\n{settings}\n")) for way, settings in ways.items()}
        for running in sidecars.values():
            asyncio.run(load(running, recording, 100, arguments.concurrency))
        for _ in range(arguments.rounds):
            for way, running in sidecars.items():
                costs[way].append(asyncio.run(load(running, recording, arguments.requests, arguments.concurrency)))
    first = costs["log: warning"]
    rows = []
    for way, found in costs.items():
        ratios = [own / other for own, other in zip(found, first, strict=True)]
        rows.append([way, f"{median(found) * 1e3:.3f}", f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"])
    table("CPU time a request, ms (median of rounds)", ["5 s recording, metrics on", "sidecar", "ratio to the first (min-max)"], rows)


if __name__ == "__main__":
    main()
