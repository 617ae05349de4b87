"""A request's body while it comes in: in memory as long as it is small, then in a file that has no name."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from asrproxy.errors import BodyTooLarge, InvalidAudio, Overloaded

Content = bytes | bytearray | memoryview

_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EACCES, errno.EIO))


def too_large(limit: int) -> BodyTooLarge:
    """The refusal of a body of more than `limit` bytes."""
    return BodyTooLarge(f"the body is longer than {limit} bytes, the limit here (server.max_body)")


class Spool:
    """A growing body with one writer and any number of readers.

    memory: bytes kept in memory; a longer body is written whole to a temporary file (0600, without a name from the start, or unlinked at
    once) and keeps nothing in memory. folder: of that file, None: the system's. limit: bytes at most; one more raises BodyTooLarge.
    """

    def __init__(self, *, memory: int, folder: Path | None, limit: int) -> None:
        self._memory, self._folder, self._limit = memory, folder, limit
        self._chunks: list[Content] = []
        self._file: int | None = None
        self._written = 0
        self._complete = False
        self._error: Exception | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._disk: asyncio.Future[int] | None = None
        self._closed = False

    @classmethod
    def of(cls, data: Content) -> Self:
        """A complete body that is in memory already."""
        body = cls(memory=len(data), folder=None, limit=len(data))
        body._chunks.append(data)
        body._written, body._complete = len(data), True
        return body

    async def write(self, chunk: Content) -> None:
        """Adds to the end. Raises BodyTooLarge; Overloaded where the disk has no room. Only one at a time."""
        size = self._written + len(chunk)
        if size > self._limit:
            raise too_large(self._limit)
        if self.spooled or size > self._memory:
            await self._to_disk(chunk)
        else:
            self._chunks.append(chunk)
        self._written = size
        self._wake()

    def finish(self) -> None:
        """No more will come."""
        self._complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The rest will never come: whoever waits for it gets `error`."""
        self._error = error
        self._wake()

    @property
    def size(self) -> int:
        """Bytes that a reader finds."""
        return self._written

    @property
    def complete(self) -> bool:
        return self._complete

    @property
    def spooled(self) -> bool:
        """Whether it went to a file."""
        return self._file is not None and not self._chunks

    def head(self, n: int) -> bytes:
        """The first `n` bytes, fewer if fewer are there."""
        if self.spooled:
            return os.pread(self._descriptor(), min(n, self._written), 0)
        if self._chunks and len(self._chunks[0]) >= n:
            return bytes(self._chunks[0][:n])
        return b"".join(self._chunks)[:n]

    def data(self) -> Content | None:
        """The whole content, or None while it grows and once it went to a file. Costs no copy if it came in one piece."""
        if self.spooled or not self._complete or self._closed:
            return None
        if len(self._chunks) != 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0]

    def pieces(self) -> Sequence[Content] | None:
        """The whole content in memory, in order; None while it grows, once it went to a file, and when it is closed."""
        return None if self.spooled or not self._complete or self._closed else self._chunks

    def fileno(self) -> int:
        """A file with the content from 0 to `size`, for a reader in another process; it stays this object's and may be passed on.

        Raises ValueError while the body grows in memory (wait until it is `complete` or `spooled`).
        """
        if self._file is None:
            if not self._complete:
                raise ValueError("the body still grows in memory")
            descriptor = memory_file()
            try:
                for chunk in self._chunks:
                    write_all(descriptor, chunk)
            except BaseException:
                os.close(descriptor)
                raise
            self._file = descriptor
        return self._descriptor()

    async def grown(self, beyond: int) -> None:
        """Returns when more than `beyond` bytes are there or it is complete. Raises what the body failed with."""
        while self._written <= beyond and not self._complete and self._error is None and not self._closed:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        if self._error is not None:
            raise self._error
        if self._closed:
            raise InvalidAudio("the body was given up before it was complete")

    def close(self) -> None:
        """Gives memory and file back. A write that is on its way to the disk ends first, in its own thread."""
        if self._closed:
            return
        self._closed = True
        self._chunks = []
        if self._disk is not None and not self._disk.done():
            self._disk.add_done_callback(lambda _: self._close_file())
        else:
            self._close_file()
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _descriptor(self) -> int:
        if self._file is None or self._closed:
            raise ValueError("the body is closed")
        return self._file

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def _to_disk(self, chunk: Content) -> None:
        if self._closed:
            raise ValueError("the body is closed")
        try:
            if self._file is None:
                await self._off_loop(lambda: _opened(self._folder, self._chunks), self._moved)
            descriptor = self._descriptor()
            await self._off_loop(lambda: write_all(descriptor, chunk))
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise Overloaded("no room on disk for the body; send it again later", retry_after=5.0) from error

    def _moved(self, opened: asyncio.Future[int]) -> None:
        """The content is in a file now; noted also when the writer who asked for it is gone, so that the file is closed."""
        if not opened.cancelled() and opened.exception() is None:
            self._file, self._chunks = opened.result(), []

    async def _off_loop(self, work: Callable[[], int], done: Callable[[asyncio.Future[int]], None] | None = None) -> None:
        """Runs `work` in a thread. A cancelled caller leaves it running: `close` waits for it before the file goes."""
        self._disk = asyncio.get_running_loop().run_in_executor(None, work)
        if done is not None:
            self._disk.add_done_callback(done)
        await asyncio.shield(self._disk)


def _opened(folder: Path | None, content: list[Content]) -> int:
    """A nameless file that holds `content`."""
    where = os.fspath(folder) if folder is not None else tempfile.gettempdir()
    descriptor = _nameless(where)
    try:
        for chunk in content:
            write_all(descriptor, chunk)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _nameless(where: str) -> int:
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(where, os.O_RDWR | os.O_TMPFILE | os.O_EXCL, 0o600)
        except OSError as error:
            # A file system (old overlayfs, NFS) or kernel without it.
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                raise
    descriptor, path = tempfile.mkstemp(dir=where)
    os.unlink(path)
    return descriptor


def memory_file() -> int:
    """A nameless file that lies in memory, where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("asrproxy-body")
    return _nameless(tempfile.gettempdir())


def write_all(descriptor: int, chunk: Content) -> int:
    """Writes where the file is; the bytes of the chunk."""
    left = memoryview(chunk)
    while left:
        left = left[os.write(descriptor, left) :]
    return len(chunk)
