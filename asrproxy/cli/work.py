"""Several recordings to a sidecar at once, their transcripts written as they come."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asrproxy.cli.client import Failed, OnEvent, Sidecar
from asrproxy.cli.inprocess import sidecar_of
from asrproxy.cli.progress import Progress, progress
from asrproxy.cli.recordings import Missing, Recording, Share, recordings, targets
from asrproxy.errors import ConfigError

if TYPE_CHECKING:
    from asrproxy.config.models import Configuration

SUFFIXES: Final = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done.

    listed: more files, whose folders are kept in `output_dir`. parameters: of each call. several: more than one recording may come of all
    that, so that lines say of which. share: None for all of them. resume: those whose text is in `output_dir` already are left out.
    """

    files: tuple[str, ...]
    listed: tuple[str, ...]
    parameters: Mapping[str, str]
    format: str
    several: bool
    output_dir: Path | None
    stream: bool
    timeout: float | None
    jobs: int
    share: Share | None = None
    resume: bool = False


def recognize(work: Work, configuration: Configuration | None, url: str, token: str | None) -> int:
    """configuration: a sidecar of our own is started on it; None: the one at `url` is asked. Returns an exit status."""
    status = 1
    try:
        status = asyncio.run(_recognize(work, configuration, url, token))
    except* BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone; nothing is left to say
    return status


async def _recognize(work: Work, configuration: Configuration | None, url: str, token: str | None) -> int:
    every = [*recordings(work.files), *recordings(work.listed, nested=True)]
    # Where each text goes is found out over all of them: several machines must not mean the same file by different names.
    ways = (
        {}
        if work.output_dir is None
        else targets((each for each in every if isinstance(each, Recording)), work.output_dir, SUFFIXES[work.format])
    )
    found = every if work.share is None else every[work.share.index :: work.share.of]
    if work.resume:
        found = [each for each in found if isinstance(each, Missing) or not ways[each].exists()]
    async with AsyncExitStack() as stack:
        try:
            sidecar = await stack.enter_async_context(sidecar_of(configuration, url, token))
            if configuration is None:
                await sidecar.reach()
        except (ConfigError, Failed) as error:
            _say(f"asrproxy: {error}")
            return 1
        bar = stack.enter_context(progress(len(found)))
        batch = _Batch(work, sidecar, bar, [each for each in found if isinstance(each, Recording)], ways)
        for each in found:
            if isinstance(each, Missing):
                batch.failed(each.name, Failed(each.reason, {"code": "not_found", "message": each.reason}))
        await batch.run()
        return 1 if batch.failures else 0


@dataclass(slots=True)
class _Batch:
    work: Work
    sidecar: Sidecar
    bar: Progress
    found: list[Recording]
    ways: Mapping[Recording, Path]
    failures: int = 0

    async def run(self) -> None:
        """At most `jobs` at once, begun in order."""
        waiting = iter(self.found)

        async def worker() -> None:
            for recording in waiting:
                await self._one(recording)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.work.jobs, len(self.found))):
                group.create_task(worker())

    def failed(self, name: str, error: Failed) -> None:
        """Says so where people look, and in JSON lines where programs do."""
        self.failures += 1
        _say(f"{name}: {error}")
        if self.work.format == "json" and self.work.several and self.work.output_dir is None:
            _line({"file": name, "error": error.body})
        self.bar.ended(name)

    async def _one(self, recording: Recording) -> None:
        heard = self._heard(recording)
        # Subtitles are the sidecar's to write; text and JSON are in its last event too.
        wanted = self.work.parameters if heard is not None else {**self.work.parameters, "response_format": self.work.format}
        try:
            body = await self.sidecar.recognize(recording, wanted, timeout=self.work.timeout, on_event=heard)
            if heard is not None and self.work.format == "text":
                body = (json.loads(body)["text"] + "\n").encode()
            self._write(recording, body)
        except Failed as error:
            self.failed(recording.name, error)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            self.failed(recording.name, Failed(f"cannot be written: {error.strerror or error}"))
        else:
            self.bar.ended(recording.name)

    def _heard(self, recording: Recording) -> OnEvent | None:
        """Who listens to a recording's events; None: nobody needs them."""
        if self.work.format not in ("text", "json") or not (self.work.stream or self.bar.visible):
            return None

        def hear(event: str, data: dict[str, Any]) -> None:
            if event == "progress":
                self.bar.heard(recording.name, data["seconds_done"], data["seconds_total"])
            elif event == "segment" and self.work.stream:
                self._write_segment(recording, data)

        return hear

    def _write_segment(self, recording: Recording, segment: dict[str, Any]) -> None:
        if self.work.format == "json":
            _line({"file": recording.name, "segment": segment} if self.work.several else {"segment": segment})
        elif segment["text"]:
            _out((f"{recording.name}: " if self.work.several else "") + segment["text"] + "\n")

    def _write(self, recording: Recording, body: bytes) -> None:
        if (way := self.ways.get(recording)) is not None:
            _keep(way, body)
        elif self.work.format == "json" and (self.work.several or self.work.stream):
            _line(({"file": recording.name} if self.work.several else {}) | json.loads(body))
        elif self.work.stream:
            pass  # its segments were written
        elif self.work.several:
            _out(f"{recording.name}: {body.decode()}")
        else:
            _out(body.decode().rstrip("\n") + "\n")


def _keep(way: Path, body: bytes) -> None:
    """Whole or not at all: nobody finds half a transcript."""
    way.parent.mkdir(parents=True, exist_ok=True)
    unfinished = way.with_name(f".{way.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(body)
        unfinished.replace(way)
    finally:
        unfinished.unlink(missing_ok=True)


def _line(value: object) -> None:
    _out(json.dumps(value, ensure_ascii=False) + "\n")


def _out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
