"""Start to ready, and memory at rest: `aliyun` against the emulator, and the embedded default.

    python -m bench.start [--runs 5]

Ready: from `exec` to the first 200 of /readyz. Memory: resident, all processes together, after ready and a second's rest.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.request_cost import TEXT
from bench.running import ASRPROXY, Running, aliyun_configuration, emulator, free_port, table, wait_for


def measured(text: str, port: int) -> tuple[float, float]:
    """Seconds to ready; MB at rest."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "asrproxy.yaml"
        file.write_text(text)
        process = subprocess.Popen([ASRPROXY, "serve", "-c", str(file)], stderr=subprocess.DEVNULL)
        try:
            ready = wait_for(process, f"http://127.0.0.1:{port}/readyz", 60)
            time.sleep(1.0)
            return ready, Running(process, "").rss() / 1e6
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    rows = []
    with emulator("--answers", TEXT) as cloud:
        for name, goal in (("aliyun", "1.0 s, 60 MB"), ("local", "3 s")):
            results = []
            for _ in range(runs + 1):
                port, ops = free_port(), free_port()
                listen = {"listen": f"127.0.0.1:{port}", "ops": f"127.0.0.1:{ops}"}
                local = (
                    f'server: {{listen: ["{listen["listen"]}"], ops_listen: ["{listen["ops"]}"]}}\nproviders: {{local: {{type: local}}}}\n'
                )
                results.append(measured(aliyun_configuration(cloud.url, **listen) if name == "aliyun" else local, port))
            seconds, memory = zip(*results[1:], strict=True)  # the first one warms the file cache
            rows.append(
                [name, f"{median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})", f"{median(memory):.0f}", goal],
            )
    table("Start to ready and memory at rest", ["provider", "ready, s", "RSS, MB", "goal"], rows)


if __name__ == "__main__":
    main()
