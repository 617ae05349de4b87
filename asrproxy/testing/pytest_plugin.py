"""The pytest fixture `asrproxy_sidecar`. Every pytest run loads this file, so nothing of asrproxy is imported before a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from asrproxy.testing.sidecar import RunningSidecar


@pytest.fixture
def asrproxy_configuration() -> str | Path | None:
    """The configuration that `asrproxy_sidecar` runs: YAML text or a file. Override it in a conftest.py, a module or a class."""
    return None


@pytest.fixture
def asrproxy_sidecar(asrproxy_configuration: str | Path | None) -> Iterator[RunningSidecar]:
    """A sidecar of this test's own on a free port, whose vendor answers and fails as the test says. For sync and async tests."""
    from asrproxy.testing.sidecar import running_sidecar

    with running_sidecar(asrproxy_configuration) as running:
        yield running
