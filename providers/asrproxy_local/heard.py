"""What goes to an engine and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Timed = tuple[str, float, float]
"""A word with its start and end in seconds."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of one utterance. rate: Hz. language: as the caller writes it, BCP 47; None: the engine finds out.

    vocabulary: hot words, comma-separated.
    """

    rate: int
    language: str | None = None
    words: bool = False
    vocabulary: str | None = None
    prompt: str | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What an engine made of it. language: BCP 47. words: None where they were not wanted."""

    text: str
    language: str | None
    words: tuple[Timed, ...] | None = None


class LoadedEngine(Protocol):
    """An engine in memory."""

    def recognize(self, order: Order, pcm: bytes) -> Heard: ...


def answer(engine: LoadedEngine, order: Mapping[str, Any], pcm: bytes) -> dict[str, Any]:
    """An engine's answer, or what it failed with, as JSON values."""
    try:
        heard = engine.recognize(Order(**order), pcm)
    except Exception as error:  # the call's owner in this process: a defect of the engine costs this call
        return {"error": f"{type(error).__name__}: {error}"}
    return {"text": heard.text, "language": heard.language, "words": heard.words}
