"""Gauges that are read when somebody scrapes, from the figures of the running sidecar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from asrproxy.figures import Figures, FleetFigures, ProviderFigures

STATES: Final = ("closed", "half-open", "open")


class Gauges(Collector):
    """Of the providers there are now, so that nothing is left of one that a reload has taken away. look: None until there is a sidecar."""

    def __init__(self) -> None:
        self.look: Callable[[], Figures] | None = None

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        if self.look is None:
            return
        figures = self.look()
        yield _gauge("ready", "Whether the default route can answer.", figures.ready)
        yield _gauge("config_generation", "Configurations taken since the start.", figures.generation)
        yield _gauge("requests_in_flight", "Requests being worked on, live sessions among them.", figures.in_flight)
        yield _gauge("live_sessions", "Sessions of live audio.", figures.live_sessions)
        yield from _decoders(figures)
        yield from _Providers(figures.providers).metrics()
        yield from _budgets(figures)
        if (spans := figures.spans) is not None:
            counted = CounterMetricFamily("asrproxy_spans_total", "Spans, by what became of them.", labels=["outcome"])
            for outcome, count in (("exported", spans.exported), ("failed", spans.failed), ("dropped", spans.dropped)):
                counted.add_metric([outcome], count)
            yield counted
        if (dropped := figures.log_lines_dropped) is not None:
            yield CounterMetricFamily("asrproxy_log_lines_dropped_total", "Lines that nobody could take in time.", value=dropped)
        if figures.fleet is not None:
            yield from _fleet(figures.fleet)


class _Providers:
    """One sample a provider and metric."""

    def __init__(self, providers: Mapping[str, ProviderFigures]) -> None:
        self._providers = list(providers.items())

    def metrics(self) -> Iterator[Metric]:
        ready = _family("provider_ready", "Whether a call would be sent.", "provider")
        in_flight = _family("attempts_in_flight", "Calls to a vendor under way.", "provider")
        concurrency = _family("concurrency_limit", "Calls under way at most.", "provider")
        rate = _family("rate_limit", "Permits a second, of this sidecar's share where the rate is shared.", "provider")
        queued = _family("queued_calls", "Calls that wait for a permit.", "provider", "traffic")
        places = _family("queue_limit", "Calls of one class of traffic that may wait.", "provider")
        retries = _family("retry_budget_remaining", "Retries that the budget allows now.", "provider")
        circuits = _family("circuit_state", "1 for the state that a circuit is in.", "circuit", "state")
        for name, each in self._providers:
            policy = each.policy
            ready.add_metric([name], each.ready)
            in_flight.add_metric([name], policy.in_flight)
            concurrency.add_metric([name], policy.concurrency)
            if policy.rate is not None:
                rate.add_metric([name], policy.rate)
            for traffic, count in policy.queued.items():
                queued.add_metric([name, traffic], count)
            places.add_metric([name], policy.queue)
            retries.add_metric([name], policy.retries_left)
            _state(circuits, name, policy.circuit)
            if each.token is not None and each.token.circuit is not None:
                _state(circuits, f"{name}.token", each.token.circuit)
        yield from (ready, in_flight, concurrency, rate, queued, places, retries, circuits)
        yield from self._connections()
        yield from self._tokens()

    def _connections(self) -> Iterator[Metric]:
        now = _family("pool_connections", "Connections to a vendor.", "provider", "state")
        opened = CounterMetricFamily("asrproxy_pool_connections_opened_total", "Connections opened.", labels=["provider"])
        reused = CounterMetricFamily("asrproxy_pool_connections_reused_total", "Calls on a kept connection.", labels=["provider"])
        for name, each in self._providers:
            if (pool := each.connections) is not None:
                now.add_metric([name, "busy"], pool.busy)
                now.add_metric([name, "idle"], pool.idle)
                opened.add_metric([name], pool.opened)
                reused.add_metric([name], pool.reused)
        yield from (now, opened, reused)

    def _tokens(self) -> Iterator[Metric]:
        age = _family("token_age_seconds", "How long ago the token was got.", "provider")
        remaining = _family("token_remaining_seconds", "How long the token still holds; 0: there is none.", "provider")
        for name, each in self._providers:
            if (token := each.token) is None:
                continue
            if token.age is None:
                remaining.add_metric([name], 0)
                continue
            age.add_metric([name], token.age)
            if token.remaining is not None:
                remaining.add_metric([name], token.remaining)
        yield from (age, remaining)


def _decoders(figures: Figures) -> Iterator[Metric]:
    decoders = figures.decoders
    now = _family("decoder_processes", "Decoder processes.", "state")
    now.add_metric(["busy"], decoders.busy)
    now.add_metric(["idle"], decoders.idle)
    started = CounterMetricFamily("asrproxy_decoder_starts_total", "Decoder processes started.", value=decoders.started)
    failed = CounterMetricFamily("asrproxy_decoder_failures_total", "Decoders ended over a recording.", labels=["reason"])
    failed.add_metric(["crashed"], decoders.crashed)
    failed.add_metric(["hung"], decoders.hung)
    yield from (now, started, failed)


def _budgets(figures: Figures) -> Iterator[Metric]:
    spent = _family("budget_spent", "What a route has spent in this day or month.", "route", "period", "currency")
    limit = _family("budget_limit", "What a route may spend in a day or month.", "route", "period", "currency")
    for route, budgets in figures.budgets.items():
        for each in budgets:
            spent.add_metric([route, each.period, each.currency], each.spent)
            limit.add_metric([route, each.period, each.currency], each.limit)
    yield from (spent, limit)


def _fleet(fleet: FleetFigures) -> Iterator[Metric]:
    yield _gauge("fleet_up", "Whether the last try to reach what the fleet shares was answered.", fleet.reachable)
    sidecars = _family("fleet_sidecars", "Sidecars that share a provider's rate.", "provider")
    for name, count in fleet.sidecars.items():
        sidecars.add_metric([name], count)
    yield sidecars


def _state(circuits: GaugeMetricFamily, name: str, state: str) -> None:
    for each in STATES:
        circuits.add_metric([name, each], each == state)


def _gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"asrproxy_{name}", help, value=value)


def _family(name: str, help: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"asrproxy_{name}", help, labels=labels)
