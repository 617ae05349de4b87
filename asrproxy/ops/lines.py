"""Lines to a stream that may be stuck: a thread writes them, and what it cannot write in time is dropped and counted."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

WAITING: Final = 4 * 2**20
"""Characters that may wait to be written; a line more is dropped."""
ATOMIC: Final = 4096
"""Bytes that go into a pipe in one piece (POSIX' PIPE_BUF on Linux): several workers share standard error."""
LAST: Final = 1.0
"""Seconds that what still waits at the end gets."""


class Lines:
    """Writes lines in their order, in a thread of its own; who calls never waits.

    stream: where to; its descriptor where it has one, so that no lock of Python's is held by a write that never ends. cleaned: what a
    line becomes before it is written. lost: the line that says how many were dropped, once there is room again.
    """

    def __init__(self, stream: TextIO | None, *, cleaned: Callable[[str], str], lost: Callable[[int], str]) -> None:
        self._stream = stream or sys.stderr
        self._descriptor = _descriptor_of(self._stream)
        self._cleaned, self._lost = cleaned, lost
        self._waiting: deque[str] = deque()
        self._size = 0
        self._closing = False
        self._wake = threading.Event()
        self._room = threading.Lock()
        self._untold = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._write_on, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Takes a line without its end. From any thread."""
        with self._room:
            if self._size + len(line) > WAITING:
                self.dropped += 1
                self._untold += 1
                return
            self._size += len(line)
            self._waiting.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Writes what waits, for `LAST` seconds at most."""
        self._closing = True
        self._wake.set()
        self._thread.join(LAST)

    def _write_on(self) -> None:
        while not self._closing or self._waiting:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._put(self._next())

    def _next(self) -> bytes:
        """As many lines as go in one piece, at least one. Who writes a line meanwhile waits for a few steps, not for the encoding."""
        with self._room:
            untold, self._untold = self._untold, 0
            lines: list[str] = []
            length = 0
            while self._waiting and (not lines or length + 4 * len(self._waiting[0]) < ATOMIC):
                line = self._waiting.popleft()
                self._size -= len(line)
                length += 4 * len(line) + 1
                lines.append(line)
        if untold:
            lines.insert(0, self._lost(untold))
        return b"".join(map(self._encoded, lines))

    def _encoded(self, line: str) -> bytes:
        return self._cleaned(line).encode("utf-8", "backslashreplace") + b"\n"

    def _put(self, piece: bytes) -> None:
        try:
            if self._descriptor is None:
                self._stream.write(piece.decode())
                self._stream.flush()
                return
            while piece:
                try:
                    piece = piece[os.write(self._descriptor, piece) :]
                except BlockingIOError:  # somebody who shares the stream has made it so
                    select.select((), (self._descriptor,), ())
        except (OSError, ValueError):  # nobody reads any more, or the stream was closed
            self.dropped += piece.count(b"\n")


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, AttributeError, ValueError):
        return None
