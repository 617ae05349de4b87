"""Writes asrproxy.json, the Grafana dashboard, from the tables below: `python deploy/grafana/generate.py [--check]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).resolve().parent / "asrproxy.json"
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
ROUTES: Final = 'instance=~"$instance",route=~"$route"'
PROVIDERS: Final = 'instance=~"$instance",provider=~"$provider"'
ALL: Final = 'instance=~"$instance"'

# Row, and its panels: title, unit, queries with legends, and whether they are stacked.
Panel = tuple[str, str, list[tuple[str, str]], bool]
ROWS: Final[list[tuple[str, list[Panel]]]] = [
    ("Callers", [
        ("Requests", "reqps", [(f"sum by (route, code) (rate(asrproxy_requests_total{{{ROUTES}}}[$__rate_interval]))", "{{route}} {{code}}")], True),
        ("Failed, of 100", "percentunit", [
            (f'sum by (route) (rate(asrproxy_requests_total{{{ROUTES},status=~"5..|429"}}[$__rate_interval])) / sum by (route) (rate(asrproxy_requests_total{{{ROUTES},status!="499"}}[$__rate_interval]))', "{{route}}"),
        ], False),
        ("Answered within", "s", [
            (f"histogram_quantile({share}, sum by (le) (rate(asrproxy_request_duration_seconds_bucket{{{ROUTES}}}[$__rate_interval])))", f"{int(share * 100)} of 100")
            for share in (0.5, 0.9, 0.99)
        ], False),
        ("Under way", "short", [(f"sum(asrproxy_requests_in_flight{{{ALL}}})", "requests"), (f"sum(asrproxy_live_sessions{{{ALL}}})", "live sessions")], False),
        ("Time by stage", "s", [
            (f"sum by (stage) (rate(asrproxy_request_stage_duration_seconds_sum{{{ALL}}}[$__rate_interval])) / ignoring (stage) group_left sum(rate(asrproxy_request_duration_seconds_count{{{ALL}}}[$__rate_interval]))", "{{stage}}"),
        ], True),
        ("Audio a second", "s", [(f"sum by (route) (rate(asrproxy_received_audio_seconds_total{{{ROUTES}}}[$__rate_interval]))", "{{route}}")], True),
    ]),
    ("Vendors", [
        ("Calls", "reqps", [(f"sum by (provider, outcome) (rate(asrproxy_attempts_total{{{PROVIDERS}}}[$__rate_interval]))", "{{provider}} {{outcome}}")], True),
        ("Calls take", "s", [
            (f"histogram_quantile({share}, sum by (le, provider) (rate(asrproxy_attempt_duration_seconds_bucket{{{PROVIDERS}}}[$__rate_interval])))", f"{{{{provider}}}} {int(share * 100)} of 100")
            for share in (0.5, 0.95)
        ], False),
        ("Circuits that are not closed", "short", [(f'max by (circuit, state) (asrproxy_circuit_state{{{ALL},state!="closed"}})', "{{circuit}} {{state}}")], False),
        ("Repeats, moves and second calls", "reqps", [
            (f"sum by (provider) (rate(asrproxy_retries_total{{{PROVIDERS}}}[$__rate_interval]))", "repeats at {{provider}}"),
            (f"sum by (before, after) (rate(asrproxy_failovers_total{{{ROUTES}}}[$__rate_interval]))", "{{before}} to {{after}}"),
            (f"sum by (route, outcome) (rate(asrproxy_hedges_total{{{ROUTES}}}[$__rate_interval]))", "second calls {{route}} {{outcome}}"),
        ], False),
        ("Connections", "short", [
            (f"sum by (provider, state) (asrproxy_pool_connections{{{PROVIDERS}}})", "{{provider}} {{state}}"),
            (f"sum by (provider) (rate(asrproxy_pool_connections_opened_total{{{PROVIDERS}}}[$__rate_interval]))", "{{provider}} opened a second"),
        ], False),
        ("Token holds for", "s", [(f"min by (provider) (asrproxy_token_remaining_seconds{{{PROVIDERS}}})", "{{provider}}")], False),
    ]),
    ("Limits", [
        ("Calls under way, and the limit", "short", [
            (f"sum by (provider) (asrproxy_attempts_in_flight{{{PROVIDERS}}})", "{{provider}}"),
            (f"sum by (provider) (asrproxy_concurrency_limit{{{PROVIDERS}}})", "{{provider}} limit"),
        ], False),
        ("Waiting for a permit", "short", [(f"sum by (provider, traffic) (asrproxy_queued_calls{{{PROVIDERS}}})", "{{provider}} {{traffic}}")], True),
        ("Waited", "s", [
            (f"histogram_quantile(0.95, sum by (le, provider, traffic) (rate(asrproxy_limit_wait_duration_seconds_bucket{{{PROVIDERS}}}[$__rate_interval])))", "{{provider}} {{traffic}} 95 of 100"),
        ], False),
        ("Refused", "reqps", [(f"sum by (provider, limit) (rate(asrproxy_limit_refusals_total{{{PROVIDERS}}}[$__rate_interval]))", "{{provider}} {{limit}}")], False),
    ]),
    ("Money", [
        ("Cost an hour", "short", [(f"sum by (provider, currency) (rate(asrproxy_cost_total{{{PROVIDERS}}}[$__rate_interval])) * 3600", "{{provider}} {{currency}}")], True),
        ("By caller, an hour", "short", [(f"sum by (caller, currency) (rate(asrproxy_cost_total{{{PROVIDERS}}}[$__rate_interval])) * 3600", "{{caller}} {{currency}}")], True),
        ("Budget spent", "percentunit", [(f"max by (route, period) (asrproxy_budget_spent{{{ROUTES}}}) / max by (route, period) (asrproxy_budget_limit{{{ROUTES}}})", "{{route}} {{period}}")], False),
        ("Shadow differs", "percentunit", [
            (f"sum by (route, provider) (rate(asrproxy_shadow_disagreements_total{{{ROUTES}}}[$__rate_interval])) / sum by (route, provider) (rate(asrproxy_shadow_tokens_total{{{ROUTES}}}[$__rate_interval]))", "{{route}} and {{provider}}"),
        ], False),
    ]),
    ("The sidecars", [
        ("Memory", "bytes", [(f"process_resident_memory_bytes{{{ALL}}}", "{{instance}}")], False),
        ("Processor", "percentunit", [(f"rate(process_cpu_seconds_total{{{ALL}}}[$__rate_interval])", "{{instance}}")], False),
        ("Event loop late by", "s", [(f"histogram_quantile(0.99, sum by (le, instance) (rate(asrproxy_event_loop_lag_seconds_bucket{{{ALL}}}[$__rate_interval])))", "{{instance}} 99 of 100")], False),
        ("Decoders", "short", [
            (f"sum by (state) (asrproxy_decoder_processes{{{ALL}}})", "{{state}}"),
            (f"sum by (reason) (rate(asrproxy_decoder_failures_total{{{ALL}}}[$__rate_interval]))", "{{reason}} a second"),
        ], False),
        ("Configuration", "short", [
            (f"max by (instance) (asrproxy_config_generation{{{ALL}}})", "generation {{instance}}"),
            (f"sum by (instance) (increase(asrproxy_config_reload_failures_total{{{ALL}}}[$__rate_interval]))", "refused {{instance}}"),
        ], False),
    ]),
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the file is out of date")
    text = json.dumps(dashboard(), indent=1) + "\n"
    if parser.parse_args().check:
        return 0 if FILE.read_text("utf-8") == text else 1
    FILE.write_text(text, "utf-8")
    return 0


def dashboard() -> dict[str, Any]:
    """Grafana's own model, schema 39 (Grafana 10 and newer)."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row, inside in ROWS:
        panels.append({"type": "row", "title": row, "collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": top}, "panels": []})
        top += 1
        for number, panel in enumerate(inside):
            panels.append(_panel(*panel, {"h": 8, "w": 8, "x": 8 * (number % 3), "y": top + 8 * (number // 3)}))
        top += 8 * -(-len(inside) // 3)
    for number, panel_ in enumerate(panels, 1):
        panel_["id"] = number
    return {
        "uid": "asrproxy",
        "title": "asrproxy",
        "tags": ["asrproxy", "speech"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource(), *(_variable(*each) for each in VARIABLES)]},
        "annotations": {"list": [_reloads()]},
        "panels": panels,
    }


VARIABLES: Final = (
    ("instance", "asrproxy_build_info"),
    ("route", "asrproxy_requests_total"),
    ("provider", "asrproxy_attempts_total"),
)


def _panel(title: str, unit: str, queries: list[tuple[str, str]], stacked: bool, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "exemplar": "_bucket" in expression,
        }
        for number, (expression, legend) in enumerate(queries)
    ]
    custom = {"lineWidth": 1, "fillOpacity": 20 if stacked else 5, "stacking": {"mode": "normal" if stacked else "none", "group": "A"}}
    return {
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def _datasource() -> dict[str, Any]:
    return {"type": "datasource", "name": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(name: str, metric: str) -> dict[str, Any]:
    query = f"label_values({metric}, {name})"
    return {
        "type": "query", "name": name, "datasource": SOURCE, "query": {"query": query, "refId": name}, "definition": query, "refresh": 2,
        "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "sort": 1,
    }  # fmt: skip


def _reloads() -> dict[str, Any]:
    return {
        "name": "Configuration taken", "datasource": SOURCE, "enable": True, "iconColor": "blue",
        "expr": "changes(asrproxy_config_generation[1m]) > 0", "titleFormat": "configuration taken at {{instance}}",
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
