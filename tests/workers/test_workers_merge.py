"""The metrics of all workers are those of one sidecar."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from asrproxy.ops.merge import merged


def exposition(counts: dict[str, int], seconds: list[float], state: float) -> str:
    registry = CollectorRegistry()
    counter = Counter("calls", "Calls.", ["route"], registry=registry)
    for route, count in counts.items():
        counter.labels(route).inc(count)
    histogram = Histogram("seconds", "Seconds.", buckets=(0.1, 1.0), registry=registry)
    for each in seconds:
        histogram.observe(each, {"trace_id": "abc"})
    Gauge("state", "State.", registry=registry).set(state)
    return generate_latest(registry).decode()


_WORKER = st.tuples(
    st.dictionaries(st.sampled_from(["default", "b", 'odd"\\name']), st.integers(1, 99)),
    st.lists(st.floats(0, 9), max_size=5),
    st.floats(0, 9),
)


@given(st.lists(_WORKER, min_size=1, max_size=4))
def test_counts_add_up_and_states_keep_their_workers_number(workers: list[tuple[dict[str, int], list[float], float]]) -> None:
    body, content_type = merged([(place, exposition(*each)) for place, each in enumerate(workers)], "")
    assert content_type.startswith("text/plain")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    for route in {route for counts, _, _ in workers for route in counts}:
        assert samples["calls_total", (("route", route),)] == sum(counts.get(route, 0) for counts, _, _ in workers)
    everything = [each for _, seconds, _ in workers for each in seconds]
    assert samples["seconds_count", ()] == len(everything)
    assert samples["seconds_bucket", (("le", "1.0"),)] == sum(each <= 1.0 for each in everything)
    for place, (_, _, state) in enumerate(workers):
        assert samples["state", (("worker", str(place)),)] == state


def test_openmetrics_keeps_its_exemplars() -> None:
    body, content_type = merged([(0, exposition({"default": 1}, [0.5], 1.0))], "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert 'trace_id="abc"' in body.decode()
    assert body.endswith(b"# EOF\n")
