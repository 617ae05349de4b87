"""The metrics of several workers as those of one sidecar: counts are added up, what is a state keeps its worker's number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

ADDED: Final = frozenset({"counter", "histogram", "summary"})
ASKED: Final = "application/openmetrics-text; version=1.0.0"
"""How a worker is asked for its metrics: the form that loses nothing."""


def merged(expositions: Sequence[tuple[int, str]], accept: str) -> tuple[bytes, str]:
    """The body and its content type, by what the scraper accepts.

    expositions: each worker's number and its OpenMetrics text. Raises ValueError: not OpenMetrics.
    """
    families: dict[str, Metric] = {}
    for worker, text in expositions:
        for family in _read(text):
            into = families.setdefault(family.name, Metric(family.name, family.documentation, family.type, family.unit))
            if family.type in ADDED:
                into.samples = _added(into.samples, family.samples)
            else:
                into.samples += [sample._replace(labels={**sample.labels, "worker": str(worker)}) for sample in family.samples]
    registry = CollectorRegistry()
    registry.register(_Families(families))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


class _Families:
    """A prometheus_client collector over what was added up."""

    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families.values()


def _read(text: str) -> Iterable[Metric]:
    families: Iterable[Metric] = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return families


def _added(ours: Sequence[Sample], theirs: Sequence[Sample]) -> list[Sample]:
    """Each series once; the newest exemplar stays. `_created` is the earliest: since then all of it was counted."""
    found = {_series(sample): sample for sample in ours}
    for sample in theirs:
        key = _series(sample)
        mine = found.get(key)
        if mine is None:
            found[key] = sample
        elif sample.name.endswith("_created"):
            found[key] = mine if mine.value <= sample.value else sample
        else:
            found[key] = mine._replace(value=mine.value + sample.value, exemplar=sample.exemplar or mine.exemplar)
    return list(found.values())


def _series(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))
