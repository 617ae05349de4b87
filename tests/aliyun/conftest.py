"""An emulated cloud and providers that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from asrproxy.plugin import Event, Host
from asrproxy_aliyun.emulator import Emulator
from asrproxy_aliyun.provider import AliyunProvider
from asrproxy_aliyun.settings import AliyunSettings
from tests.aliyun.making import Made, Make


@pytest.fixture
async def cloud() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


@pytest.fixture
async def make(cloud: Emulator) -> AsyncIterator[Make]:
    """Starts a provider of the emulated account; keywords are settings."""
    async with AsyncExitStack() as stack:

        async def made(**settings: Any) -> Made:
            keys: dict[str, Any] = {"access_key_id": cloud.access_key_id, "access_key_secret": cloud.access_key_secret}
            if "token" in settings:
                keys = {}
            whole = {"appkey": cloud.appkey, "gateway_url": cloud.gateway_url, "token_url": cloud.token_url, **keys, **settings}
            events: list[Event] = []
            provider = AliyunProvider(AliyunSettings.model_validate(whole), Host("aliyun", announce=events.append))
            stack.push_async_callback(provider.aclose)
            await provider.start()
            return Made(provider, events)

        yield made
