"""A whole sidecar, and what it tells those who watch it."""

from __future__ import annotations

from tests.recognize.conftest import client, start

__all__ = ["client", "start"]
