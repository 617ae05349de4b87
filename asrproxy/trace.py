"""A request's place in a distributed trace, as the W3C's Trace Context writes it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Final

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NOBODY: Final = ("0" * 32, "0" * 16)
_SAMPLED: Final = 1
_LONGEST_STATE: Final = 512
"""Characters of `tracestate` that are passed on (W3C Trace Context, 3.3.1.5, asks for at least so many)."""


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of work in a trace. Ids are lower-case hexadecimal.

    parent_id: None for the first of a trace. sampled: somebody keeps this trace. recorded: this sidecar sends its own spans of it; where
    it does not, `span_id` is the caller's. state: the caller's `tracestate`.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    sampled: bool
    recorded: bool
    state: str | None = None

    @property
    def traceparent(self) -> str:
        """The header for whoever is called from here."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def child(self) -> Span:
        """A piece of work within this one; the same where nothing is recorded."""
        return Span(self.trace_id, _id(64), self.span_id, self.sampled, True, self.state) if self.recorded else self


class Traces:
    """Begins a request's part of a trace.

    sample: the share of requests without a decision of their caller's that are recorded; None: no trace is recorded, and a caller's is
    passed on as it came.
    """

    def __init__(self, sample: float | None) -> None:
        self._sample = sample

    def begin(self, traceparent: str | None, tracestate: str | None) -> Span | None:
        """The request's span; None: it belongs to no trace. A header that is none is as good as not there."""
        caller = None if traceparent is None else caller_of(traceparent, tracestate)
        if self._sample is None:
            return caller
        if caller is not None:
            return Span(caller.trace_id, _id(64), caller.span_id, caller.sampled, caller.sampled, caller.state)
        sampled = random.random() < self._sample
        return Span(_id(128), _id(64), None, sampled, sampled)


def caller_of(traceparent: str, tracestate: str | None = None) -> Span | None:
    """The span that a header names; None: it names none. What later versions add to the header is left out."""
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]) or match[2] == _NOBODY[0] or match[3] == _NOBODY[1]:
        return None
    state = tracestate if tracestate and len(tracestate) <= _LONGEST_STATE else None
    return Span(match[2], match[3], None, bool(int(match[4], 16) & _SAMPLED), False, state)


def _id(bits: int) -> str:
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"
