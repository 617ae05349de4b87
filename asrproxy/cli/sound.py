"""A recording at the pace of speech: a file or what comes on standard input, as a microphone would give it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from asrproxy.cli.client import Failed
from asrproxy.cli.reading import opened, pieces

if TYPE_CHECKING:
    from asrproxy.audio.decode import RawFormat
    from asrproxy.audio.spool import Spool

FRAME: Final = 0.1
"""Seconds that are sent at once."""
DECODED: Final = 16_000
"""Hz that recordings are decoded to."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Audio for a live session. encoding, sample_rate: as `/v1/stream` wants to know them. pieces: in the form that they say."""

    encoding: str
    sample_rate: int
    pieces: AsyncIterator[bytes]


@asynccontextmanager
async def recorded(path: Path | None, raw: RawFormat | None, pace: float) -> AsyncIterator[Sound]:
    """A file, None: standard input. raw: what it holds where it has no header; else that is found out from its bytes.

    pace: times the pace of speech, 0: as fast as it is taken. Raises Failed, which names it, also while it is read.
    """
    name = "standard input" if path is None else str(path)
    try:
        file = opened(path)
    except OSError as error:
        raise Failed(f"{name}: cannot be read: {error.strerror or error}") from error
    with file:
        if raw is not None and raw.channels == 1:
            bytes_per_second = raw.sample_rate * (2 if raw.encoding == "pcm_s16le" else 1)
            yield Sound(raw.encoding, raw.sample_rate, _paced(_pieces(file, name), bytes_per_second, pace))
        else:
            yield Sound("pcm_s16le", DECODED, _paced(_decoded(file, name, raw), DECODED * 2, pace))


async def _pieces(file: IO[bytes], name: str) -> AsyncIterator[bytes]:
    try:
        async with aclosing(pieces(file)) as rest:  # type: ignore[type-var]
            async for piece in rest:
                yield piece
    except OSError as error:
        raise Failed(f"{name}: cannot be read: {error.strerror or error}") from error


async def _decoded(file: IO[bytes], name: str, raw: RawFormat | None) -> AsyncIterator[bytes]:
    """Mono samples of anything that the sidecar takes, by its own decoder."""
    from asrproxy.audio.decode import Decoders
    from asrproxy.audio.spool import Spool
    from asrproxy.config.models import AudioSettings
    from asrproxy.errors import AsrError
    from asrproxy.model import AudioFormat

    settings = AudioSettings()
    decoders = Decoders(decoder=settings.decoder, workers=1, idle=settings.idle, timeout=settings.timeout, memory=settings.memory)
    spool = Spool(memory=0, folder=None, limit=2**40)  # no memory: it is decoded while it still comes
    filling = asyncio.create_task(_fill(spool, _pieces(file, name)))
    try:
        async with decoders.decode(spool, AudioFormat(DECODED), raw=raw, whole=FRAME, longest=float("inf")) as blocks:
            async for block in blocks:
                yield block.pcm
    except AsrError as error:
        raise Failed(f"{name}: {error.message}") from error
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        spool.close()
        await decoders.aclose()


async def _fill(spool: Spool, body: AsyncIterator[bytes]) -> None:
    try:
        async with aclosing(body) as rest:  # type: ignore[type-var]
            async for piece in rest:
                await spool.write(piece)
        spool.finish()
    except Exception as error:  # whoever reads the spool hears of it
        spool.fail(error)


async def _paced(audio: AsyncIterator[bytes], bytes_per_second: int, pace: float) -> AsyncIterator[bytes]:
    """In frames, none before it would have been spoken."""
    time = asyncio.get_running_loop().time
    size = int(FRAME * bytes_per_second) // 2 * 2
    began, sent = None, 0
    async with aclosing(audio) as rest:  # type: ignore[type-var]
        async for piece in rest:
            began = time() if began is None else began
            for at in range(0, len(piece), size):
                frame = piece[at : at + size]
                sent += len(frame)
                if pace and (pause := began + sent / bytes_per_second / pace - time()) > 0:
                    await asyncio.sleep(pause)
                yield frame
