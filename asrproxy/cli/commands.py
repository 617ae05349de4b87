"""The commands of `asrproxy`, each in a file of its own that imports what it needs when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from asrproxy.cli.admission_policy import command as admission_policy
from asrproxy.cli.check import command as check
from asrproxy.cli.compare import command as compare
from asrproxy.cli.emulate import CONTEXT
from asrproxy.cli.emulate import command as emulate
from asrproxy.cli.health import command as health
from asrproxy.cli.inject import command as inject
from asrproxy.cli.listen import command as listen
from asrproxy.cli.providers import command as providers
from asrproxy.cli.recognize import command as recognize
from asrproxy.cli.schema import command as schema
from asrproxy.cli.serve import command as serve
from asrproxy.cli.status import command as status
from asrproxy.cli.tail import command as tail
from asrproxy.cli.webhook import command as webhook

app = typer.Typer(
    name="asrproxy",
    help="A sidecar proxy for speech recognition: any audio in, text out.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich is half of the start-up time
    pretty_exceptions_enable=False,
)
app.command("serve")(serve)
app.command("recognize")(recognize)
app.command("listen")(listen)
app.command("check")(check)
app.command("health")(health)
app.command("providers")(providers)
app.command("schema")(schema)
app.command("compare")(compare)
app.command("status")(status)
app.command("tail")(tail)
app.command("emulate", context_settings=CONTEXT, add_help_option=False)(emulate)
app.command("inject")(inject)
app.command("webhook")(webhook)
app.command("admission-policy")(admission_policy)


def run() -> None:
    """Runs the command that the process was given, and ends the process. Raises ConfigError."""
    try:
        sys.exit(app(prog_name="asrproxy", standalone_mode=False))
    except typer.Abort:
        sys.exit(1)
    except TyperException as error:
        _tell(error)
        sys.exit(error.exit_code)


def _tell(error: TyperException) -> None:
    """One line, where typer would write four; the help, where nothing was asked."""
    said = error.format_message().strip()
    if "\n" in said:
        print(said, file=sys.stderr)
        return
    context = getattr(error, "ctx", None)
    command = "asrproxy" if context is None else context.command_path
    said = said.replace(": Value error, ", ": ").rstrip(".")
    print(f"{command}: {said[:1].lower()}{said[1:]} (see {command} --help)", file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        from asrproxy import __version__

        print(f"asrproxy {__version__} (Python {sys.version.split()[0]})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    pass
