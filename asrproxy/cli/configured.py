"""The option that names a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="FILE", help="Configuration file.  [default: $ASRPROXY_CONFIG, config/asrproxy.yaml, built-in]"),
]
