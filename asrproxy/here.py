"""What a configuration names on a machine: looked at only by whoever is about to use it there, since it is also read elsewhere."""

from __future__ import annotations

import os
import stat
import tempfile
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, ValidationInfo

LONGEST_SOCKET: Final = 107
"""Bytes of a unix socket's path on Linux."""
_PURPOSE: Final = "purpose"


class Purpose(IntEnum):
    """What a configuration is loaded for."""

    READ = 0
    """A look at it: the files that its settings name may be on another machine."""
    WORK = 1
    """It is put to work on this machine, but for its addresses."""
    SERVE = 2
    """And listens at them."""

    @property
    def context(self) -> dict[str, object]:
        """For pydantic, which hands it to validators."""
        return {_PURPOSE: self}


def is_here(info: ValidationInfo, purpose: Purpose = Purpose.WORK) -> bool:
    """For a validator: whether the settings are put to work on this machine, so that what they name has to be there."""
    found: Purpose = (info.context or {}).get(_PURPOSE, Purpose.READ)
    return found >= purpose


def _certificates(value: Path, info: ValidationInfo) -> Path:
    if is_here(info):
        import ssl

        try:
            if value.exists() and not value.is_file():  # a pipe may never end
                raise ValueError(f"{value} is not a regular file")
            ssl.create_default_context(cafile=str(value))
        except ssl.SSLError:
            raise ValueError(f"{value} is not a PEM file of certificates") from None
        except OSError as error:
            raise ValueError(f"{value} cannot be read: {error.strerror or error}") from None
    return value


def _room(value: Path, info: ValidationInfo) -> Path:
    if is_here(info):
        try:
            tempfile.TemporaryFile(dir=value).close()  # has no name: nothing is left behind
        except OSError as error:
            raise ValueError(f"{value} is no folder to write files in: {error.strerror or error}") from None
    return value


def _room_to_be(value: Path, info: ValidationInfo) -> Path:
    if is_here(info):
        try:
            there = next(each for each in (value, *value.parents) if each.exists())
            tempfile.TemporaryFile(dir=there).close()
        except OSError as error:
            raise ValueError(f"{value} is no folder to write files in, nor can it be made: {error.strerror or error}") from None
    return value


CaFile = Annotated[Path, AfterValidator(_certificates)]
"""A PEM file with certificates of authorities."""

SpoolFolder = Annotated[Path, AfterValidator(_room)]
"""A folder that is there and can be written to."""

KeptFolder = Annotated[Path, AfterValidator(_room_to_be)]
"""A folder that can be written to, or can be made."""


def fault_of_socket(path: Path) -> str | None:
    """Why no unix socket can be made there; None: it can."""
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        return f"a unix socket's path has at most {LONGEST_SOCKET} bytes"
    folder = path.parent
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return f"{folder} is no folder"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"the folder {folder} cannot be written to"
        if not stat.S_ISSOCK(path.stat().st_mode):
            return f"{path} is there already and no socket"
    except FileNotFoundError:
        return None if folder.exists() else f"the folder {folder} is not there"
    except (OSError, ValueError) as error:
        return f"{path}: {getattr(error, 'strerror', None) or error}"
    return None
