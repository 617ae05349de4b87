"""Frames between the sidecar and an engine's process: a JSON object and, behind it, bytes of audio."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

_LENGTHS: Final = struct.Struct(">II")
LONGEST: Final = 64 * 2**20
"""Bytes of a part of a frame; longer ones are taken for garbage. Two minutes of audio are 4 MB."""

Head = Mapping[str, Any]


def head_of_frame(head: Head, audio: bytes | memoryview = b"") -> bytes:
    """What goes before the audio."""
    text = json.dumps(head, ensure_ascii=False).encode()
    return _LENGTHS.pack(len(text), len(audio)) + text


async def read_frame(reader: asyncio.StreamReader) -> Head:
    """The next frame's head. Raises EOFError when the other side is gone, ValueError when it sends no frames."""
    text, audio = _lengths(await reader.readexactly(_LENGTHS.size))
    head = _head(await reader.readexactly(text))
    await reader.readexactly(audio)
    return head


def receive_frame(channel: socket.socket) -> tuple[Head, bytes]:
    """The next frame, in the engine's process. Raises EOFError when the sidecar is gone."""
    text, audio = _lengths(_exactly(channel, _LENGTHS.size))
    return _head(_exactly(channel, text)), bytes(_exactly(channel, audio))


def _lengths(packed: bytes | bytearray) -> tuple[int, int]:
    text, audio = _LENGTHS.unpack(packed)
    if text > LONGEST or audio > LONGEST:
        raise ValueError("not a frame")
    return text, audio


def _head(text: bytes | bytearray) -> Head:
    head = json.loads(text)
    if not isinstance(head, dict):
        raise ValueError("not a frame")
    return head


def _exactly(channel: socket.socket, count: int) -> bytearray:
    buffer = bytearray(count)
    view = memoryview(buffer)
    got = 0
    while got < count:
        size = channel.recv_into(view[got:])
        if not size:
            raise EOFError
        got += size
    return buffer
