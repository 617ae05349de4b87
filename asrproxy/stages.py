"""Where a request's time went: seconds by stage, for the access line, the metrics and the spans."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

STAGES: Final = {
    "receive": "reading the body, until the audio could be worked on",
    "queue": "waiting for a decoder process",
    "decode": "decoding (of a body that is still arriving: waiting for it, too)",
    "segment": "finding the places to cut a long recording",
    "recognize": "everything between the audio and its text; `limit_wait`, `attempt` and `pause` lie within it",
    "limit_wait": "waiting for a permit of a provider's limits",
    "attempt": "calls to vendors",
    "pause": "pauses before retries",
    "stitch": "merging seams and joining texts",
}
"""Every stage, in the order of a request's way. Stages that run side by side are each counted whole."""


class Stage(NamedTuple):
    """One stage of one request. began, ended: moments of `time.monotonic`, None where it is scattered; seconds: spent in it."""

    name: str
    began: float | None
    ended: float | None
    seconds: float


class Stages:
    """Collects the stages of one request.

    The clock is not the loop's: uvloop's stands still for as long as a turn takes, and counts in milliseconds.
    """

    __slots__ = ("_last", "_spans", "began", "seconds")

    def __init__(self) -> None:
        self.began = self._last = time.monotonic()
        self._spans: dict[str, tuple[float, float]] = {}
        self.seconds: dict[str, float] = {}

    def ended(self, name: str) -> None:
        """What passed since the last stage ended belongs to `name`."""
        last, self._last = self._last, time.monotonic()
        self.between(name, last, self._last)

    def between(self, name: str, began: float, ended: float) -> None:
        """A stretch of `name`, which may overlap with others."""
        self.add(name, ended - began)
        first = self._spans.get(name)
        self._spans[name] = (began if first is None else first[0], ended)

    def add(self, name: str, seconds: float) -> None:
        """Seconds of `name`, wherever they lay."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def all(self) -> tuple[Stage, ...]:
        """What is known now."""
        nowhere: tuple[float | None, float | None] = (None, None)
        return tuple(
            Stage(name, began, ended, self.seconds[name])
            for name, (began, ended) in ((name, self._spans.get(name, nowhere)) for name in self.seconds)
        )
