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
class Share:
    """Every `of`-th recording, beginning with the `index`-th, from 0: one machine's part of what several do."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Of `2/8`. Raises ValueError."""
        index, slash, of = text.partition("/")
        numbers = [int(each) for each in (index, of) if each.isdecimal() and each.isascii() and len(each) < 10]
        if not slash or len(numbers) != 2 or numbers[0] >= numbers[1]:
            raise ValueError("expected a share such as 0/8, the first of eight, to 7/8, the last")
        return cls(*numbers)


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that was named and is not there."""

    name: str
    reason: str


def recordings(named: Sequence[str], *, nested: bool = False) -> Iterator[Recording | Missing]:
    """What is named, in order; folders walked in the order of their names, hidden files and files of other kinds left out.

    nested: the text of `talks/one.mp3` goes to `talks` in an output folder, not to its top.
    """
    for each in named:
        path = Path(each)
        if each == STDIN:
            yield Recording(None, "standard input", Path("stdin"))
        elif path.is_dir():
            inside: list[Recording | Missing] = [Recording(file, str(file), file.relative_to(path)) for file in _walked(path)]
            yield from inside or [Missing(each, "no recordings in this folder")]
        elif path.exists():
            inward = nested and not path.is_absolute() and ".." not in path.parts
            yield Recording(path, each, path if inward else Path(path.name))
        else:
            yield Missing(each, "no such file")


def listed(path: Path) -> list[str]:
    """The recordings that a list names: one a line, empty lines and those that begin with # left out. Raises OSError, ValueError."""
    lines = (line.strip() for line in path.read_text("utf-8-sig").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


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
