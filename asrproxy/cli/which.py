"""Which sidecar a command asks, and by which of its routes: one that runs, or one of the command's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from asrproxy.errors import ConfigError

if TYPE_CHECKING:
    from asrproxy.config.models import Configuration

DEFAULT_URL: Final = "http://127.0.0.1:8790"
URL_VARIABLE: Final = "ASRPROXY_URL"
TOKEN_VARIABLE: Final = "ASRPROXY_TOKEN"  # noqa: S105 -- the variable's name
PATIENCE: Final = 1.0
"""Seconds that somebody who has pressed the tab key waits for a sidecar's routes."""


def url_of(given: str | None) -> str:
    """The one given, the environment's, the default. Raises BadParameter: it is no address."""
    url = given or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    if not _is_address(url):
        missing = "" if "://" in url else "; http:// is missing"
        raise typer.BadParameter(
            f"expected http://HOST:PORT or unix:PATH, not {url!r}{missing}", param_hint="--url" if given else f"${URL_VARIABLE}"
        )
    return url


def _is_address(url: str) -> bool:
    if url.startswith("unix:"):
        return url != "unix:"
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def token() -> str | None:
    """The bearer token for it, where there is one."""
    return os.environ.get(TOKEN_VARIABLE)


def configuration_of(url: str | None, config: Path | None) -> Configuration | None:
    """What a sidecar of our own runs on, None: the one at `url` is asked. Raises ConfigError, BadParameter."""
    if url is not None and config is not None:
        raise typer.BadParameter("--url is for a sidecar that runs, -c starts one: give one of them")
    if config is None:
        return None
    from asrproxy.cli.source import Source

    return Source(config).load()


def routes(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the routes that a command line could mean, as far as it is typed; none where nobody can say."""
    try:
        names = _routes(context.params.get("url"), context.params.get("config"))
    except (ConfigError, typer.BadParameter, OSError, ValueError, KeyError, TypeError):
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def _routes(url: str | None, config: Path | None) -> list[str]:
    if config is not None:
        from asrproxy.cli.source import Source
        from asrproxy.here import Purpose

        return list(Source(Path(config), purpose=Purpose.READ).load().every_route())
    import json

    from asrproxy.cli.plain import connection

    asking = connection(url_of(url), PATIENCE)
    try:
        secret = token()
        asking.request("GET", "/v1/status", headers={"Authorization": f"Bearer {secret}"} if secret else {})
        body: dict[str, Any] = json.loads(asking.getresponse().read())
    finally:
        asking.close()
    return list(body["routes"])


UrlOption = Annotated[
    str | None, typer.Option("--url", help=f"A running sidecar, http://HOST:PORT or unix:PATH.  [default: ${URL_VARIABLE}, {DEFAULT_URL}]")
]
OwnConfigOption = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="Run a sidecar on this configuration for as long as it takes.")
]
LanguageOption = Annotated[str | None, typer.Option(help="BCP 47 tag, a hint: zh-CN, en-US.")]
RouteOption = Annotated[str | None, typer.Option(help="A route, or a provider by its name.", autocompletion=routes)]
WordsOption = Annotated[bool, typer.Option("--words", help="Times of words, in JSON.")]
PunctuationOption = Annotated[bool | None, typer.Option(help="Punctuation in the text.")]
ItnOption = Annotated[bool | None, typer.Option(help="Numbers as digits.")]
VocabularyOption = Annotated[str | None, typer.Option(help="Hot-word list id, or comma-separated hot words.")]
