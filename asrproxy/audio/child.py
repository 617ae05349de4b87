"""A decoder process as the pool holds it: started, given jobs, heard, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final, Self

from asrproxy.audio.protocol import ENDS, HEADER, NO_LEVELS, PAGE, Job, Kind
from asrproxy.audio.spool import Content, Spool, memory_file, write_all
from asrproxy.secrecy import bare_environment

_BUFFER: Final = 2**19  # bytes of a socket: a short recording passes in a few turns


_OWN: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


class Died(Exception):
    """The process ended by itself."""


class Child:
    """One decoder process. At most one job at a time; `free` when it waits for the next."""

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket, page: int) -> None:
        self._process, self._socket, self._page = process, sock, page
        self._header = bytearray(HEADER.size)
        self.free = False

    @classmethod
    async def start(cls, decoder: str, memory: int) -> Self:
        """Starts a process; it may take jobs after its READY."""
        ours, theirs = socket.socketpair()
        page = -1
        with theirs:
            try:
                page = memory_file()
                for end in (ours, theirs):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                ours.setblocking(False)
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "asrproxy.audio.worker", str(theirs.fileno()), str(page), decoder, str(memory),
                    stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), page),
                    start_new_session=True,  # a group of its own, killed with the program that it may have started
                    env=bare_environment() | _OWN,
                )  # fmt: skip
            except BaseException:
                ours.close()
                if page >= 0:
                    os.close(page)
                raise
        return cls(process, ours, page)

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, job: Job, body: Spool) -> None:
        """Gives it a job. A small body that is all there lies on the page, any other comes as a descriptor. Raises Died."""
        payload = json.dumps(vars(job)).encode()
        pieces = body.pieces() if body.size <= PAGE else None
        descriptors = [body.fileno()] if pieces is None else []
        if pieces is not None:
            self._lay(pieces, body.size)
        try:
            socket.send_fds(self._socket, [HEADER.pack(Kind.JOB, len(payload), 0), payload], descriptors)
        except OSError as error:
            raise Died from error
        self.free = False

    def tell(self, kind: Kind, payload: bytes = b"") -> None:
        try:
            self._socket.send(HEADER.pack(kind, len(payload), 0) + payload)
        except OSError as error:
            raise Died from error

    async def hear(self) -> tuple[Kind, bytes | bytearray, int]:
        """Its next frame: kind, payload, how many of the last bytes are levels. Raises Died."""
        await self._fill(self._header)
        number, size, levels = HEADER.unpack(self._header)
        kind = Kind(number)
        if kind is Kind.LAID:
            self.free = True
            return Kind.WHOLE, os.pread(self._page, min(size, PAGE), 0), NO_LEVELS
        payload = bytearray(size)
        if size:
            await self._fill(payload)
        if kind in ENDS:
            self.free = True
        return kind, payload, levels

    def kill(self) -> None:
        """Ends it now, whatever it does. Who still hears it gets Died."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()  # where it was too young to lead a group

    async def wait(self) -> None:
        """Returns when it has ended; then nothing of it is left."""
        await self._process.wait()
        self._socket.close()
        if self._page >= 0:
            os.close(self._page)
            self._page = -1

    async def how_it_ended(self) -> str:
        """Of one that died: in words, for people."""
        try:
            async with asyncio.timeout(1):
                status = await self._process.wait()
        except TimeoutError:
            return "it hung up"
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def _lay(self, pieces: Sequence[Content], size: int) -> None:
        """The page holds these bytes and no others: nothing that lay there before."""
        os.lseek(self._page, 0, os.SEEK_SET)
        for piece in pieces:
            write_all(self._page, piece)
        os.ftruncate(self._page, size)

    async def _fill(self, buffer: bytearray) -> None:
        view = memoryview(buffer)
        loop = asyncio.get_running_loop()
        while view:
            try:
                got = self._socket.recv_into(view)
            except BlockingIOError:
                try:
                    got = await loop.sock_recv_into(self._socket, view)
                except OSError as error:
                    raise Died from error
            except OSError as error:
                raise Died from error
            if not got:
                raise Died
            view = view[got:]
