"""What a person names on the command line, as recordings: files, everything audible in a folder, standard input."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STDIN: Final = "-"

# Which files of a folder are meant: only here does a name count, what a file is the sidecar finds out from its bytes.
_SUFFIXES: Final = frozenset(
    f".{name}"
    for name in (
        "3gp", "aac", "aif", "aiff", "amr", "au", "caf", "flac", "m4a", "m4b", "mka", "mkv", "mov", "mp2", "mp3", "mp4", "oga", "ogg",
        "opus", "wav", "weba", "webm", "wma",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recording:
    """path: None for standard input. name: what it is called in messages. below: where its text goes in an output folder, no suffix yet."""

    path: Path | None
    name: str
    below: Path


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that was named and is not there."""

    name: str
    reason: str


def recordings(named: Sequence[str]) -> Iterator[Recording | Missing]:
    """What is named, in order; folders walked in the order of their names, hidden files and files of other kinds left out."""
    for each in named:
        path = Path(each)
        if each == STDIN:
            yield Recording(None, "standard input", Path("stdin"))
        elif path.is_dir():
            inside: list[Recording | Missing] = [Recording(file, str(file), file.relative_to(path)) for file in _walked(path)]
            yield from inside or [Missing(each, "no recordings in this folder")]
        elif path.exists():
            yield Recording(path, each, Path(path.name))
        else:
            yield Missing(each, "no such file")


def targets(found: Iterable[Recording], folder: Path, suffix: str) -> dict[Recording, Path]:
    """Where each recording's text goes: `talk.mp3` to `talk.srt`; where two would meet to `talk.mp3.srt`, then to `talk.mp3.2.srt`."""
    taken: set[Path] = set()
    ways = {}
    for recording in found:
        below = recording.below
        plain = folder / below.with_suffix(suffix)
        candidates = [plain, folder / below.with_name(below.name + suffix)]
        way = next((each for each in candidates if each not in taken), None)
        number = 2
        while way is None:
            numbered = folder / below.with_name(f"{below.name}.{number}{suffix}")
            way, number = (None if numbered in taken else numbered), number + 1
        taken.add(way)
        ways[recording] = way
    return ways


def _walked(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in _SUFFIXES:
                yield Path(root, name)
