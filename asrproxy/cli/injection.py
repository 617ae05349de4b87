"""The options about sidecars that `inject`, `webhook` and `admission-policy` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asrproxy.kube.settings import InjectionSettings

SettingsOption = Annotated[
    Path | None, typer.Option("--settings", metavar="FILE", help="What sidecars are like: docs/injection.md.  [default: built-in]")
]
ImageOption = Annotated[str | None, typer.Option("--image", help="The sidecar's image, over the settings'.")]


def settings_of(path: Path | None, **over: object) -> InjectionSettings:
    """The file's, with what the command line says over them (None: it says nothing). Raises ConfigError, BadParameter."""
    from pydantic import ValidationError

    from asrproxy.kube.settings import InjectionSettings, load

    settings = load(path)
    said = {name: value for name, value in over.items() if value is not None}
    try:
        return InjectionSettings.model_validate({**settings.model_dump(), **said}) if said else settings
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(message, param_hint=f"--{str(first['loc'][0]).replace('_', '-')}") from None
