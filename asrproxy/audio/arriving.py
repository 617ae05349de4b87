"""A body as a decoder process reads it: a file that may still be growing."""

from __future__ import annotations

import io
import os
from typing import Protocol

from asrproxy.audio.sniff import HEAD, sniff, tag_size
from asrproxy.errors import AsrError


class Upstream(Protocol):
    """Knows how far the body has come."""

    def more(self, beyond: int) -> tuple[int, bool]:
        """Waits until the body has more than `beyond` bytes or is complete; its size then, and whether it is complete."""


class Arriving:
    """The shape of file that PyAV reads: `read` waits for bytes that are still on their way.

    It is seekable only when the body was complete when it was opened: a demuxer that finds itself able to seek looks at the end first.
    """

    def __init__(self, descriptor: int, size: int, complete: bool, upstream: Upstream) -> None:
        self.descriptor = descriptor
        self._size, self._complete = size, complete
        self._seekable = complete
        self._upstream = upstream
        self._at = 0

    def fetch_all(self) -> None:
        """Waits for the end of the body and makes it seekable."""
        while not self._complete:
            self._size, self._complete = self._upstream.more(2**62)
        self._seekable = True

    @property
    def complete(self) -> bool:
        return self._seekable

    @property
    def size(self) -> int:
        return self._size

    def peek(self, at: int, n: int) -> bytes:
        """`n` bytes from `at` on, fewer at the end; the reading position stays."""
        while at + n > self._size and not self._complete:
            self._size, self._complete = self._upstream.more(at + n - 1)
        return os.pread(self.descriptor, max(0, min(n, self._size - at)), at)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def read(self, n: int) -> bytes:
        while self._at >= self._size and not self._complete:
            self._size, self._complete = self._upstream.more(self._at)
        data = os.pread(self.descriptor, max(0, min(n, self._size - self._at)), self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at


def behind_tag(body: Arriving, container: str) -> str:
    """What follows an ID3 tag that was longer than the head that was sniffed (a picture of the album)."""
    start = body.peek(0, 10) if container == "mp3" else b""
    if not (tagged := tag_size(start)):
        return container
    try:
        return sniff(body.peek(tagged, HEAD)).kind.value
    except AsrError:
        return container
