"""`asrproxy serve`: a sidecar until SIGTERM."""

from __future__ import annotations

from typing import Annotated

import typer

from asrproxy.cli.configured import ConfigOption
from asrproxy.cli.serving import serving


def command(
    config: ConfigOption = None,
    route: Annotated[
        str | None, typer.Option(metavar="NAME", help="The route that answers requests which name none.  [default: default]")
    ] = None,
) -> None:
    """Run the sidecar until SIGTERM or Ctrl-C. SIGHUP, or a change of the file or one it names, takes a new configuration."""
    raise typer.Exit(serving(config, route))
