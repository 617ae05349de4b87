"""Samples as a file, for vendors that take no bare ones."""

from __future__ import annotations

import struct

from asrproxy.plugin import Utterance


def wav_header(utterance: Utterance) -> bytes:
    """The 44 bytes that make a RIFF/WAVE file of the utterance's samples."""
    size, rate, channels = memoryview(utterance.pcm).nbytes, utterance.format.sample_rate, utterance.format.channels
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, channels, rate, utterance.format.bytes_per_second, 2 * channels, 16, b"data", size,
    )  # fmt: skip
