"""Everything, in one run on this machine: `python -m bench [--quick] [--only SECTION …] [--results FILE] [--draw] [--soak]`.

Each section is a program of its own (`python -m bench.latency` …) that prints a table of what it measured side by side; the tables are kept
as JSON lines, and drawn into docs/images with `--draw`. `--quick` takes a few minutes and says less. Peers are installed below .cache/bench
the first time; what cannot be installed is left out and said. `--soak` runs `bench.soak` and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bench.chart import draw

ROOT = Path(__file__).resolve().parents[1]
# section: what a whole run passes to it, and a quick one
SECTIONS: dict[str, tuple[list[str], list[str]]] = {
    "throughput": ([], ["--seconds", "3", "--rounds", "1"]),
    "request_cost": ([], ["--requests", "200", "--rounds", "3"]),
    "exchange": ([], ["--calls", "1000", "--rounds", "3"]),
    "watching_cost": ([], ["--requests", "200", "--rounds", "3"]),
    "latency": ([], ["--rates", "10", "50", "150", "--seconds", "6"]),
    "inflight": ([], []),
    "burst": ([], ["--many", "2000"]),
    "start": ([], ["--runs", "2"]),
    "decoders": ([], ["--requests", "40", "--rounds", "1"]),
    "long_audio": (
        ["--only", "exact", "cost", "killed", "hour", "four"],
        ["--recordings", "10", "--longest", "5", "--only", "exact", "cost"],
    ),
    "live": (["--sessions", "1", "50", "200", "500"], ["--sessions", "50", "--seconds", "20"]),
    "policy_overhead": ([], []),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results" / "results.jsonl")
    parser.add_argument("--draw", action="store_true", help="draw docs/images/bench-*.svg from this run")
    parser.add_argument("--soak", action="store_true", help="20 minutes of mixed load with faults, nothing else; python -m bench.soak -h")
    arguments = parser.parse_args()
    if arguments.soak:
        return subprocess.run([sys.executable, "-m", "bench.soak"], cwd=ROOT, check=False).returncode
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.unlink(missing_ok=True)
    failed = []
    for name in arguments.only:
        whole, quick = SECTIONS[name]
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"bench.{name}", *(quick if arguments.quick else whole)]
        if subprocess.run(command, cwd=ROOT, env={**os.environ, "BENCH_RESULTS": str(arguments.results)}, check=False).returncode:
            failed.append(name)
    tables = [json.loads(line) for line in arguments.results.read_text("utf-8").splitlines()] if arguments.results.exists() else []
    if arguments.draw:
        for file in draw(tables, ROOT / "docs" / "images"):
            print(f"drawn: {file.relative_to(ROOT)}")
    print(f"\nresults: {arguments.results}")
    if failed:
        print(f"did not finish: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
