"""Finished segments of long recordings, kept for a while: who asks again pays only for what is missing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from asrproxy.config.models import MemorySettings
from asrproxy.model import Options, Recognition, Utterance, Word


class SegmentMemory:
    """Recognitions by the content of their audio and what was asked of it; bounded in number and age, on disk only where a folder is named.

    time: seconds; the wall clock, since files outlive the process.
    """

    def __init__(self, settings: MemorySettings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Recognition]] = OrderedDict()

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
            if found[0] > now:
                self._kept.move_to_end(key)
                return found[1]
            del self._kept[key]
        if self._settings.folder is not None:
            return await asyncio.to_thread(_read, self._settings.folder / key, now)
        return None

    async def keep(self, key: str, recognition: Recognition) -> None:
        """Remembers it; the one not asked for the longest goes when there are too many."""
        until = self._clock() + self._settings.ttl
        self._kept[key] = (until, recognition)
        self._kept.move_to_end(key)
        while len(self._kept) > self._settings.entries:
            self._kept.popitem(last=False)
        if self._settings.folder is not None:
            await asyncio.to_thread(_write, self._settings.folder, key, until, recognition)


def _digest(asked: bytes, pcm: bytes | memoryview) -> str:
    digest = hashlib.sha256(asked)
    digest.update(pcm)
    return digest.hexdigest()


def _read(path: Path, now: float) -> Recognition | None:
    try:
        kept = json.loads(path.read_text("utf-8"))
        if kept["until"] <= now:
            path.unlink(missing_ok=True)
            return None
        words = kept["words"]
        return Recognition(
            text=kept["text"],
            words=None if words is None else tuple(Word(*each) for each in words),
            language=kept["language"],
            provider=kept["provider"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or cut off by a full disk: it will be asked for again


def _write(folder: Path, key: str, until: float, recognition: Recognition) -> None:
    words = None if recognition.words is None else [(word.text, word.start, word.end) for word in recognition.words]
    kept = {"until": until, "text": recognition.text, "words": words, "language": recognition.language, "provider": recognition.provider}
    partial = folder / f".{key}.{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(kept, file, ensure_ascii=False)
        partial.replace(folder / key)
    except OSError:
        partial.unlink(missing_ok=True)  # remembering is a kindness, not a promise: the answer goes out
