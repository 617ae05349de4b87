"""An emulated cloud and a plain HTTP client for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from asrproxy_aliyun.emulator import Emulator


@pytest.fixture
async def cloud() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session
