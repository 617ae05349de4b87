"""The cloud's figures as plain values, for a tester and for the control endpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .faults import Faults
from .ledger import Call, Ledger
from .listener import Listener


@dataclass(frozen=True, slots=True)
class Status:
    """requests: by kind, `token` among them. statuses: recognition calls that ended, by status code. The rest as in Ledger and Faults."""

    requests: dict[str, int]
    statuses: dict[str, int]
    arrived: int
    in_flight: int
    max_in_flight: int
    audio_seconds: float
    refused_handshakes: int
    tokens_created: int
    connections_accepted: int
    connections_open: int
    token_connections_accepted: int
    holding: bool
    latency: float
    failure_rate: float
    gateway: str
    token: str


def status_of(ledger: Ledger, tokens_created: int, gateway: Listener, token: Listener, faults: Faults) -> Status:
    """As it is now."""
    return Status(
        requests={str(kind): count for kind, count in ledger.requests.items()},
        statuses={str(status): count for status, count in ledger.statuses.items()},
        arrived=ledger.arrived,
        in_flight=ledger.in_flight,
        max_in_flight=ledger.max_in_flight,
        audio_seconds=ledger.audio_seconds,
        refused_handshakes=ledger.refused_handshakes,
        tokens_created=tokens_created,
        connections_accepted=gateway.accepted,
        connections_open=gateway.open_connections,
        token_connections_accepted=token.accepted,
        holding=faults.holding,
        latency=faults.latency,
        failure_rate=faults.failure_rate,
        gateway=str(faults.gateway.outage),
        token=str(faults.token.outage),
    )


def call_of(call: Call) -> dict[str, object]:
    """A call as JSON values."""
    return asdict(call)
