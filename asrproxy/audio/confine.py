"""What a decoder process does to itself before it touches a stranger's bytes."""

from __future__ import annotations

import contextlib
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9


def die_with_parent() -> None:
    """The kernel ends this process when its parent ends, however that comes about."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def bound_memory(more: int) -> None:
    """What is mapped now and `more` bytes: past it an allocation fails, in the decoder's hands and not the machine's. No core dumps."""
    if sys.platform == "linux":
        import resource

        with open("/proc/self/statm", "rb") as statm:
            mapped = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + more, mapped + more))
        with contextlib.suppress(ValueError):  # the sidecar's own limit is as low
            resource.setrlimit(resource.RLIMIT_CORE, (1, 1))  # 0 would not hold where core dumps go to a pipe
