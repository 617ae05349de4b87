"""Prometheus metrics: a listener on the core's events. What each means: docs/metrics.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from asrproxy import __version__, errors
from asrproxy.events import (
    AttemptEnded,
    BudgetRefused,
    CircuitChanged,
    ConfigReloaded,
    Event,
    FailedOver,
    Hedged,
    LimitWaited,
    LoopLagged,
    RequestEnded,
    RetryRefused,
    RetryScheduled,
    Shadowed,
    TokenRefreshed,
)
from asrproxy.figures import Figures
from asrproxy.ops.families import Family
from asrproxy.ops.gauges import Gauges
from asrproxy.trace import Span

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
STAGE_SECONDS: Final = (0.0005, 0.001, 0.0025, *SECONDS)
LAGS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
FACTORS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)
NONE: Final = "none"
"""The route of a request that came to no route that there is."""
GONE: Final = "removed"
"""The provider of a call that ended after a reload had taken its provider away."""
OUTCOMES: Final = frozenset(
    {"ok", "cancelled"} | {errors.code_of(each) for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
)
OTHER_ERROR: Final = "other"
"""The outcome of a call that ended with an error of a plugin's own class."""


class Metrics:
    """One registry a sidecar; an Observer.

    routes, providers: the configured names. Label values are those names, words of ours, and allow-listed callers: nothing that a
    caller or a vendor sends becomes one. `asrproxy_` series of a route or provider that a reload takes away end with it.
    """

    def __init__(self, *, routes: Iterable[str], providers: Iterable[str]) -> None:
        self._routes, self._providers = frozenset(routes), frozenset(providers)
        self._families: list[Family[Counter] | Family[Histogram]] = []
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("asrproxy_build_info", "The running version.", ["version"], registry=registry).labels(__version__).set(1)

        self._requests = self._counter("requests", "Requests answered.", "route", "status", "code", "caller")
        self._durations = self._histogram("request_duration_seconds", "Whole requests, without live sessions.", "route")
        self._sessions = self._histogram("live_session_duration_seconds", "Whole live sessions.", "route", buckets=(1, 10, 60, 600, 3600))
        self._stages = self._histogram("request_stage_duration_seconds", "A request in each stage, summed.", "stage", buckets=STAGE_SECONDS)
        self._factor = self._histogram("real_time_factor", "Seconds of work for a second of audio.", "route", buckets=FACTORS)
        self._audio = self._counter("received_audio_seconds", "Audio of requests that were answered.", "route", "caller")
        self._bytes = self._counter("received_bytes", "Bodies.", "route")

        self._attempts = self._counter("attempts", "Calls to vendors, by how they ended.", "provider", "outcome")
        self._attempt_durations = self._histogram("attempt_duration_seconds", "Calls to vendors, without live sessions.", "provider")
        self._sent = self._counter("sent_audio_seconds", "Audio sent to vendors.", "provider")
        self._sent_bytes = self._counter("sent_bytes", "Audio sent to vendors.", "provider")
        self._billed = self._counter("billed_audio_seconds", "Audio that vendors charge for.", "provider")
        self._cost = self._counter("cost", "What vendors charge.", "provider", "route", "caller", "currency")
        self._retries = self._counter("retries", "Calls repeated.", "provider")
        self._unretried = self._counter("retries_refused", "Calls that could have been repeated and were not.", "provider", "reason")
        self._unpaid = self._counter("budget_refusals", "Calls not made since a route's budget was used up.", "route", "provider", "period")
        self._failovers = self._counter("failovers", "Moves to a route's next provider.", "route", "before", "after")
        self._hedges = self._counter("hedges", "Second calls beside slow firsts.", "route", "outcome")
        self._shadowed = self._counter("shadow_calls", "Copies of a route's calls, by what became of them.", "route", "provider", "outcome")
        self._shadow_tokens = self._counter(
            "shadow_tokens", "Words or characters of a route's texts that were compared.", "route", "provider"
        )
        self._shadow_edits = self._counter("shadow_disagreements", "Of them, those that the copy has differently.", "route", "provider")
        self._shadow_seconds = self._counter("shadow_seconds", "Until the answers that were compared, summed.", "route", "provider", "side")
        self._circuit_changes = self._counter("circuit_changes", "Times that a circuit came to a state.", "circuit", "state")

        self._waits = self._histogram("limit_wait_duration_seconds", "Waiting for a permit, of calls that waited.", "provider", "traffic")
        self._refusals = self._counter("limit_refusals", "Calls that got no permit.", "provider", "limit")

        self._refreshes = self._counter("token_refreshes", "Tokens asked for.", "provider", "outcome")
        self._refresh_durations = self._histogram("token_refresh_duration_seconds", "Asking for a token.", "provider")

        self._lag = Histogram("asrproxy_event_loop_lag_seconds", "How late the event loop was.", buckets=LAGS, registry=registry)
        self._reload_failures = Counter("asrproxy_config_reload_failures_total", "Configurations refused.", registry=registry)
        self._gauges = Gauges()
        registry.register(self._gauges)
        self._prepare()

    def watch(self, look: Callable[[], Figures]) -> None:
        """The gauges show what `look` finds whenever somebody scrapes."""
        self._gauges.look = look

    def __call__(self, event: Event) -> None:
        match event:
            case RequestEnded():
                self._request(event)
            case AttemptEnded():
                self._attempt(event)
            case LoopLagged():
                self._lag.observe(event.seconds)
            case LimitWaited():
                provider = self._provider(event.provider)
                self._waits(provider, event.traffic).observe(event.seconds, _exemplar(event.trace))
                if event.refused:
                    self._refusals(provider, event.limit).inc(1, _exemplar(event.trace))
            case RetryScheduled():
                self._retries(self._provider(event.provider)).inc(1, _exemplar(event.trace))
            case RetryRefused():
                self._unretried(self._provider(event.provider), event.reason).inc(1, _exemplar(event.trace))
            case FailedOver():
                labels = self._route(event.route), self._provider(event.before), self._provider(event.after)
                self._failovers(*labels).inc(1, _exemplar(event.trace))
            case BudgetRefused():
                refused = self._route(event.route), self._provider(event.provider), event.period
                self._unpaid(*refused).inc(1, _exemplar(event.trace))
            case Hedged():
                self._hedges(self._route(event.route), "won" if event.won else "lost").inc(1, _exemplar(event.trace))
            case Shadowed():
                self._shadow(event)
            case CircuitChanged():
                if _owner(event.name) in self._providers:
                    self._circuit_changes(event.name, event.after).inc()
            case TokenRefreshed():
                provider = self._provider(event.provider)
                self._refreshes(provider, "failed" if event.error else "ok").inc()
                self._refresh_durations(provider).observe(event.seconds)
            case ConfigReloaded():
                self._reloaded(event)
            case _:
                pass

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The body and its content type, by what the scraper accepts; exemplars are in OpenMetrics only."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def _request(self, event: RequestEnded) -> None:
        route, exemplar = self._route(event.route), _exemplar(event.trace)
        self._requests(route, str(event.status), event.code or "ok", event.caller).inc(1, exemplar)
        if event.live:
            self._sessions(route).observe(event.seconds, exemplar)
        else:
            self._durations(route).observe(event.seconds, exemplar)
            for stage in event.stages:
                self._stages(stage.name).observe(stage.seconds, exemplar)
        if event.audio_seconds:
            self._audio(route, event.caller).inc(event.audio_seconds)
            if not event.live:
                self._factor(route).observe(event.seconds / event.audio_seconds, exemplar)
        if event.body_bytes:
            self._bytes(route).inc(event.body_bytes)

    def _attempt(self, event: AttemptEnded) -> None:
        provider, exemplar = self._provider(event.provider), _exemplar(event.span)
        self._attempts(provider, event.outcome if event.outcome in OUTCOMES else OTHER_ERROR).inc(1, exemplar)
        if not event.session:
            self._attempt_durations(provider).observe(event.seconds, exemplar)
        self._sent(provider).inc(event.audio_seconds)
        self._sent_bytes(provider).inc(event.sent_bytes)
        if event.billed_seconds:
            self._billed(provider).inc(event.billed_seconds)
        if (charge := event.charge) is not None:
            self._cost(provider, self._route(event.route), event.caller, charge.currency).inc(charge.amount, exemplar)

    def _shadow(self, event: Shadowed) -> None:
        route, provider = self._route(event.route), self._provider(event.provider)
        self._shadowed(route, provider, event.outcome).inc()
        if event.outcome == "compared":
            self._shadow_tokens(route, provider).inc(event.tokens)
            self._shadow_edits(route, provider).inc(event.edits)
            self._shadow_seconds(route, provider, "route").inc(event.seconds)
            self._shadow_seconds(route, provider, "shadow").inc(event.shadow_seconds)

    def _reloaded(self, event: ConfigReloaded) -> None:
        if event.error is not None:
            self._reload_failures.inc()
            return
        self._routes, self._providers = event.routes, event.providers
        for family in self._families:
            family.forget(self._gone)
        self._prepare()

    def _gone(self, labels: Mapping[str, str]) -> bool:
        """Whether a series is about a route or a provider that is not there any more."""
        if labels.get("route", NONE) not in self._routes | {NONE}:
            return True
        named = [labels[name] for name in ("provider", "before", "after") if name in labels]
        return any(_owner(each) not in self._providers for each in [*named, *([labels["circuit"]] if "circuit" in labels else [])])

    def _prepare(self) -> None:
        """Series at 0 before the first event: a rate over a series that begins with its first failure shows no failure."""
        for provider in self._providers:
            self._attempts(provider, "ok")
            for family in (self._sent, self._sent_bytes, self._billed, self._retries):
                family(provider)
            self._circuit_changes(provider, "open")
            for limit in ("rate", "concurrency"):
                self._refusals(provider, limit)
            for reason in ("budget", "deadline"):
                self._unretried(provider, reason)

    def _route(self, name: str) -> str:
        return name if name in self._routes else NONE

    def _provider(self, name: str) -> str:
        return name if name in self._providers else GONE

    def _counter(self, name: str, help: str, *labels: str) -> Family[Counter]:
        family = Family(Counter(f"asrproxy_{name}_total", help, labels, registry=self._registry), labels)
        self._families.append(family)
        return family

    def _histogram(self, name: str, help: str, *labels: str, buckets: Sequence[float] = SECONDS) -> Family[Histogram]:
        family = Family(Histogram(f"asrproxy_{name}", help, labels, buckets=buckets, registry=self._registry), labels)
        self._families.append(family)
        return family


def _exemplar(span: Span | None) -> dict[str, str] | None:
    """Leads from a sample to a trace, where somebody keeps that."""
    return {"trace_id": span.trace_id} if span is not None and span.sampled else None


def _owner(circuit: str) -> str:
    """The provider of a circuit, which is its own or that of its token."""
    return circuit.removesuffix(".token")
