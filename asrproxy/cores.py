"""How many cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_GROUP: Final = Path("/sys/fs/cgroup")


def cores(group: Path = _GROUP) -> int:
    """Cores that the scheduler and the container's CPU limit (cgroup v2 or v1) leave, at least 1.

    A container limited to one core on a machine of 64 would otherwise start 64 processes, and be throttled.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = (_quota(group / "cpu.max"), _quota(group / "cpu/cpu.cfs_quota_us", group / "cpu/cpu.cfs_period_us"))
    return max(1, min([allowed, *(math.ceil(limit) for limit in found if limit)]))


def _quota(*files: Path) -> float | None:
    """Cores' worth of time; None: these files are not here, or say that there is no limit (`max`, -1)."""
    try:
        most, period = " ".join(file.read_text() for file in files).split()
        quota = int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return quota if quota > 0 else None
