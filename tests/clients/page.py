"""The programs of docs/clients.md, as they stand on the page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
ADDRESS = "http://localhost:8790"


@dataclass(frozen=True)
class Program:
    """A block of the page. name: the heading over it and its number there."""

    name: str
    language: str
    source: str

    @property
    def sends_a_long_recording(self) -> bool:
        return "long.flac" in self.source

    @property
    def tries_again(self) -> bool:
        return "Retry-After" in self.source or "--retry" in self.source


def programs() -> list[Program]:
    found = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading = section.partition("\n")[0]
        for number, (language, source) in enumerate(re.findall(r"^```(\w+)\n(.*?)^```$", section, re.M | re.S), 1):
            found.append(Program(f"{heading} {number}", language, source))
    return found
