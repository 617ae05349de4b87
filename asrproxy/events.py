"""What the core and the providers announce: frozen facts. Metrics, logs and traces listen; nobody here calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from asrproxy.model import Charge
from asrproxy.stages import Stage
from asrproxy.trace import Span


@dataclass(frozen=True, slots=True)
class Event:
    """Base of every announced fact."""


@dataclass(frozen=True, slots=True)
class RequestEnded(Event):
    """A caller's request was answered.

    method, endpoint: HTTP's method, and the address as the documentation writes it. route: empty where it came to none. caller: an
    allow-listed name, or `other`. status: HTTP's. code: the error's code word, None: answered well. live: a session of live audio, whose
    seconds are the speaker's. audio_seconds: 0 where it failed. provider: whose text it is, None: nobody's, or several. attempts: vendor
    calls made for it. cost: by currency, empty where no provider of the route has a price. reason: the error's message. text: what was
    recognised, only where `log.transcripts` asks for it. began: a moment of `time.monotonic`.
    """

    request_id: str
    method: str
    endpoint: str
    route: str
    caller: str
    status: int
    code: str | None
    seconds: float
    audio_seconds: float
    body_bytes: int
    stages: tuple[Stage, ...] = ()
    live: bool = False
    provider: str | None = None
    attempts: int = 0
    cost: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    text: str | None = field(default=None, repr=False)
    began: float = 0.0
    trace: Span | None = None


@dataclass(frozen=True, slots=True)
class AttemptEnded(Event):
    """A vendor call ended, or a live session at a vendor.

    error: None when it gave a recognition. outcome: `ok`, `cancelled` (the caller has gone, or a hedge was quicker), or the error's code
    word. audio_seconds, sent_bytes: of the utterance. billed_seconds: what the vendor charges for it. vendor_id: its name for the call.
    charge: None where it charges nothing, or its price is not known. segment: place in the recording. span: of this attempt. session: it
    was a live session, whose seconds are the speaker's. began: a moment on the loop's clock.
    """

    request_id: str
    provider: str
    attempt: int
    seconds: float
    audio_seconds: float
    error: Exception | None
    vendor_id: str | None = None
    outcome: str = "ok"
    sent_bytes: int = 0
    billed_seconds: float = 0.0
    segment: int = 0
    route: str = ""
    caller: str = "other"
    span: Span | None = None
    session: bool = False
    charge: Charge | None = None
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """A failed attempt will be repeated after `pause` seconds. trace: the request's span, as in the events below."""

    request_id: str
    provider: str
    attempt: int
    pause: float
    error: Exception
    trace: Span | None = None


@dataclass(frozen=True, slots=True)
class RetryRefused(Event):
    """A failed attempt could have been repeated, but the budget or the time left forbids it. reason: `budget` or `deadline`."""

    request_id: str
    provider: str
    reason: str
    trace: Span | None = None


@dataclass(frozen=True, slots=True)
class BudgetReached(Event):
    """A route has spent `share` of its budget of a `period` (`day`, `month`): the share at which it warns, or 1, and then it stops.

    spent, limit: in `currency`.
    """

    route: str
    period: str
    share: float
    spent: float
    limit: float
    currency: str


@dataclass(frozen=True, slots=True)
class BudgetRefused(Event):
    """A call was not made at `provider`, since the route's budget of a `period` is used up."""

    request_id: str
    route: str
    provider: str
    period: str
    trace: Span | None = None


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
    """A call waited `seconds` for a permit of `limit` (`rate`, `concurrency`, `admission`); refused: it did not get one.

    began: a moment on the loop's clock.
    """

    request_id: str
    provider: str
    limit: str
    traffic: str
    seconds: float
    refused: bool
    trace: Span | None = None
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class FailedOver(Event):
    """A route moved on to its next provider."""

    request_id: str
    route: str
    before: str
    after: str
    error: Exception
    trace: Span | None = None


@dataclass(frozen=True, slots=True)
class Hedged(Event):
    """A second attempt was started beside a slow first. won: the second one's answer was taken."""

    request_id: str
    route: str
    won: bool
    trace: Span | None = None


@dataclass(frozen=True, slots=True)
class Shadowed(Event):
    """A call of a route was copied to another provider, in the background.

    outcome: `compared`, `failed` (with `error`), `left_out` (too many copies were under way). tokens: of the route's text; edits: of them
    that the other text has differently. seconds, shadow_seconds: until either answered.
    """

    request_id: str
    route: str
    provider: str
    outcome: str
    edits: int = 0
    tokens: int = 0
    seconds: float = 0.0
    shadow_seconds: float = 0.0
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class TokenRefreshed(Event):
    """A provider's token was asked for. lifetime: seconds the new one holds; error: why there is none."""

    provider: str
    seconds: float
    lifetime: float | None
    error: Exception | None


@dataclass(frozen=True, slots=True)
class ConfigReloaded(Event):
    """A new configuration was taken, or refused with `error`; then the old one stays.

    generation: counts the ones taken. routes, providers: the names that there are now, empty where it was refused.
    """

    generation: int
    error: Exception | None
    routes: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LoopLagged(Event):
    """The event loop was looked at: it ran what was due `seconds` too late."""

    seconds: float


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
