"""Finished segments of long recordings, kept for a while: who asks again pays only for what is missing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from asrproxy.config.models import MemorySettings
from asrproxy.model import Options, Recognition, Utterance, Word

SUFFIX: Final = ".segment"
_SWEEP: Final = 64  # files written between two looks at what the folder holds


class SegmentMemory:
    """Recognitions by the content of their audio and what was asked of it; bounded in number and age, on disk only where a folder is named.

    clock: seconds of the wall's, since files outlive the process.
    """

    def __init__(self, settings: MemorySettings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()  # when it was kept, and what
        self._written = 0

    def under(self, settings: MemorySettings) -> SegmentMemory:
        """What is remembered, under other settings from now on; switched off, it is forgotten."""
        if settings == self._settings:
            return self
        other = SegmentMemory(settings, clock=self._clock)
        if settings.enabled:
            other._kept.update(self._kept)
            other._forget()
        return other

    async def key(self, utterance: Utterance, options: Options, route: str) -> str | None:
        """What it is kept under: a hash of samples, rate, options and route. None: nothing is remembered."""
        if not self._settings.enabled:
            return None
        asked = json.dumps([route, utterance.format.sample_rate, asdict(options)], sort_keys=True).encode()
        return await asyncio.to_thread(_digest, asked, utterance.pcm)

    async def recall(self, key: str) -> Recognition | None:
        """The recognition kept under `key`, None where there is none or it is too old."""
        now = self._clock()
        if (found := self._kept.get(key)) is not None:
            if found[0] + self._settings.ttl > now:
                self._kept.move_to_end(key)
                return _unpacked(found[1])
            del self._kept[key]
        if self._settings.folder is not None:
            return await asyncio.to_thread(_read, self._file(key), now - self._settings.ttl)
        return None

    async def keep(self, key: str, recognition: Recognition) -> None:
        """Remembers it; the one not asked for the longest goes when there are too many."""
        packed = _packed(recognition)
        self._kept[key] = (self._clock(), packed)
        self._kept.move_to_end(key)
        self._forget()
        if (folder := self._settings.folder) is not None:
            await asyncio.to_thread(_write, self._file(key), packed, self._clock())
            self._written += 1
            if self._written % _SWEEP == 1:
                await asyncio.to_thread(_sweep, folder, self._clock() - self._settings.ttl, self._settings.entries)

    def _forget(self) -> None:
        """The one not asked for the longest goes when there are too many."""
        while len(self._kept) > self._settings.entries:
            self._kept.popitem(last=False)

    def _file(self, key: str) -> Path:
        assert self._settings.folder is not None  # noqa: S101 - asked only where one is named
        return self._settings.folder / (key + SUFFIX)


def _digest(asked: bytes, pcm: bytes | memoryview) -> str:
    digest = hashlib.sha256(asked)
    digest.update(pcm)
    return digest.hexdigest()


def _packed(recognition: Recognition) -> bytes:
    """Some 3 KB of a minute's timed words, a tenth of what they take as objects; times to the millisecond, as answers have them."""
    kept = {
        "text": recognition.text,
        "words": _plain(recognition.words),
        "language": recognition.language,
        "provider": recognition.provider,
        "sentences": _plain(recognition.sentences),
    }
    return zlib.compress(json.dumps(kept, ensure_ascii=False).encode(), 1)


def _unpacked(packed: bytes) -> Recognition:
    kept = json.loads(zlib.decompress(packed))
    return Recognition(
        text=kept["text"],
        words=_timed(kept["words"]),
        language=kept["language"],
        provider=kept["provider"],
        sentences=_timed(kept.get("sentences")),
    )


def _plain(words: tuple[Word, ...] | None) -> list[tuple[str, float, float]] | None:
    return None if words is None else [(word.text, round(word.start, 3), round(word.end, 3)) for word in words]


def _timed(plain: list[list[Any]] | None) -> tuple[Word, ...] | None:
    return None if plain is None else tuple(Word(*each) for each in plain)


def _read(file: Path, oldest: float) -> Recognition | None:
    try:
        return _unpacked(file.read_bytes()) if file.stat().st_mtime > oldest else None
    except (OSError, ValueError, KeyError, TypeError, zlib.error):
        return None  # not there, or cut off by a full disk: it will be asked for again


def _write(file: Path, packed: bytes, now: float) -> None:
    partial = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(packed)
        os.utime(partial, (now, now))
        partial.replace(file)
    except OSError:
        _remove(partial)  # remembering is a kindness, not a promise: the answer goes out


def _sweep(folder: Path, oldest: float, most: int) -> None:
    """Removes what is too old, and the oldest of what is too many. Other sidecars may be at it as well."""
    files: list[tuple[float, Path]] = []
    for file in folder.glob("*" + SUFFIX):
        try:
            files.append((file.stat().st_mtime, file))
        except OSError:
            continue
    files.sort(key=lambda each: each[0])
    for place, (written, file) in enumerate(files):
        if written <= oldest or place < len(files) - most:
            _remove(file)


def _remove(file: Path) -> None:
    with suppress(OSError):  # a folder that became read-only
        file.unlink(missing_ok=True)
