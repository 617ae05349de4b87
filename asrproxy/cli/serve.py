"""`asrproxy serve`: a sidecar until SIGTERM."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from asrproxy.cli.configured import ConfigOption, Source
from asrproxy.errors import ConfigError
from asrproxy.here import Purpose


def command(
    config: ConfigOption = None,
    route: Annotated[
        str | None, typer.Option(metavar="NAME", help="The route that answers requests which name none.  [default: default]")
    ] = None,
) -> None:
    """Run the sidecar until SIGTERM or Ctrl-C. SIGHUP, or a change of the file or one it names, takes a new configuration."""
    source = Source.of(config, route=route, purpose=Purpose.SERVE)
    configuration = source.load()
    from asrproxy.api.serve import serve

    try:
        status = serve(configuration, source.path, source.load)
    except ConfigError as error:  # the file is good, but an address is taken or a provider cannot start here
        print(f"asrproxy: {error}", file=sys.stderr)
        status = 1
    raise typer.Exit(status)
