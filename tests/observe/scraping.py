"""What a scrape of a sidecar says, read by Prometheus' own parsers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain

from tests.recognize.conftest import Client

OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


class Scrape:
    """Samples by name and labels."""

    def __init__(self, families: list[Metric]) -> None:
        self.families = families

    def samples(self, name: str, **labels: str) -> list[Any]:
        return [
            sample
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels; 0 where there are none."""
        return sum(sample.value for sample in self.samples(name, **labels))

    def values(self, label: str) -> set[str]:
        """Every value that a label of ours has anywhere."""
        return {
            sample.labels[label]
            for family in self.families
            if family.name.startswith("asrproxy_")
            for sample in family.samples
            if label in sample.labels
        }


async def scrape(client: Client) -> Scrape:
    _, text = await client.get("/metrics", ops=bool(client.sidecar.ops_urls))
    return Scrape(list(plain(text)))


async def scrape_open(client: Client) -> Scrape:
    answer, text = await client.get("/metrics", ops=bool(client.sidecar.ops_urls), headers=OPEN_METRICS)
    assert answer.content_type == "application/openmetrics-text"
    return Scrape(list(open_metrics(text)))


async def scraped_until(client: Client, holds: Callable[[Scrape], object]) -> Scrape:
    """Scrapes until something holds; the test's time limit fails it where it never does."""
    while not holds(scraped := await scrape(client)):
        await asyncio.sleep(0.02)
    return scraped
