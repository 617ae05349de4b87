"""The cloud's idea of the time, which a test may set apart from the machine's."""

from __future__ import annotations

import time


class Clock:
    """Unix seconds. offset: how far the cloud's clock is ahead of this machine's."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def __call__(self) -> float:
        return time.time() + self.offset
