"""docs/metrics.md and what is scraped are one list, in Prometheus' own conventions."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

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
from asrproxy.figures import (
    BudgetFigures,
    Connections,
    DecoderFigures,
    Figures,
    FleetFigures,
    PolicyFigures,
    ProviderFigures,
    SpanFigures,
    TokenAge,
)
from asrproxy.ops.metrics import Metrics
from asrproxy.plugin import Charge, Unavailable
from asrproxy.stages import STAGES, Stage

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"\| `(asrproxy_\w+)` \| (counter|gauge|histogram) \| ([\w, ]*)\|")
ERROR = Unavailable("down")
EVERY_EVENT: tuple[Event, ...] = (
    RequestEnded("r", "POST", "/v1/recognize", "default", "other", 200, None, 1.0, 2.0, 3, (Stage("decode", 0.0, 1.0, 1.0),)),
    RequestEnded("r", "POST", "/v1/stream", "default", "other", 101, None, 1.0, 2.0, 3, live=True),
    AttemptEnded("r", "a", 1, 1.0, 2.0, None, sent_bytes=5, billed_seconds=2.0, charge=Charge(0.1, "CNY", 2.0)),
    RetryScheduled("r", "a", 1, 0.1, ERROR),
    RetryRefused("r", "a", "budget"),
    CircuitChanged("a", "closed", "open"),
    LimitWaited("r", "a", "rate", "short", 0.1, refused=True),
    FailedOver("r", "default", "a", "a", ERROR),
    Hedged("r", "default", won=True),
    Shadowed("r", "default", "a", "compared", edits=1, tokens=4, seconds=0.1, shadow_seconds=0.2),
    BudgetRefused("r", "default", "a", "day"),
    TokenRefreshed("a", 0.1, 3600.0, None),
    ConfigReloaded(2, ERROR),
    LoopLagged(0.001),
)
FIGURES = Figures(
    ready=True,
    generation=1,
    in_flight=1,
    live_sessions=0,
    decoders=DecoderFigures(1, 1, 2, 0, 0),
    providers={
        "a": ProviderFigures(
            True,
            PolicyFigures("closed", 0, None, 1, 10, 5.0, 0.0, {"short": 1}, 4, 10.0),
            Connections(1, 1, 2, 3),
            TokenAge(1.0, 2.0, "open"),
        )
    },
    fleet=FleetFigures(True, {"a": 2}),
    spans=SpanFigures(1, 0, 0),
    log_lines_dropped=0,
    budgets={"default": (BudgetFigures("day", 1.0, 2.0, "CNY", 60.0),)},
)


def exposition() -> str:
    metrics = Metrics(routes=["default"], providers=["a"])
    metrics.watch(lambda: FIGURES)
    for event in EVERY_EVENT:
        metrics(event)
    return metrics.exposition("")[0].decode()


def exposed() -> Iterator[tuple[str, tuple[str, frozenset[str]]]]:
    for family in text_string_to_metric_families(exposition()):
        if family.name.startswith("asrproxy_") and not family.name.endswith("_created"):
            assert family.samples, family.name
            yield family.name, (family.type, frozenset().union(*(sample.labels for sample in family.samples)) - {"le"})


def test_every_metric_is_documented_with_its_type_and_labels_and_every_documented_one_is_there() -> None:
    documented = {
        name: (kind, frozenset(filter(None, re.split(r"[, ]+", labels)))) for name, kind, labels in ROW.findall(DOCS.read_text("utf-8"))
    }
    assert documented == dict(exposed())


def test_every_stage_is_documented() -> None:
    text = DOCS.read_text("utf-8").partition("## Stages")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \| \w", text, re.MULTILINE) == list(STAGES)


def test_promtool_finds_nothing_to_say() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    ours = "\n".join(line for line in exposition().split("\n") if "process_" not in line) + "\n"
    said = subprocess.run([program, "check", "metrics"], check=False, input=ours, capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
