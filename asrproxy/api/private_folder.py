"""A folder for a process's own sockets: removed at its end, and where it was killed, by the next one that makes one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "asrproxy-"
_LOCK: Final = "lock"
"""Held for as long as the folder's process lives: the kernel gives it back, however that ends."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that only this user may enter. Those of dead processes of this user are removed first."""
    _remove_dead(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        lock = os.open(folder / f"{_LOCK}.new", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)  # no child inherits it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"{_LOCK}.new").rename(folder / _LOCK)  # whoever sees it finds it held
            yield folder
        finally:
            os.close(lock)


def _remove_dead(place: Path) -> None:
    """What cannot be looked at or removed stays: nothing is worse for it."""
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX):
                with suppress(OSError):
                    _remove_if_dead(place / entry.name)


def _remove_if_dead(folder: Path) -> None:
    """Removes it where it is a folder of this user with a lock that nobody holds. Follows no link. Raises OSError: it is something else."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(opened).st_uid != os.geteuid():
            return
        lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held: BlockingIOError
            shutil.rmtree(folder)
        finally:
            os.close(lock)
    finally:
        os.close(opened)
