"""What `asrproxy serve` does, without the library that reads command lines: a sidecar would keep its 2 MB for life."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from asrproxy.cli.source import Source
from asrproxy.errors import ConfigError
from asrproxy.here import Purpose


def plain(arguments: Sequence[str]) -> tuple[Path | None, str | None] | None:
    """Configuration and route of a command line that is `serve` with nothing but these; None: it has to be read properly."""
    match arguments:
        case ["serve"]:
            return None, None
        case ["serve", "-c" | "--config", file] if _is_value(file):
            return Path(file), None
        case ["serve", "-c" | "--config", file, "--route", route] if _is_value(file) and _is_value(route):
            return Path(file), route
        case ["serve", "--route", route] if _is_value(route):
            return None, route
    return None


def serving(config: Path | None, route: str | None) -> int:
    """Runs the sidecar; the process's exit status. Raises ConfigError."""
    source = Source.of(config, route=route, purpose=Purpose.SERVE)
    configuration = source.load()
    from asrproxy.api.serve import serve

    try:
        return serve(configuration, source.path, source.load)
    except ConfigError as error:  # the file is good, but an address is taken or a provider cannot start here
        print(f"asrproxy: {error}", file=sys.stderr)
        return 1


def _is_value(word: str) -> bool:
    return bool(word) and not word.startswith("-")
