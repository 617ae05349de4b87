"""The quick start's second half: `asrproxy serve` on its built-in defaults hears a recording that ships here."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDING = ROOT / "tests" / "data" / "speech" / "en-librivox-sense-0930.flac"
API = "http://127.0.0.1:8790"
START = 60.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", type=int, required=True)
    once = bool(parser.parse_args().once)
    environment = {name: value for name, value in os.environ.items() if name != "ASRPROXY_CONFIG"}
    # A folder without config/asrproxy.yaml: the built-in defaults are what is shown here.
    sidecar = subprocess.Popen([Path(sys.executable).parent / "asrproxy", "serve"], env=environment, cwd=ROOT / "docs")
    try:
        reason = wait_until_ready(sidecar)
        if reason is not None:
            print(f"\nthe sidecar did not become ready: {reason}", file=sys.stderr)
            return 1
        print(f"\n$ curl --data-binary @{RECORDING.relative_to(ROOT)} {API}/v1/recognize", flush=True)
        request = urllib.request.Request(f"{API}/v1/recognize", data=RECORDING.read_bytes())
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = json.load(answer)
        print(json.dumps(body, ensure_ascii=False, indent=2), flush=True)
        print(f"\nIt heard: {body['text']}", flush=True)
        if once:
            return 0
        print(f"\nThe sidecar goes on at {API} (Ctrl-C ends it). Try: curl --data-binary @anything.m4a {API}/v1/recognize", flush=True)
        return sidecar.wait()
    except urllib.error.HTTPError as error:
        print(f"\nthe sidecar answered {error.code}: {error.read().decode(errors='replace')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        sidecar.send_signal(signal.SIGTERM)
        try:
            sidecar.wait(30)
        except subprocess.TimeoutExpired:
            sidecar.kill()


def wait_until_ready(sidecar: subprocess.Popen[bytes]) -> str | None:
    """None when it is ready, else why not."""
    until = time.monotonic() + START
    reason = "it did not answer"
    while time.monotonic() < until:
        if (status := sidecar.poll()) is not None:
            return f"it ended with exit status {status}; its own words are above (is port 8790 or 8791 taken?)"
        try:
            with urllib.request.urlopen(f"{API}/readyz", timeout=2):
                return None
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace")
        except OSError as error:
            reason = str(error)
        time.sleep(0.1)
    return reason


if __name__ == "__main__":
    sys.exit(main())
