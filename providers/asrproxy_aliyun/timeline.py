"""From the times of one vendor task to those of the caller's stream."""

from __future__ import annotations


class Timeline:
    """A task that began with the stream's second `start`, into which silence was put that the stream does not have."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._fills: list[tuple[float, float]] = []

    def filled(self, at: float, seconds: float) -> None:
        """`seconds` of silence were sent when the task had `at` seconds of audio; in order."""
        self._fills.append((at, seconds))

    def __call__(self, moment: float) -> float:
        """Seconds of the stream for `moment` of the task; all of a filled silence is the moment at which it was put in."""
        filled = sum(min(seconds, moment - at) for at, seconds in self._fills if at < moment)
        return self._start + moment - filled
