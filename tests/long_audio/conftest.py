"""Starts sidecars for long recordings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession

from asrproxy.api.sidecar import sidecar
from asrproxy.events import Event
from tests.long_audio.long_proxy import Proxy, Start, configured


@pytest.fixture
def proxy() -> Start:
    @asynccontextmanager
    async def starting(**settings: Any) -> AsyncIterator[Proxy]:
        events: list[Event] = []
        async with sidecar(configured(**settings), [events.append]) as running, ClientSession() as session:
            yield Proxy(running, session, events)

    return starting
