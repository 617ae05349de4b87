"""What can be read of a running sidecar at any moment: the figures behind the gauges and the status page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Connections:
    """A provider's connections to its vendor. busy, idle: now; opened, reused: since it started, by calls."""

    busy: int
    idle: int
    opened: int
    reused: int


@dataclass(frozen=True, slots=True)
class TokenAge:
    """How old a provider's token is and how long it still holds, seconds; None: there is none, or it does not end.

    circuit: the state of the circuit before the service that makes tokens, where there is one.
    """

    age: float | None
    remaining: float | None
    circuit: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """A provider's policy now.

    circuit: its state. failures: of the vendor in a row. retry_after: seconds until an open circuit is tried. in_flight: calls under way,
    at most `concurrency`. rate: permits a second, None: any number. next_permit: seconds until there is one. queued: calls that wait for
    a permit, by traffic, at most `queue` each. retries_left: retries that the budget allows now.
    """

    circuit: str
    failures: int
    retry_after: float | None
    in_flight: int
    concurrency: int
    rate: float | None
    next_permit: float
    queued: Mapping[str, int]
    queue: int
    retries_left: float


@dataclass(frozen=True, slots=True)
class ProviderFigures:
    """A provider now. ready: whether a call would be sent."""

    ready: bool
    policy: PolicyFigures
    connections: Connections | None = None
    token: TokenAge | None = None


@dataclass(frozen=True, slots=True)
class DecoderFigures:
    """Decoder processes: busy and idle now; started, crashed and hung so far."""

    busy: int
    idle: int
    started: int
    crashed: int
    hung: int


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """What is shared through Redis. reachable: the last try was answered. sidecars: how many share each provider's rate."""

    reachable: bool
    sidecars: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BudgetFigures:
    """What a route has spent of its budget in this `day` or `month`. ends: seconds until the next one."""

    period: str
    spent: float
    limit: float
    currency: str
    ends: float


@dataclass(frozen=True, slots=True)
class SpanFigures:
    """Spans that the collector has taken, that it has not, and events that were dropped before they became any, since too many waited."""

    exported: int
    failed: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Figures:
    """A whole sidecar now. in_flight: requests being worked on, live sessions among them."""

    ready: bool
    generation: int
    in_flight: int
    live_sessions: int
    decoders: DecoderFigures
    providers: Mapping[str, ProviderFigures] = field(default_factory=dict)
    fleet: FleetFigures | None = None
    spans: SpanFigures | None = None
    log_lines_dropped: int | None = None
    budgets: Mapping[str, tuple[BudgetFigures, ...]] = field(default_factory=dict)
