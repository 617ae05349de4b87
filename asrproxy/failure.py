"""What a request ends with when its recording could not be finished: the error, and what had been recognised by then."""

from __future__ import annotations

from asrproxy.errors import AsrError
from asrproxy.model import AttemptRecord, Segment


class RecordingFailed(AsrError):
    """Carries the cause with what was done before it. segments: the finished ones, in order. attempts: calls made and passed over."""

    def __init__(self, cause: AsrError, segments: tuple[Segment, ...], attempts: tuple[AttemptRecord, ...]) -> None:
        super().__init__(cause.message, param=cause.param, retry_after=cause.retry_after, provider=cause.provider)
        self.cause = cause
        self.segments = segments
        self.attempts = attempts
