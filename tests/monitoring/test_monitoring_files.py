"""Rules and dashboard are valid, up to date, and ask for nothing but what a sidecar exposes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "asrproxy.rules.yaml"
DASHBOARD = DEPLOY / "grafana" / "asrproxy.json"
METRICS = (DEPLOY.parent / "docs" / "metrics.md").read_text("utf-8")
NAME = re.compile(r"\b(?:asrproxy|process)_[a-z_]+")


def exposed() -> dict[str, set[str]]:
    """Names as they are scraped, from the page that a test holds to the registry, with their labels."""
    found: dict[str, set[str]] = {}
    for name, kind, labels in re.findall(r"^\| `(asrproxy_[a-z_]+)` \| (\w+) \|([^|]*)\|", METRICS, re.MULTILINE):
        suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}[kind]
        for suffix in suffixes:
            found[name + suffix] = {each.strip() for each in labels.split(",") if each.strip()} | ({"le"} if suffix == "_bucket" else set())
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes"):
        found[name] = set()
    return found


def queries() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked = [rule["expr"] for group in rules()["groups"] for rule in group["rules"]]
    return [*shown, *asked, *(each["expr"] for each in dashboard["annotations"]["list"])]


def rules() -> Any:
    return yaml.safe_load(RULES.read_text("utf-8"))


def promtool(*words: str, folder: Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules_and_their_unit_tests_pass() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES.name, folder=RULES.parent)
    assert "SUCCESS" in promtool("test", "rules", "asrproxy.rules.test.yaml", folder=RULES.parent)


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_what_there_is(query: str) -> None:
    there = exposed()
    names = [name for name in NAME.findall(query) if f"{name}:" not in query]
    assert names or "asrproxy:request_errors" in query
    for name, labels in re.findall(r"\b((?:asrproxy|process)_[a-z_]+)\{([^}]*)\}", query):
        assert name in there
        asked = set(re.findall(r"(\w+)\s*[=!]~?", labels)) - {"instance"}
        assert asked <= there[name], f"{name} has no label {asked - there[name]}"
    assert {name for name in names if not name.endswith("_")} <= set(there) | {"asrproxy_config_generation"}


def test_a_dashboards_query_is_promql(tmp_path: Path) -> None:
    """Promtool checks expressions of rules: each of the dashboard's becomes one, its variables filled in."""
    filled = [query.replace("$__rate_interval", "5m").replace("$instance", ".*") for query in queries()]
    filled = [query.replace("$route", ".*").replace("$provider", ".*") for query in filled]
    rules = [{"record": f"asrproxy:query:{number}", "expr": query} for number, query in enumerate(filled)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", "queries.yaml", folder=tmp_path)


def test_the_dashboard_is_what_its_generator_makes() -> None:
    assert subprocess.run([sys.executable, str(DEPLOY / "grafana" / "generate.py"), "--check"], check=False).returncode == 0


def test_panels_lie_side_by_side_and_have_numbers_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    page = (DEPLOY.parent / "docs" / "alerts.md").read_text("utf-8")
    anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
    for group in rules()["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["labels"]["severity"] in ("page", "ticket")
                path, _, anchor = rule["annotations"]["runbook"].partition("#")
                assert path == "docs/alerts.md"
                assert anchor in anchors
