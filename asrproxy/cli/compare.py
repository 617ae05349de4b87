"""`asrproxy compare`: two vendors side by side, from a sidecar's shadows or on recordings of one's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from asrproxy.cli.recognize import DEFAULT_URL, TOKEN_VARIABLE, URL_VARIABLE


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="A B FILE...", help="Two providers or routes, and recordings; none: what the sidecar's shadows have found."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help=f"A running sidecar, http://HOST:PORT or unix:PATH.  [default: ${URL_VARIABLE}, {DEFAULT_URL}]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", metavar="FILE", help="Run a sidecar on this configuration for as long as it takes.")
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What was said: lines of FILE, tab, text. Without it, FILE.txt beside a recording is taken."),
    ] = None,
    language: Annotated[str | None, typer.Option(help="BCP 47 tag, a hint: zh-CN, en-US.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page with every text and a picture.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines in place of a table.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Recordings at once.")] = 2,
) -> None:
    """Compare two vendors: how much their texts differ, how wrong each is where it is known, how long they take and what they cost."""
    if url is not None and config is not None:
        raise typer.BadParameter("--url is for a sidecar that runs, -c starts one: give one of them")
    if names and len(names) < 3:
        raise typer.BadParameter("name two providers or routes and at least one recording, or nothing for the sidecar's shadows")
    if not names and (config is not None or references is not None or report is not None):
        raise typer.BadParameter("the sidecar's shadows know no recordings: name two providers or routes, and recordings")
    from asrproxy.cli.configured import Source
    from asrproxy.cli.versus import Comparing, compare, shadows

    configuration = Source.of(config).load() if config is not None else None
    address = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    token = os.environ.get(TOKEN_VARIABLE)
    if not names:
        raise typer.Exit(shadows(address, token, as_json=as_json))
    first, second, *files = names
    wanted = Comparing(first, second, tuple(files), references, language, report, as_json, jobs)
    raise typer.Exit(compare(wanted, configuration, address, token))
