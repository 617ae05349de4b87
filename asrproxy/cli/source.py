"""Where the configuration that a command works with comes from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asrproxy.errors import ConfigError
from asrproxy.here import Purpose

if TYPE_CHECKING:
    from asrproxy.config.models import Configuration


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration comes from. path: None for the built-in defaults."""

    path: Path | None
    route: str | None = None
    """The route that answers requests which name none; None: the one named `default`."""
    purpose: Purpose = Purpose.WORK

    @classmethod
    def of(cls, given: Path | None, *, route: str | None = None, purpose: Purpose = Purpose.WORK) -> Source:
        """In the order of the contract: the one given, the environment's, the usual place, the built-in defaults."""
        from asrproxy.config.load import find

        return cls(find(given, os.environ), route, purpose)

    def load(self) -> Configuration:
        """Reads it (anew). Raises ConfigError."""
        from asrproxy.config.load import load
        from asrproxy.discovery import provider_type

        configuration = load(
            self.path, environ=os.environ, provider_settings=lambda name: provider_type(name).Settings, purpose=self.purpose
        )
        if self.route is None:
            return configuration
        try:
            return configuration.with_default(self.route)
        except ValueError as error:
            raise ConfigError(f"{self}: {error}") from None

    def __str__(self) -> str:
        return "the built-in defaults" if self.path is None else str(self.path)
