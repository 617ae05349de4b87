"""`asrproxy webhook`: a server that a cluster asks about each new pod."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from asrproxy.cli.injection import ImageOption, SettingsOption, settings_of
from asrproxy.errors import ConfigError


def command(
    certificate: Annotated[Path, typer.Option("--cert", metavar="FILE", help="Certificate chain, PEM; taken anew when it changes.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Its key, PEM.")],
    settings: SettingsOption = None,
    image: ImageOption = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the API server comes to.")] = "0.0.0.0:8443",
    linger: Annotated[float, typer.Option(min=0, max=600, help="Seconds of serving on after SIGTERM.")] = 5.0,
) -> None:
    """Serve the mutating webhook over TLS until SIGTERM.

    POST /inject gives a sidecar to pods that ask for one, POST /inject/all to all but those that say no.
    """
    if re.fullmatch(r"[^/\s]*:\d{1,5}", listen) is None or int(listen.rpartition(":")[2]) > 65535:
        raise typer.BadParameter("expected HOST:PORT", param_hint="--listen")
    decided = settings_of(settings, image=image)
    from asrproxy.config.models import LogSettings
    from asrproxy.kube.webhook import serve

    try:
        status = serve(decided, certificate=certificate, key=key, listen=listen, log=LogSettings(), linger=linger)
    except ConfigError as error:
        print(f"asrproxy: {error}", file=sys.stderr)
        status = 1
    raise typer.Exit(status)
