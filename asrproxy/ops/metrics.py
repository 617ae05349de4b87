"""Prometheus metrics: a listener on the core's events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from asrproxy import __version__
from asrproxy.errors import ProviderError
from asrproxy.events import (
    AttemptEnded,
    CircuitChanged,
    ConfigReloaded,
    Event,
    FailedOver,
    Hedged,
    LimitChanged,
    LimitWaited,
    RequestEnded,
    RetryScheduled,
    TokenRefreshed,
)

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
CIRCUIT: Final = {"closed": 0, "half-open": 1, "open": 2}


class Metrics:
    """One registry a sidecar; an Observer."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        Gauge("asrproxy_build_info", "Version of the running build.", ["version"], registry=registry).labels(__version__).set(1)
        self._requests = Counter("asrproxy_requests", "Requests answered.", ["route", "status", "code"], registry=registry)
        self._seconds = Histogram("asrproxy_request_seconds", "Whole requests.", ["route"], buckets=SECONDS, registry=registry)
        self._stages = Histogram(
            "asrproxy_stage_seconds", "Time in each stage of a request.", ["stage"], buckets=SECONDS, registry=registry
        )
        self._audio = Counter("asrproxy_audio_seconds", "Audio taken in.", ["route"], registry=registry)
        self._bytes = Counter("asrproxy_body_bytes", "Bytes of bodies taken in.", registry=registry)
        self._attempts = Counter("asrproxy_attempts", "Vendor calls.", ["provider", "outcome"], registry=registry)
        self._attempt_seconds = Histogram("asrproxy_attempt_seconds", "Vendor calls.", ["provider"], buckets=SECONDS, registry=registry)
        self._sent = Counter("asrproxy_sent_audio_seconds", "Audio sent to vendors.", ["provider"], registry=registry)
        self._retries = Counter("asrproxy_retries", "Calls repeated.", ["provider"], registry=registry)
        self._circuit = Gauge("asrproxy_circuit_state", "0 closed, 1 half-open, 2 open.", ["circuit"], registry=registry)
        self._circuit_changes = Counter("asrproxy_circuit_changes", "Changes of a circuit's state.", ["circuit", "to"], registry=registry)
        self._failovers = Counter(
            "asrproxy_failovers", "Moves to a route's next provider.", ["route", "before", "after"], registry=registry
        )
        self._hedges = Counter("asrproxy_hedges", "Second attempts beside slow firsts.", ["provider", "won"], registry=registry)
        self._limit = Gauge("asrproxy_adaptive_limit", "Concurrency found by limits.concurrency: auto.", ["provider"], registry=registry)
        self._waits = Histogram(
            "asrproxy_limit_wait_seconds", "Waiting for a permit.", ["provider", "traffic"], buckets=SECONDS, registry=registry
        )
        self._refusals = Counter("asrproxy_limit_refusals", "Calls that got no permit.", ["provider", "limit"], registry=registry)
        self._tokens = Counter("asrproxy_token_refreshes", "Tokens asked for.", ["provider", "outcome"], registry=registry)
        self._in_flight = Gauge("asrproxy_requests_in_flight", "Requests being worked on: what a gateway is scaled by.", registry=registry)
        self._generation = Gauge("asrproxy_config_generation", "Configurations taken since the start.", registry=registry)
        self._generation.set(1)
        self._reload_failures = Counter("asrproxy_config_reload_failures", "Configurations refused.", registry=registry)

    def __call__(self, event: Event) -> None:
        match event:
            case RequestEnded():
                self._request(event)
            case AttemptEnded():
                self._attempt(event)
            case RetryScheduled():
                self._retries.labels(event.provider).inc()
            case LimitWaited():
                self._waits.labels(event.provider, event.traffic).observe(event.seconds)
                if event.refused:
                    self._refusals.labels(event.provider, event.limit).inc()
            case CircuitChanged():
                self._circuit.labels(event.name).set(CIRCUIT[event.after])
                self._circuit_changes.labels(event.name, event.after).inc()
            case FailedOver():
                self._failovers.labels(event.route, event.before, event.after).inc()
            case Hedged():
                self._hedges.labels(event.provider, str(event.won).lower()).inc()
            case LimitChanged():
                self._limit.labels(event.provider).set(event.limit)
            case TokenRefreshed():
                self._tokens.labels(event.provider, "failed" if event.error else "ok").inc()
            case ConfigReloaded():
                if event.error is None:
                    self._generation.set(event.generation)
                else:
                    self._reload_failures.inc()
            case _:
                pass

    def follow(self, in_flight: Callable[[], int]) -> None:
        """Asks for the number of requests being worked on whenever the metrics are read."""
        self._in_flight.set_function(in_flight)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The body and its content type, by what the scraper accepts."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def _request(self, event: RequestEnded) -> None:
        self._requests.labels(event.route, str(event.status), event.code or "ok").inc()
        self._seconds.labels(event.route).observe(event.seconds)
        for stage, seconds in event.stages.items():
            self._stages.labels(stage).observe(seconds)
        if event.audio_seconds:
            self._audio.labels(event.route).inc(event.audio_seconds)
        self._bytes.inc(event.body_bytes)

    def _attempt(self, event: AttemptEnded) -> None:
        outcome = "ok" if event.error is None else _word(event.error)
        self._attempts.labels(event.provider, outcome).inc()
        self._attempt_seconds.labels(event.provider).observe(event.seconds)
        self._sent.labels(event.provider).inc(event.audio_seconds)


def _word(error: Exception) -> str:
    """A bounded label: the error's class for a provider's errors, one word for all else."""
    return type(error).__name__ if isinstance(error, ProviderError) else "other"
