"""Structured logs: a listener on the core's events, with secrets kept out by construction (events carry none)."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from asrproxy.config.models import LogSettings
from asrproxy.errors import ProviderError
from asrproxy.events import (
    AttemptEnded,
    BudgetReached,
    CircuitChanged,
    ConfigReloaded,
    Event,
    FailedOver,
    Hedged,
    LimitChanged,
    Noted,
    RequestEnded,
    RetryScheduled,
    TokenRefreshed,
)


class Log:
    """Writes events to a stream; an Observer. JSON lines or, for people, console lines."""

    def __init__(self, settings: LogSettings, stream: TextIO | None = None) -> None:
        level = logging.getLevelNamesMapping()[settings.level.upper()]
        renderer: Any = (
            structlog.processors.JSONRenderer(ensure_ascii=False)
            if settings.format == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        )
        self._info = level <= logging.INFO
        self._debug = level <= logging.DEBUG
        self._logger = structlog.wrap_logger(
            structlog.WriteLogger(stream or sys.stderr),  # a line in one write: several workers share standard error
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.add_log_level,
                _errors_as_text,
                renderer,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            context_class=dict,
        )

    def __call__(self, event: Event) -> None:
        log = self._logger
        match event:
            case RequestEnded():
                if self._info:
                    log.info(
                        "request",
                        request_id=event.request_id,
                        route=event.route,
                        status=event.status,
                        code=event.code,
                        ms=round(event.seconds * 1000, 2),
                        audio_seconds=round(event.audio_seconds, 3),
                        bytes=event.body_bytes,
                        stages_ms={stage.name: round(stage.seconds * 1000, 2) for stage in event.stages},
                    )
            case AttemptEnded():
                if event.error is not None:
                    log.info(
                        "attempt failed", request_id=event.request_id, provider=event.provider, attempt=event.attempt, error=event.error
                    )
                elif self._debug:
                    log.debug(
                        "attempt", request_id=event.request_id, provider=event.provider, attempt=event.attempt,
                        ms=round(event.seconds * 1000, 2), vendor_id=event.vendor_id,
                    )  # fmt: skip
            case RetryScheduled():
                log.debug("retry", request_id=event.request_id, provider=event.provider, attempt=event.attempt, pause=round(event.pause, 3))
            case BudgetReached():
                write = log.error if event.share >= 1 else log.warning
                write(
                    "budget used up" if event.share >= 1 else "budget", route=event.route, period=event.period,
                    spent=round(event.spent, 4), limit=event.limit, currency=event.currency,
                )  # fmt: skip
            case CircuitChanged():
                log.warning("circuit", circuit=event.name, before=event.before, after=event.after)
            case LimitChanged():
                log.info("limit", provider=event.provider, limit=event.limit, reason=event.reason)
            case FailedOver():
                log.warning(
                    "failover", request_id=event.request_id, route=event.route, before=event.before, after=event.after, error=event.error
                )
            case Hedged():
                log.debug("hedge", request_id=event.request_id, route=event.route, won=event.won)
            case TokenRefreshed():
                write = log.info if event.error is None else log.warning
                write("token", provider=event.provider, ms=round(event.seconds * 1000, 1), lifetime=event.lifetime, error=event.error)
            case ConfigReloaded():
                if event.error is None:
                    log.info("configuration taken", generation=event.generation)
                else:
                    log.error("configuration refused", generation=event.generation, error=event.error)
            case Noted():
                getattr(log, event.level)(event.event, **event.details)
            case _:
                pass


def _errors_as_text(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An error is its class, its message, and the vendor's code; a defect (not an error of ours) also its stack."""
    error = line.get("error")
    if isinstance(error, BaseException):
        line["error"] = f"{type(error).__name__}: {error}"
        if isinstance(error, ProviderError) and error.vendor_code is not None:
            line["vendor_code"] = error.vendor_code
        if line.get("event") == "internal error":
            line["stack"] = structlog.processors.format_exc_info(None, "", {"exc_info": error}).get("exception")
    elif error is None:
        line.pop("error", None)
    return line
