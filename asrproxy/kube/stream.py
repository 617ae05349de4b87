"""A stream of YAML documents as text: where each begins and ends, to the byte."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# At the start of a line these are never content, not even in a block scalar (YAML 1.2, 9.1.4).
_MARKER: Final = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Piece:
    """before + body is its text. before: the marker's line, if there is one; body: the document; line: where body begins, from 1."""

    before: str
    body: str
    line: int


def split(text: str) -> list[Piece]:
    """The documents of a stream; joined, they are the stream again."""
    pieces: list[Piece] = []
    before, start = "", 0

    def close(end: int) -> None:
        body = text[start:end]
        if before or body:
            pieces.append(Piece(before, body, text.count("\n", 0, start) + 1))

    for marker in _MARKER.finditer(text):
        close(marker.start())
        end = text.find("\n", marker.end())
        rest = text[marker.end() : end if end >= 0 else len(text)]
        # `--- # a comment` ends the line's say; `--- {a: b}` begins the document.
        whole = not rest.strip() or rest.lstrip().startswith("#")
        start = len(text) if whole and end < 0 else end + 1 if whole else marker.end()
        before = text[marker.start() : start]
    close(len(text))
    return pieces
