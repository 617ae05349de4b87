"""`asrproxy providers`: what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from asrproxy.errors import ConfigError

if TYPE_CHECKING:
    from asrproxy.plugin import Provider


def command(as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False) -> None:
    """List the installed provider types and what each can do."""
    from asrproxy.discovery import provider_type, provider_types

    found: list[dict[str, Any]] = []
    for name in provider_types():
        try:
            found.append(_described(name, provider_type(name)))
        except ConfigError as error:
            found.append({"type": name, "error": str(error)})
    if as_json:
        import json

        print(json.dumps(found, ensure_ascii=False, indent=2))
    elif not found:
        print("no provider type is installed")
    else:
        print(_table(found))


def _described(name: str, provider: type[Provider]) -> dict[str, Any]:
    """capabilities: with default settings; a configured provider may have others."""
    can = provider.capabilities
    return {
        "type": name,
        "summary": provider.summary,
        "capabilities": {
            "longest": can.longest,
            "whole": can.whole,
            "sample_rates": sorted({form.sample_rate for form in can.formats}),
            "languages": None if can.languages is None else sorted(can.languages),
            "options": sorted(can.options),
            "streaming": can.streaming,
            "concurrency": can.concurrency,
        },
    }


def _table(found: list[dict[str, Any]]) -> str:
    from asrproxy.cli.columns import columns

    rows = [["TYPE", "LONGEST", "LANGUAGES", "STREAMING", "OPTIONS", "SUMMARY"]]
    for each in found:
        if "error" in each:
            rows.append([each["type"], "", "", "", "", each["error"]])
            continue
        can = each["capabilities"]
        rows.append(
            [
                each["type"],
                f"{can['longest']:g} s",
                "any" if can["languages"] is None else _some(can["languages"]),
                "yes" if can["streaming"] else "no",
                ", ".join(can["options"]) or "-",
                each["summary"],
            ]
        )
    return columns(rows)


def _some(languages: list[str], most: int = 4) -> str:
    return ", ".join(languages[:most]) + (f" and {len(languages) - most} more" if len(languages) > most else "")
