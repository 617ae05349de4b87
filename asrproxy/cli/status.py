"""`asrproxy status`: how a running sidecar is, as a table that moves."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from asrproxy.cli.which import UrlOption, token, url_of


def command(
    url: UrlOption = None,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks, on a terminal.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, on a terminal too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What /v1/status says, as it is.")] = False,
) -> None:
    """Show routes, providers, circuits, limits and latency of a running sidecar. Exit status 1 where it is not ready."""
    watching = sys.stdout.isatty() and not once and not as_json
    try:
        raise typer.Exit(asyncio.run(_show(url_of(url), token(), every=every if watching else None, as_json=as_json)))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


async def _show(url: str, token: str | None, *, every: float | None, as_json: bool) -> int:
    from asrproxy.cli.client import Failed, calling

    async with calling(url, token) as sidecar:
        try:
            await sidecar.reach()
            status = await sidecar.status()
            if as_json:
                print(json.dumps(status, ensure_ascii=False, indent=2))
            elif every is None:
                print(text(status))
            else:
                await _watch(sidecar, status, every)
        except Failed as error:
            print(f"asrproxy: {error}", file=sys.stderr)
            return 1
    return 0 if status["ready"] else 1


async def _watch(sidecar: Any, status: Mapping[str, Any], every: float) -> None:
    """Until Ctrl-C, or until the sidecar does not answer any more. Raises Failed."""
    from rich.live import Live
    from rich.text import Text

    with Live(Text(text(status)), auto_refresh=False, screen=True) as live:
        while True:
            live.update(Text(text(status)), refresh=True)
            await asyncio.sleep(every)
            status = await sidecar.status()


def text(status: Mapping[str, Any]) -> str:
    """What a person wants to know first, in a screenful."""
    from asrproxy.cli.columns import columns

    worker = status.get("worker")
    state = "draining" if status["draining"] else "ready" if status["ready"] else f"NOT READY: {status['reason']}"
    of = f", worker {worker['index'] + 1} of {worker['of']}" if worker else ""
    head = f"asrproxy {status['build']['version']}{of}, up {_duration(status['uptime'])}, {status['in_flight']} in flight, {state}"
    providers = [["provider", "type", "circuit", "in flight", "queued", "limit", "p50 s", "p95 s", "failed", "note"]]
    providers += [_provider(name, each) for name, each in status["providers"].items()]
    routes = [["route", "providers", "budget", "shadow"]]
    routes += [_route(name, each) for name, each in sorted(status["routes"].items(), key=lambda each: each[0] != "default")]
    return f"{head}\n\n{columns(providers)}\n\n{columns(routes)}"


def _provider(name: str, status: Mapping[str, Any]) -> list[str]:
    queued = sum(status["limiter"]["queued"].values())
    latency = status["latency"]
    note = status["reason"] or ""
    return [
        name, status["type"], status["circuit"]["state"], str(status["in_flight"]), str(queued), str(status["limiter"]["concurrency"]),
        *("-" if latency[each] is None else f"{latency[each]:.2f}" for each in ("p50", "p95")),
        f"{latency['failed']}/{latency['calls']}", note,
    ]  # fmt: skip


def _route(name: str, status: Mapping[str, Any]) -> list[str]:
    shadow = status.get("shadow")
    compared = "-" if not shadow else f"{shadow['provider']}: {shadow['compared']} compared"
    spent = [
        f"{period} {each['spent']:.2f} of {each['limit']:g} {each['currency']}" for period, each in (status.get("budget") or {}).items()
    ]
    return [name, ", ".join(status["providers"]), ", ".join(spent) or "-", compared]


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
