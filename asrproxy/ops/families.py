"""Metric families whose children are found quickly, and forgotten when what they are about is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram

Metric = TypeVar("Metric", Counter, Gauge, Histogram)


class Family(Generic[Metric]):
    """A metric with labels.

    prometheus_client's own `labels` takes a lock and makes every value a string anew, which is most of what an increment costs; a value
    that was asked for once is a look-up here.
    """

    def __init__(self, metric: Metric, labels: tuple[str, ...]) -> None:
        self._metric: Metric = metric
        self._labels = labels
        self._children: dict[tuple[str, ...], Metric] = {}

    def __call__(self, *values: str) -> Metric:
        """The child with these values of the labels, in their order."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._metric.labels(*values)
        return child

    def forget(self, gone: Callable[[Mapping[str, str]], bool]) -> None:
        """Ends the series of which `gone` says so, by their labels."""
        for values in [each for each in self._children if gone(dict(zip(self._labels, each, strict=True)))]:
            del self._children[values]
            self._metric.remove(*values)
