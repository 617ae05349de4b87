"""`asrproxy health`: whether the sidecar of this container is alive, for engines that run a command to find out."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from http.client import HTTPConnection

DEFAULT_URL: Final = "http://127.0.0.1:8791"
URL_VARIABLE: Final = "ASRPROXY_OPS_URL"
TIMEOUT: Final = 3.0


def command(
    url: Annotated[
        str | None, typer.Option(help=f"Its ops port, http://HOST:PORT or unix:PATH.  [default: ${URL_VARIABLE}, {DEFAULT_URL}]")
    ] = None,
    ready: Annotated[bool, typer.Option("--ready", help="Whether it can answer now, in place of whether it is alive.")] = False,
) -> None:
    """Ask a sidecar on this machine whether it is alive. Exit status 0: it is; 1: it is not, or did not say so within 3 s."""
    address = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    from asrproxy.cli.plain import connection

    try:
        asking = connection(address, TIMEOUT)
    except ValueError as error:
        raise typer.BadParameter(f"{address!r}: {error}", param_hint="--url") from None
    status, said = _asked(asking, "/readyz" if ready else "/livez")
    print(said, file=sys.stdout if status == 0 else sys.stderr)
    raise typer.Exit(status)


def _asked(connection: HTTPConnection, path: str) -> tuple[int, str]:
    """The exit status, and a line about it."""
    from http.client import HTTPException

    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(65536).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        return 1, f"no answer from {path}: {error}"
    finally:
        connection.close()
    return (0 if answer.status == 200 else 1), body
