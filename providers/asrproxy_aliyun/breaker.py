"""pybreaker without the Redis client, which it imports wherever that is installed: 19 MB and 0.3 s for a storage that is not used here."""

from __future__ import annotations

import sys


def _alone() -> None:
    if "redis" in sys.modules or "pybreaker" in sys.modules:
        return
    # None in sys.modules is how Python is told that a module cannot be imported; pybreaker then does without.
    sys.modules["redis"] = None  # type: ignore[assignment]
    try:
        import pybreaker  # noqa: F401
    finally:
        del sys.modules["redis"]


_alone()

import pybreaker  # noqa: E402

__all__ = ["pybreaker"]
