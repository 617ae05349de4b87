"""What the process of a sidecar asks of the kernel before it opens anything: no core dumps, and every descriptor that it may have."""

from __future__ import annotations

import contextlib
import sys
from typing import Final

_NO_CORE: Final = 1
"""Bytes. Not 0: where `core_pattern` is a pipe, Linux takes 0 for no limit at all, and a limit of 1 is what keeps it from dumping."""


def set_process_limits() -> None:
    """For this process and those it starts: secrets and audio in memory are never written to a core file; thousands of idle connections
    need not keep others from being accepted."""
    if sys.platform == "win32":
        return
    import resource

    with contextlib.suppress(OSError, ValueError):  # an even lower limit may have been set for us
        resource.setrlimit(resource.RLIMIT_CORE, (_NO_CORE, _NO_CORE))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS says `unlimited` and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
