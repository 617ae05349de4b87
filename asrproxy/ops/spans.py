"""Events to OpenTelemetry's spans: a span a request, stage, attempt and wait, with ids that the core has chosen."""

from __future__ import annotations

import os
import random
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from asrproxy import __version__
from asrproxy.errors import ProviderError
from asrproxy.events import (
    AttemptEnded,
    BudgetRefused,
    Event,
    FailedOver,
    Hedged,
    LimitWaited,
    RequestEnded,
    RetryRefused,
    RetryScheduled,
)
from asrproxy.trace import Span

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

REQUESTS: Final = 4096
"""Requests under way whose happenings are remembered until their span is made."""
HAPPENINGS: Final = 64
"""Of one request."""
STEP: Final = 50_000_000
"""Nanoseconds: a wall clock that moves by more has been set."""
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)

Attributes = Mapping[str, "AttributeValue | None"]


class SpanMaker:
    """Makes the spans that an event completes.

    Nothing of the audio, its text, a message or a credential goes into one: names of the configuration, numbers, code words, and the
    vendor's name for the call. Happenings (a retry, a failover) become events of the request's span.

    ReadableSpan is made directly: the SDK's own spans choose their ids themselves, and cost the event loop ten times as much.
    """

    def __init__(self) -> None:
        self._resource = resource()
        self._scope = InstrumentationScope("asrproxy", __version__)
        self._offset = 0
        self._happenings: OrderedDict[str, list[SpanEvent]] = OrderedDict()

    def made_of(self, event: Event, monotonic: float, wall: int) -> list[ReadableSpan]:
        """monotonic, wall: when the event was announced, on that clock and as Unix nanoseconds."""
        self._set(monotonic, wall)
        now = self._wall(monotonic)
        match event:
            case RequestEnded(trace=Span(recorded=True) as span):
                return self._request(event, span)
            case AttemptEnded(span=Span(recorded=True) as span):
                return [self._attempt(event, span)]
            case LimitWaited(trace=Span(recorded=True) as span):
                attributes: Attributes = {
                    "asrproxy.provider": event.provider, "asrproxy.limit": event.limit, "asrproxy.traffic": event.traffic,
                    "asrproxy.refused": event.refused,
                }  # fmt: skip
                return [self._span("limit wait", span.child(), event.began, event.began + event.seconds, attributes)]
            case RetryScheduled(trace=Span(recorded=True) as span):
                self._happened(span, now, "retry", {
                    "asrproxy.provider": event.provider, "asrproxy.attempt": event.attempt, "asrproxy.pause": event.pause,
                })  # fmt: skip
            case RetryRefused(trace=Span(recorded=True) as span):
                self._happened(span, now, "no retry", {"asrproxy.provider": event.provider, "asrproxy.reason": event.reason})
            case FailedOver(trace=Span(recorded=True) as span):
                self._happened(span, now, "failover", {"asrproxy.before": event.before, "asrproxy.after": event.after})
            case Hedged(trace=Span(recorded=True) as span):
                self._happened(span, now, "hedge", {"asrproxy.won": event.won})
            case BudgetRefused(trace=Span(recorded=True) as span):
                self._happened(span, now, "budget used up", {"asrproxy.provider": event.provider, "asrproxy.period": event.period})
            case _:
                pass
        return []

    def _request(self, event: RequestEnded, span: Span) -> list[ReadableSpan]:
        attributes: dict[str, AttributeValue | None] = {
            "http.request.method": event.method,
            "http.route": event.endpoint,
            "http.response.status_code": event.status,
            "error.type": event.code,
            "asrproxy.request_id": event.request_id,
            "asrproxy.route": event.route or None,
            "asrproxy.caller": event.caller,
            "asrproxy.provider": event.provider,
            "asrproxy.attempts": event.attempts,
            "asrproxy.audio_seconds": round(event.audio_seconds, 3),
            "asrproxy.body_bytes": event.body_bytes,
        }
        attributes.update({f"asrproxy.cost.{currency}": amount for currency, amount in event.cost.items()})
        attributes.update({f"asrproxy.stage.{stage.name}": round(stage.seconds, 6) for stage in event.stages})
        spans = [
            self._span(stage.name, span.child(), stage.began, stage.ended, {"asrproxy.seconds": round(stage.seconds, 6)})
            for stage in event.stages
            if stage.began is not None and stage.ended is not None
        ]
        spans.append(
            self._span(
                f"{event.method} {event.endpoint}",
                span,
                event.began,
                event.began + event.seconds,
                attributes,
                kind=SpanKind.SERVER,
                failed=event.status >= 500,
                happenings=self._happenings.pop(span.span_id, []),
            )
        )
        return spans

    def _attempt(self, event: AttemptEnded, span: Span) -> ReadableSpan:
        error = event.error
        attributes: dict[str, AttributeValue | None] = {
            "asrproxy.provider": event.provider,
            "asrproxy.route": event.route,
            "asrproxy.attempt": event.attempt,
            "asrproxy.segment": event.segment,
            "asrproxy.outcome": event.outcome,
            "asrproxy.audio_seconds": round(event.audio_seconds, 3),
            "asrproxy.billed_seconds": round(event.billed_seconds, 3),
            "asrproxy.sent_bytes": event.sent_bytes,
            "asrproxy.vendor_id": event.vendor_id,
            "error.type": event.outcome if isinstance(error, ProviderError) else None,
            "asrproxy.vendor_code": error.vendor_code if isinstance(error, ProviderError) else None,
        }
        if (charge := event.charge) is not None:
            attributes[f"asrproxy.cost.{charge.currency}"] = charge.amount
        failed = error is not None and event.outcome != "cancelled"
        name = f"attempt {event.provider}"
        return self._span(name, span, event.began, event.began + event.seconds, attributes, kind=SpanKind.CLIENT, failed=failed)

    def _span(
        self,
        name: str,
        span: Span,
        began: float,
        ended: float,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        failed: bool = False,
        happenings: list[SpanEvent] | None = None,
    ) -> ReadableSpan:
        trace_id = int(span.trace_id, 16)
        state = TraceState.from_header([span.state]) if span.state else None
        parent = None if span.parent_id is None else SpanContext(trace_id, int(span.parent_id, 16), True, _SAMPLED, state)
        return ReadableSpan(
            name,
            context=SpanContext(trace_id, int(span.span_id, 16), False, _SAMPLED, state),
            parent=parent,
            resource=self._resource,
            attributes={key: value for key, value in attributes.items() if value is not None},
            events=happenings or (),
            kind=kind,
            status=Status(StatusCode.ERROR) if failed else Status(),
            start_time=self._wall(began),
            end_time=self._wall(max(began, ended)),
            instrumentation_scope=self._scope,
        )

    def _set(self, monotonic: float, wall: int) -> None:
        """One relation of the two clocks for all spans, so that none sticks out of another, until the wall's is set anew."""
        offset = wall - _nanoseconds(monotonic)
        if abs(offset - self._offset) > STEP:
            self._offset = offset

    def _wall(self, moment: float) -> int:
        return self._offset + _nanoseconds(moment)

    def _happened(self, span: Span, now: int, name: str, attributes: Mapping[str, AttributeValue]) -> None:
        happenings = self._happenings.setdefault(span.span_id, [])
        if len(happenings) < HAPPENINGS:
            happenings.append(SpanEvent(name, attributes, now))
        if len(self._happenings) > REQUESTS:
            self._happenings.popitem(last=False)


def resource() -> Resource:
    """Who sends: the environment's own words (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) before ours."""
    ours = {"service.name": "asrproxy", "service.version": __version__, "service.instance.id": f"{random.getrandbits(128):032x}"}
    theirs = Resource.create({"process.pid": os.getpid()})
    said = {key for key in ours if str(theirs.attributes.get(key, "unknown_service")).partition(":")[0] != "unknown_service"}
    return theirs.merge(Resource({key: value for key, value in ours.items() if key not in said}))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
