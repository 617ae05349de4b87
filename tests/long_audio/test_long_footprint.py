"""A sidecar gives back what a long recording took."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import psutil
from asrproxy.api.footprint import return_large_blocks

return_large_blocks()
own = psutil.Process()
bytes(1_900_000)  # a minute of speech: from here on glibc would keep blocks of this size in its heap
before = own.memory_info().rss
pieces, lasting = [], []
for _ in range(30):
    pieces.append(bytearray(b"1") * 1_900_000)
    lasting.append([bytearray(500) for _ in range(100)])  # what comes meanwhile and stays lies between them
held = own.memory_info().rss
pieces.clear()
print(held - before, own.memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc's allocator")
def test_what_held_minutes_of_speech_goes_back_to_the_system() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    held, left = map(int, ran.stdout.split())
    assert held > 50_000_000
    assert left < 8_000_000
