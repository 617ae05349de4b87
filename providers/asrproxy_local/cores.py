"""How many cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def cores(quota: Path = _QUOTA) -> int:
    """Cores that the scheduler and the container's CPU limit (cgroup v2) leave, at least 1.

    A container limited to one core on a machine of 64 would otherwise start 64 threads and be throttled.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, period = quota.read_text().split()
        return max(1, min(allowed, math.ceil(int(most) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or `max`: no limit
        return max(1, allowed)
