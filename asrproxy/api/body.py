"""A request's bytes into a spool: raw or multipart, with a time limit on silence and a floor under the pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from multipart import MultipartError, parse_options_header

from asrproxy.api.form import FIELDS, LONGEST_FIELD, Form, parser, plain
from asrproxy.audio.spool import Spool, too_large
from asrproxy.config.models import ServerSettings
from asrproxy.errors import AsrError, BodyTimeout, InvalidAudio, InvalidParameter

SLOWEST: Final = 512
"""Bytes a second, on average: below the slowest codec that is taken (AMR at 4.75 kbit/s) nobody is sending audio."""
LEAD: Final = 10
"""Silences for which what came early may make up: a codec sends hardly anything while nobody speaks. More than that, and whoever has sent a
lot would hold his connection for days with a byte now and then."""
BESIDE: Final = 2 * FIELDS * LONGEST_FIELD
"""Bytes of a form beside its audio."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may be.

    body: bytes. memory: bytes kept in memory before a temporary file is made, in `folder`. silence: seconds between two pieces.
    """

    body: int
    memory: int
    silence: float
    folder: Path | None

    @classmethod
    def of(cls, server: ServerSettings) -> BodyLimits:
        """As the configuration says."""
        return cls(body=server.max_body, memory=server.spool_memory, silence=server.body_timeout, folder=server.spool_dir)


class Upload:
    """A body on its way in. Owned by one request; leaving the context closes the spool and ends the reading."""

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self.spool = Spool(memory=limits.memory, folder=limits.folder, limit=limits.body)
        self._rest: asyncio.Task[None] | None = None

    async def raw(self, content: StreamReader, *, known: int | None) -> None:
        """The whole body is the audio.

        A body of known size that fits in memory is read to its end; a longer one goes on being read by a task of this upload, so that
        decoding starts before the caller has sent everything.
        """
        if known is not None and known <= self.limits.memory:
            await self._read_all(content)
            return
        if await self._read_until(content, self.limits.memory):
            self.spool.finish()
            return
        self._rest = asyncio.create_task(self._read_rest(content))

    async def form(self, request: web.Request, *, repeatable: str = "") -> dict[str, str]:
        """The audio part into the spool; the other parts are the parameters. Raises InvalidParameter, InvalidAudio.

        repeatable: the one name that may come more than once; its values are joined with line breaks.
        """
        form = Form(self.spool, repeatable)
        _, options = parse_options_header(request.headers["Content-Type"])
        try:
            await self._form(request.content, form, options.get("boundary", ""))
        except MultipartError as error:
            raise InvalidParameter(f"the form cannot be read: {_words(error)}") from error
        if not form.has_audio:
            raise InvalidAudio("the form has no part named audio (or file)")
        self.spool.finish()
        return form.fields

    async def _form(self, content: StreamReader, form: Form, boundary: str) -> None:
        async with self._pace() as pace:
            held = await self._gathered(content, pace)
            if content.at_eof() and (parts := plain(b"".join(held), boundary)) is not None:
                held.clear()
                for part in parts:
                    await form.add(part)
                return
            received = sum(map(len, held))
            with parser(boundary) as reading:
                while held or not content.at_eof():
                    if held:
                        piece = held.popleft()  # gone from here as it goes into the spool: a long body is not in memory twice
                    else:
                        piece = await content.readany()
                        received += len(piece)
                        self._check_form(received, pace)
                    for event in reading.parse(piece) if piece else ():
                        await form.take(event)

    async def _gathered(self, content: StreamReader, pace: _Pace) -> deque[bytes]:
        """All of a body, or somewhat more of it than is kept in memory."""
        held, received = deque[bytes](), 0
        while received <= self.limits.memory and not content.at_eof():
            if piece := await content.readany():
                held.append(piece)
                received += len(piece)
                self._check_form(received, pace)
        return held

    def _check_form(self, received: int, pace: _Pace) -> None:
        if received > self.limits.body + BESIDE:
            raise too_large(self.limits.body)
        pace.got(received)

    async def aclose(self) -> None:
        """Ends the reading and frees what was spooled."""
        try:
            if self._rest is not None:
                self._rest.cancel()
                await asyncio.gather(self._rest, return_exceptions=True)
        finally:  # also where the caller hangs up just now
            self.spool.close()

    async def _read_rest(self, content: StreamReader) -> None:
        try:
            await self._read_all(content)
        except AsrError as error:
            self.spool.fail(error)
        except (OSError, HttpProcessingError) as error:
            self.spool.fail(BodyTimeout(f"the body ended early: {type(error).__name__}"))

    async def _read_all(self, content: StreamReader) -> None:
        await self._read_until(content, None)
        self.spool.finish()

    async def _read_until(self, content: StreamReader, most: int | None) -> bool:
        """Reads to the end, or to `most` bytes; whether the end was reached."""
        spool = self.spool
        async with self._pace() as pace:
            while most is None or spool.size <= most:
                chunk = await content.readany()
                if not chunk and content.at_eof():
                    return True
                await spool.write(chunk)
                pace.got(spool.size)
        return False

    @asynccontextmanager
    async def _pace(self) -> AsyncIterator[_Pace]:
        """Bounds the wait for every piece that is read inside. Raises BodyTimeout; InvalidParameter for a body that is not what it says."""
        try:
            async with asyncio.timeout(self.limits.silence) as limit:
                yield _Pace(limit, self.limits.silence)
        except TimeoutError as error:
            raise BodyTimeout(f"no more of the body came for {self.limits.silence:g} s") from error
        except web.RequestPayloadError as error:
            raise InvalidParameter("the body cannot be read: its chunks or its Content-Encoding are not what the headers say") from error


class _Pace:
    """Moves a time limit on as bytes come; one timer a second at most."""

    __slots__ = ("_limit", "_moved", "_paid", "_silence", "_size", "_time")

    def __init__(self, limit: asyncio.Timeout, silence: float) -> None:
        self._limit, self._silence = limit, silence
        self._time = asyncio.get_running_loop().time
        self._moved = self._time()
        self._size = 0
        self._paid = self._moved + silence  # the moment until which it came fast enough, whatever follows

    def got(self, size: int) -> None:
        """`size` bytes have come in all."""
        now = self._time()
        if now - self._moved < min(1.0, self._silence / 10):
            return
        self._moved = now
        self._limit.reschedule(now + self._silence)
        self._paid = min(self._paid + (size - self._size) / SLOWEST, now + LEAD * self._silence)
        self._size = size
        if now > self._paid:
            raise BodyTimeout(f"the body comes slower than {SLOWEST} bytes a second")


@asynccontextmanager
async def upload(limits: BodyLimits) -> AsyncIterator[Upload]:
    """An upload that is closed however the request ends."""
    each = Upload(limits)
    try:
        yield each
    finally:
        await each.aclose()


def _words(error: MultipartError) -> str:
    """The parser's own: what it quotes of the caller's bytes may hold a credential."""
    return str(error.args[0]).partition(":")[0] if error.args else type(error).__name__
