"""Reads a file or standard input off the loop, so that Ctrl-C does not wait for somebody to type."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

PIECE: Final = 2**16


def opened(path: Path | None) -> IO[bytes]:
    """None: standard input, which stays open after. Raises OSError."""
    return open(sys.stdin.fileno(), "rb", closefd=False) if path is None else path.open("rb")


async def pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    """To the end, as it comes. Raises OSError."""
    if not _endless(file):
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
        return
    # A thread that waits for a pipe cannot be ended, and would keep the process from ending.
    reader = asyncio.StreamReader(limit=PIECE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), _again(file))
    try:
        while piece := await reader.read(PIECE):
            yield piece
    finally:
        transport.close()


def _endless(file: IO[bytes]) -> bool:
    """Whether somebody may still be writing to it."""
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _again(file: IO[bytes]) -> IO[bytes]:
    """The same, to be closed with what reads it."""
    return os.fdopen(os.dup(file.fileno()), "rb", buffering=0)
