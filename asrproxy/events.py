"""What the core and the providers announce: frozen facts. Metrics, logs and traces listen; nobody here calls them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Base of every announced fact."""


@dataclass(frozen=True, slots=True)
class RequestEnded(Event):
    """A caller's request was answered. stages: seconds in each stage by name. code: the error's code word, None: answered well."""

    request_id: str
    route: str
    status: int
    code: str | None
    seconds: float
    audio_seconds: float
    body_bytes: int
    stages: dict[str, float]


@dataclass(frozen=True, slots=True)
class AttemptEnded(Event):
    """A vendor call ended. error: None when it gave a recognition. audio_seconds: length of the utterance."""

    request_id: str
    provider: str
    attempt: int
    seconds: float
    audio_seconds: float
    error: Exception | None
    vendor_id: str | None = None


@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """A failed attempt will be repeated after `pause` seconds."""

    request_id: str
    provider: str
    attempt: int
    pause: float
    error: Exception


@dataclass(frozen=True, slots=True)
class RetryRefused(Event):
    """A failed attempt could have been repeated, but the budget or the time left forbids it. reason: `budget` or `deadline`."""

    request_id: str
    provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class CircuitChanged(Event):
    """A circuit went from one state to another: `closed`, `open`, `half-open`. name: the provider's, or `<provider>.token`."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class LimitChanged(Event):
    """Adaptive concurrency moved its limit. reason: `throttled`, `latency`, `probe`."""

    provider: str
    limit: int
    reason: str


@dataclass(frozen=True, slots=True)
class LimitWaited(Event):
    """A call waited `seconds` for a permit of `limit` (`rate`, `concurrency`, `admission`); refused: it did not get one."""

    provider: str
    limit: str
    traffic: str
    seconds: float
    refused: bool


@dataclass(frozen=True, slots=True)
class FailedOver(Event):
    """A route moved on to its next provider."""

    request_id: str
    route: str
    before: str
    after: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Hedged(Event):
    """A second attempt was started beside a slow first. won: the second one's answer was taken."""

    request_id: str
    provider: str
    won: bool


@dataclass(frozen=True, slots=True)
class TokenRefreshed(Event):
    """A provider's token was asked for. lifetime: seconds the new one holds; error: why there is none."""

    provider: str
    seconds: float
    lifetime: float | None
    error: Exception | None


@dataclass(frozen=True, slots=True)
class ConfigReloaded(Event):
    """A new configuration was taken, or refused with `error`; then the old one stays. generation: counts the ones taken."""

    generation: int
    error: Exception | None


@dataclass(frozen=True, slots=True)
class Noted(Event):
    """Something an operator should read in the log, in the words of the documentation. level: a logging level's name."""

    level: str
    event: str
    details: dict[str, object]


Observer = Callable[[Event], None]
"""Takes an event; must return at once and raise nothing."""


def ignore(event: Event) -> None:
    """An observer for those who do not listen."""
