"""The configuration that a command works with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asrproxy.config.models import Configuration

ConfigOption = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="FILE", help="Configuration file.  [default: $ASRPROXY_CONFIG, config/asrproxy.yaml, built-in]"),
]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration comes from. path: None for the built-in defaults."""

    path: Path | None

    @classmethod
    def of(cls, given: Path | None) -> Source:
        """In the order of the contract: the one given, the environment's, the usual place, the built-in defaults."""
        from asrproxy.config.load import find

        return cls(find(given, os.environ))

    def load(self) -> Configuration:
        """Reads it (anew). Raises ConfigError."""
        from asrproxy.config.load import load
        from asrproxy.discovery import provider_type

        return load(self.path, environ=os.environ, provider_settings=lambda name: provider_type(name).Settings)

    def __str__(self) -> str:
        return "the built-in defaults" if self.path is None else str(self.path)
