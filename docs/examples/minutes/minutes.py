"""An application that uses asrproxy: writes the minutes of a recorded meeting beside the recording."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

SIDECAR = "http://localhost:8790"
PATIENCE = 3  # times that a recording is sent before it is left for later


class Later(Exception):
    """The recording cannot be transcribed now; it is worth another try, another time."""


class Hopeless(Exception):
    """The recording will not be transcribed, however often it is sent."""


def transcribe(recording: bytes, url: str = SIDECAR, language: str | None = None, sleep: Callable[[float], None] = time.sleep) -> str:
    """The text of a recording. Waits and sends it again where the sidecar says that this may help. Raises Later, Hopeless."""
    query = urllib.parse.urlencode({"language": language} if language else {})
    request = urllib.request.Request(f"{url}/v1/recognize?{query}", data=recording, headers={"Content-Type": "application/octet-stream"})
    for sent in range(1, PATIENCE + 1):
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["text"]
        except urllib.error.HTTPError as error:
            problem = json.load(error)["error"]
            if not problem["retryable"]:
                raise Hopeless(problem["message"]) from error
            if sent == PATIENCE:
                raise Later(problem["message"]) from error
            sleep(float(error.headers.get("Retry-After", 1)))
        except OSError as error:
            raise Later(f"there is no sidecar at {url}: {error}") from error
    raise AssertionError("unreachable")


def main(paths: list[str]) -> int:
    """Writes `meeting.txt` beside `meeting.wav`. Returns an exit status: 1 if one is left for later, 2 if one is hopeless."""
    status = 0
    for path in map(Path, paths):
        try:
            path.with_suffix(".txt").write_text(transcribe(path.read_bytes()) + "\n", encoding="utf-8")
        except Later as reason:
            print(f"{path}: later: {reason}", file=sys.stderr)
            status = max(status, 1)
        except Hopeless as reason:
            print(f"{path}: {reason}", file=sys.stderr)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
