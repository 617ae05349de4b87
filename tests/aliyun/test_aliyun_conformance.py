"""Every transport keeps every promise of the conformance kit, against the emulator over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

from asrproxy.plugin import Garbled, ProviderError, Refused, Rejected, Throttled, Unavailable, Unreachable
from asrproxy.testing.conformance import ProviderConformance, Vendor
from asrproxy_aliyun.emulator import Emulator, Scripted
from asrproxy_aliyun.provider import AliyunProvider

STATUSES: Mapping[type[ProviderError], int] = {Refused: 40020106, Rejected: 40000003, Throttled: 40000005, Unavailable: 50000000}


class EmulatedCloud(Vendor):
    """The emulator, as the kit takes a vendor in hand."""

    errors: ClassVar[frozenset[type[ProviderError]]] = frozenset({*STATUSES, Garbled, Unreachable})

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator

    def calls(self) -> int:
        return len(self.emulator.calls)

    def fail(self, error: type[ProviderError]) -> None:
        each = Scripted(reset=True) if error is Unreachable else Scripted(cut=20) if error is Garbled else Scripted(status=STATUSES[error])
        self.emulator.script(*[each] * 50)

    def recover(self) -> None:
        self.emulator.clear_script()
        self.emulator.release_answers()

    def hold(self) -> None:
        self.emulator.hold_answers()

    async def arrived(self) -> None:
        await self.emulator.calls_in_flight(1)

    async def idle(self) -> None:
        await self.emulator.all_connections_free()


class TestRest(ProviderConformance):
    provider = AliyunProvider
    type_name = "aliyun"
    more: ClassVar[Mapping[str, object]] = {}

    @asynccontextmanager
    async def vendor(self) -> AsyncIterator[Vendor]:
        async with Emulator() as emulator:
            yield EmulatedCloud(emulator)

    def settings(self, vendor: Vendor) -> Mapping[str, object]:
        assert isinstance(vendor, EmulatedCloud)
        cloud = vendor.emulator
        keys = {"appkey": cloud.appkey, "access_key_id": cloud.access_key_id, "access_key_secret": cloud.access_key_secret}
        return {**keys, "gateway_url": cloud.gateway_url, "token_url": cloud.token_url, **self.more}


class TestFlash(TestRest):
    more: ClassVar[Mapping[str, object]] = {"long": "flash"}


class TestWebsocket(TestRest):
    more: ClassVar[Mapping[str, object]] = {"transport": "websocket"}


class TestSdk(TestRest):
    more: ClassVar[Mapping[str, object]] = {"transport": "sdk"}
