"""Structured logs: a listener on the core's events, with secrets kept out by construction (events carry none)."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Self, TextIO

from asrproxy.config.models import LogSettings
from asrproxy.errors import ProviderError
from asrproxy.events import (
    AttemptEnded,
    BudgetReached,
    BudgetRefused,
    CircuitChanged,
    ConfigReloaded,
    Event,
    FailedOver,
    Hedged,
    LimitChanged,
    LimitWaited,
    LoopLagged,
    Noted,
    RequestEnded,
    RetryRefused,
    RetryScheduled,
    TokenRefreshed,
)
from asrproxy.ops.lean import structlog
from asrproxy.ops.lines import Lines
from asrproxy.secrecy import Secrets
from asrproxy.trace import Span

HELD_UP: Final = 0.5
"""Seconds of lag of the event loop that are worth a line."""


class Log:
    """Writes events to a stream; an Observer and a context manager. JSON lines or, for people, console lines.

    Every line about a request has its `request_id`, and its `trace_id` where it belongs to a trace. Writing never waits (see `Lines`), and
    none of the `secrets` passes, whoever has put it into a message.
    """

    def __init__(self, settings: LogSettings, secrets: Secrets | None = None, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self.secrets: Final = secrets or Secrets()
        self._lines = Lines(self._stream, cleaned=self.secrets.cleaned, lost=self._lost)
        self._logger: Any
        self._render: Any
        self._info = self._debug = False
        self.take(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()

    @property
    def dropped(self) -> int:
        """Lines that nobody could take in time."""
        return self._lines.dropped

    def take(self, settings: LogSettings) -> None:
        """Goes by these from now on."""
        level = logging.getLevelNamesMapping()[settings.level.upper()]
        self._render = (
            structlog.processors.JSONRenderer(ensure_ascii=False)
            if settings.format == "json"
            else structlog.dev.ConsoleRenderer(colors=self._stream.isatty())
        )
        self._info = level <= logging.INFO
        self._debug = level <= logging.DEBUG
        self._logger = structlog.wrap_logger(
            _Printer(self._lines),
            processors=[_STAMP, structlog.processors.add_log_level, _errors_as_text, self._render],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            context_class=dict,
        )

    def handler(self) -> logging.Handler:
        """What Python's own logging (of asyncio, of a plugin) may be led to, so that it never waits and shows no secret either."""
        return _Standard(self)

    def __call__(self, event: Event) -> None:
        log = self._logger
        match event:
            case RequestEnded():
                if self._info:
                    self._access(event)
            case AttemptEnded():
                if event.error is not None and event.outcome != "cancelled":
                    log.info("attempt failed", **_attempt(event), error=event.error)
                elif self._debug:
                    log.debug("attempt", **_attempt(event), outcome=event.outcome)
            case LimitWaited():
                if self._debug:
                    log.debug(
                        "limit wait", **_bound(event.request_id, event.trace), provider=event.provider, limit=event.limit,
                        traffic=event.traffic, ms=round(event.seconds * 1000, 2), refused=event.refused,
                    )  # fmt: skip
            case RetryScheduled():
                if self._debug:
                    log.debug(
                        "retry", **_bound(event.request_id, event.trace), provider=event.provider, attempt=event.attempt,
                        pause_ms=round(event.pause * 1000, 2),
                    )  # fmt: skip
            case RetryRefused():
                log.info("no retry", **_bound(event.request_id, event.trace), provider=event.provider, reason=event.reason)
            case FailedOver():
                log.warning(
                    "failover", **_bound(event.request_id, event.trace), route=event.route, before=event.before, after=event.after,
                    error=event.error,
                )  # fmt: skip
            case Hedged():
                log.debug("hedge", **_bound(event.request_id, event.trace), route=event.route, won=event.won)
            case BudgetRefused():
                log.debug("budget refused", **_bound(event.request_id, event.trace), route=event.route, provider=event.provider)
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
            case TokenRefreshed():
                write = log.info if event.error is None else log.warning
                write("token", provider=event.provider, ms=round(event.seconds * 1000, 1), lifetime=event.lifetime, error=event.error)
            case LoopLagged():
                if event.seconds >= HELD_UP:
                    log.warning("the event loop was held up", ms=round(event.seconds * 1000))
            case ConfigReloaded():
                if event.error is None:
                    log.info("configuration taken", generation=event.generation)
                else:
                    log.error("configuration refused", generation=event.generation, error=event.error)
            case Noted():
                getattr(log, event.level)(event.event, **event.details)
            case _:
                pass

    def _access(self, event: RequestEnded) -> None:
        """The one line of a request."""
        line: dict[str, Any] = {
            **_bound(event.request_id, event.trace),
            "method": event.method,
            "endpoint": event.endpoint,
            "route": event.route,
            "caller": event.caller,
            "status": event.status,
            "code": event.code,
            "ms": round(event.seconds * 1000, 2),
            "provider": event.provider,
            "attempts": event.attempts,
            "audio_seconds": round(event.audio_seconds, 3),
            "bytes": event.body_bytes,
            "stages_ms": {stage.name: round(stage.seconds * 1000, 2) for stage in event.stages},
        }
        if event.cost:
            line["cost"] = {currency: round(amount, 9) for currency, amount in event.cost.items()}
        if event.reason is not None:
            line["reason"] = event.reason
        if event.text is not None:
            line["text"] = event.text
        self._logger.info("request", **line)

    def _lost(self, count: int) -> str:
        line = structlog.processors.add_log_level(None, "warning", _STAMP(None, "warning", {"event": "log lines dropped", "lines": count}))
        return str(self._render(None, "warning", line))


_STAMP: Final = structlog.processors.TimeStamper(fmt="iso", utc=True)


class _Printer:
    """structlog's last step."""

    def __init__(self, lines: Lines) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = lines.write


class _Standard(logging.Handler):
    """Records of Python's logging as lines of ours."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        details: dict[str, object] = {"logger": record.name}
        if record.exc_info is not None and (error := record.exc_info[1]) is not None:
            details |= {"error": error, "stack": _stack(error)}
        self._log(Noted("error" if record.levelno >= logging.ERROR else "warning", record.getMessage(), details))


def _bound(request_id: str, span: Span | None) -> dict[str, str]:
    """What every line about a request has."""
    return {"request_id": request_id} if span is None else {"request_id": request_id, "trace_id": span.trace_id}


def _attempt(event: AttemptEnded) -> dict[str, Any]:
    line: dict[str, Any] = _bound(event.request_id, event.span) | {
        "provider": event.provider,
        "attempt": event.attempt,
        "segment": event.segment,
        "ms": round(event.seconds * 1000, 2),
    }
    return line if event.vendor_id is None else line | {"vendor_id": event.vendor_id}


def _errors_as_text(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An error is its class, its message, and the vendor's code; a defect (not an error of ours) also its stack."""
    error = line.get("error")
    if isinstance(error, BaseException):
        line["error"] = f"{type(error).__name__}: {error}"
        if isinstance(error, ProviderError) and error.vendor_code is not None:
            line["vendor_code"] = error.vendor_code
        if line.get("event") in DEFECTS:
            line["stack"] = _stack(error)
    elif error is None:
        line.pop("error", None)
    return line


DEFECTS: Final = frozenset({"internal error", "provider defect"})


def _stack(error: BaseException) -> str:
    return str(structlog.processors.format_exc_info(None, "", {"exc_info": error}).get("exception"))
