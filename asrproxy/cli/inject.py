"""`asrproxy inject`: manifests with a sidecar in each of their pods."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from asrproxy.cli.injection import ImageOption, SettingsOption, settings_of
from asrproxy.errors import ConfigError


class Mode(StrEnum):
    """As in the settings; typer makes the choice of it."""

    native = "native"
    classic = "classic"


class Fail(StrEnum):
    """What becomes of a pod that cannot have a sidecar."""

    closed = "closed"
    open = "open"


def command(
    files: Annotated[
        list[str] | None, typer.Option("-f", "--filename", metavar="FILE|-", help="Manifests; several times for several.  [default: -]")
    ] = None,
    settings: SettingsOption = None,
    image: ImageOption = None,
    mode: Annotated[Mode | None, typer.Option(help="Over the settings'; a pod's own annotation wins.")] = None,
    fail: Annotated[
        Fail | None,
        typer.Option(help="A pod that cannot have a sidecar: closed: nothing is written, exit status 1; open: it stays as it is."),
    ] = None,
) -> None:
    """Print manifests with a sidecar in each pod and pod template. All else comes out as it went in.

    Exit status 1: a pod cannot have one; 2: a file is no YAML.
    """
    decided = settings_of(settings, image=image, mode=mode, fail=fail)
    from asrproxy.kube.manifest import Refusal, injected, joined

    texts: list[str] = []
    refusals: list[Refusal] = []
    for name in files or ["-"]:
        done = injected(_read(name), "stdin" if name == "-" else name, decided)
        texts.append(done.text)
        refusals.extend(done.refusals)
    for refusal in refusals:
        print(refusal, file=sys.stderr)
    if refusals and decided.fail == "closed":
        # Half of a list of manifests would be applied by what stands behind the pipe.
        print("asrproxy inject: nothing was written; --fail open leaves such pods as they are", file=sys.stderr)
        raise typer.Exit(1)
    sys.stdout.flush()
    sys.stdout.buffer.write(joined(texts).encode())
    sys.stdout.buffer.flush()


def _read(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.buffer.read().decode("utf-8-sig")
        with open(name, "rb") as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{name}: cannot be read: it is not UTF-8 text") from error
