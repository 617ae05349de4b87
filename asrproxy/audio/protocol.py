"""What the pool and a decoder process say to each other: frames over a stream socket, one job at a time.

A job begins with JOB and the body's file descriptor beside it; without one the body lies on the page, a file that the two share for as
long as the decoder lives. The decoder answers with WHOLE or LAID (the recording was short), or LONG and, after GO, any number of BLOCK and
DONE; FAILED ends a job at any point, and VALUE answers a question about audio. While the body still grows, the decoder asks for more with
NEED and is told with SIZE. The socket's own buffer is the back-pressure: a decoder whose blocks nobody takes stands still in its `send`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

HEADER: Final = struct.Struct("<BII")
"""Kind, bytes of the payload, how many of its last bytes are levels (NO_LEVELS: it has none)."""

PAGE: Final = 2**21
"""Bytes of a page at most: a minute as most send it. Memory that stays is written in a sixth of the time that new memory takes."""

NO_LEVELS: Final = 0xFFFFFFFF

SIZE: Final = struct.Struct("<Q?")
"""Bytes of the body that are there, whether that is all."""

POSITION: Final = struct.Struct("<Q")
VALUE: Final = struct.Struct("<d")


class Kind(IntEnum):
    """A frame's kind. The first four go to the decoder, the others come from it."""

    JOB = 1
    SIZE = 2
    GO = 3
    STOP = 4
    READY = 10
    NEED = 11
    WHOLE = 12
    LONG = 13
    BLOCK = 14
    DONE = 15
    VALUE = 16
    FAILED = 17
    LAID = 18
    """As WHOLE, but the payload lies on the page."""


ENDS: Final = frozenset((Kind.WHOLE, Kind.LAID, Kind.DONE, Kind.VALUE, Kind.FAILED))
"""After these the decoder waits for its next job."""


@dataclass(frozen=True)
class Job:
    """A body to be decoded to mono s16le at `rate` Hz.

    container: a `sniff.Kind`; of a headerless body `pcm_s16le`, `mulaw` or `alaw`, with its `source_rate` and `channels`.
    size: bytes there so far, complete: no more will come. whole, longest: seconds, see `Decoders.decode`.
    voiced: not the samples but the seconds of speech are wanted.
    """

    container: str
    rate: int
    size: int
    complete: bool
    whole: float
    longest: float
    source_rate: int = 0
    channels: int = 0
    voiced: bool = False

    @property
    def headerless(self) -> bool:
        return self.source_rate > 0
