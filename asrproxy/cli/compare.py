"""`asrproxy compare`: two vendors side by side, from a sidecar's shadows or on recordings of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asrproxy.cli.which import LanguageOption, OwnConfigOption, UrlOption, configuration_of, token, url_of


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="A B FILE...", help="Two providers or routes, and recordings; none: what the sidecar's shadows have found."),
    ] = None,
    url: UrlOption = None,
    config: OwnConfigOption = None,
    references: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What was said: lines of FILE, tab, text. Without it, FILE.txt beside a recording is taken."),
    ] = None,
    language: LanguageOption = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page with every text and a picture.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines in place of a table.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Recordings at once.")] = 2,
) -> None:
    """Compare two vendors: how much their texts differ, how wrong each is where it is known, how long they take and what they cost."""
    if names and len(names) < 3:
        raise typer.BadParameter("name two providers or routes and at least one recording, or nothing for the sidecar's shadows")
    if not names and (config is not None or references is not None or report is not None):
        raise typer.BadParameter("the sidecar's shadows know no recordings: name two providers or routes, and recordings")
    from asrproxy.cli.versus import Comparing, compare, shadows

    if not names:
        raise typer.Exit(shadows(url_of(url), token(), as_json=as_json))
    first, second, *files = names
    wanted = Comparing(first, second, tuple(files), references, language, report, as_json, jobs)
    raise typer.Exit(compare(wanted, configuration_of(url, config), url_of(url), token()))
