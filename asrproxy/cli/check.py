"""`asrproxy check`: whether a configuration is good, and with --live whether its providers answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from asrproxy.cli.configured import ConfigOption
from asrproxy.cli.source import Source
from asrproxy.errors import ConfigError
from asrproxy.here import Purpose

if TYPE_CHECKING:
    from asrproxy.config.models import Configuration


def command(
    config: ConfigOption = None,
    live: Annotated[bool, typer.Option("--live", help="Also send each provider 3 s of speech. It may cost money.")] = False,
) -> None:
    """Check a configuration and show what it amounts to. Exit status 2: the file is not good; 1: a provider did not answer well."""
    source = Source.of(config, purpose=Purpose.SERVE)
    configuration = source.load()
    print(f"{source}: good\n")
    print(_shown(configuration))
    for warning in _warnings(configuration):
        print(f"\nwarning: {warning}", file=sys.stderr)
    if live:
        from asrproxy.cli.live import answers

        print()
        try:
            raise typer.Exit(answers(configuration))
        except ConfigError as error:
            print(f"asrproxy: {error}", file=sys.stderr)
            raise typer.Exit(1) from error


def _shown(configuration: Configuration) -> str:
    from asrproxy.cli.columns import columns

    server = configuration.server
    rows = [["api", *_listed(server.listen)], ["ops", *_listed(server.ops_listen)]]
    providers = [[name, entry.type, _policy(configuration, name)] for name, entry in configuration.providers.items()]
    routes = [(name, ", ".join(route.providers)) for name, route in configuration.every_route().items()]
    return "\n".join(
        [
            columns(rows),
            "",
            "providers",
            columns(providers, indent="  "),
            "",
            "routes",
            columns(sorted(routes, key=_default_first), indent="  "),
        ]
    )


def _listed(addresses: tuple[str, ...]) -> list[str]:
    return [", ".join(addresses) or "none"]


def _policy(configuration: Configuration, name: str) -> str:
    policy = configuration.providers[name].policy
    limits = policy.limits
    rate = "any rate" if limits.rate is None else f"{limits.rate:g} calls/s"
    tries = "1 try" if policy.retries.attempts == 1 else f"{policy.retries.attempts} tries"
    return f"{tries} of {policy.attempt_timeout:g} s, {rate}, {limits.concurrency} at once"


def _default_first(route: Sequence[str]) -> bool:
    from asrproxy.config.models import DEFAULT_ROUTE

    return route[0] != DEFAULT_ROUTE


def _warnings(configuration: Configuration) -> list[str]:
    server = configuration.server
    outside = [each for each in server.listen if not each.startswith(("unix:", "127.", "localhost:", "[::1]:", ":"))]
    if outside and not server.tokens:
        return [f"{', '.join(outside)} is reached from other machines and server.tokens is empty: whoever comes by spends your money"]
    return []
