"""`asrproxy emulate NAME`: a vendor's emulator, from whatever package has one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Annotated, Any, Final, cast

import typer

GROUP: Final = "asrproxy.emulators"
CONTEXT: Final[dict[str, Any]] = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,  # all after the name is the emulator's, `--help` too
    "ignore_unknown_options": True,
    "help_option_names": [],
}


def names(incomplete: str) -> list[str]:
    """For the shell."""
    return sorted(name for name in entry_points(group=GROUP).names if name.startswith(incomplete))


def command(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME [ARGS]...", help="Whose service to emulate.", autocompletion=names)] = None,
) -> None:
    """Emulate a vendor's service on this machine, for tests and for people with no account."""
    points = entry_points(group=GROUP)
    if name in (None, "--help", "-h"):
        print(context.get_help())
        print(f"\n{_installed(list(points.names))}\nAsk one for its own options: asrproxy emulate NAME --help")
        raise typer.Exit(2 if name is None else 0)
    found = [point for point in points if point.name == name]
    if len(found) != 1:
        problem = f"{name!r} is claimed by {', '.join(point.value for point in found)}" if found else f"no emulator {name!r}"
        print(f"asrproxy emulate: {problem}; {_installed(list(points.names))}", file=sys.stderr)
        raise typer.Exit(2)
    try:
        run = cast("Callable[[list[str]], int]", found[0].load())
    except ImportError as error:
        print(f"asrproxy emulate: {name} cannot be loaded: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    raise typer.Exit(run(list(context.args)))


def _installed(names: list[str]) -> str:
    return f"installed: {', '.join(sorted(names)) or 'none'}"
