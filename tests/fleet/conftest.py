"""A redis-server of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fleet.serving import Server, redis_server


@pytest.fixture
async def redis() -> AsyncIterator[Server]:
    async with redis_server() as server:
        yield server
