"""structlog without what it takes along where it is installed: rich (3 MB of a process that rests at 60) and greenlet (1 MB)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _without(name: str) -> Iterator[None]:
    """While it lasts, importing the module fails as if it were not installed; whoever has it already keeps it."""
    had: ModuleType | None = sys.modules.get(name)
    if had is None:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's own way to say so
    try:
        yield
    finally:
        if had is None:
            del sys.modules[name]


with _without("rich"), _without("greenlet"):
    import structlog

__all__ = ["structlog"]
