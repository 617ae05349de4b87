"""A redis-server of the test's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fleet.serving import Server


@pytest.fixture
async def redis() -> AsyncIterator[Server]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with tempfile.TemporaryDirectory(prefix="fleet") as folder:  # a socket's path must be short
        server = Server(program, Path(folder))
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
