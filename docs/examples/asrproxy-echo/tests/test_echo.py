"""The provider keeps the core's promises: asrproxy's conformance kit, run on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from asrproxy_echo.provider import EchoProvider
from echo_server import KEY, EchoServer

from asrproxy.testing.conformance import ProviderConformance, Vendor


class TestEcho(ProviderConformance):
    provider = EchoProvider
    type_name = "echo"

    @asynccontextmanager
    async def vendor(self) -> AsyncIterator[Vendor]:
        async with EchoServer().running() as server:
            yield server

    def settings(self, vendor: Vendor) -> Mapping[str, object]:
        assert isinstance(vendor, EchoServer)
        return {"url": vendor.url, "key": KEY}
