"""The fake keeps every promise of the conformance kit, whatever it is told to be able to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

from asrproxy.plugin import Host, NotReady, Provider, ProviderError, ProviderSettings, Unreachable
from asrproxy.testing.conformance import ProviderConformance, Vendor
from asrproxy_fake.provider import FakeProvider
from asrproxy_fake.script import ERRORS, Script


class ScriptedVendor(Vendor):
    """The fake is its own vendor: its script, once the kit has made it."""

    # A fake has no network whose error it could keep, and is never loading.
    errors = frozenset(each for each in ERRORS.values() if not issubclass(each, (Unreachable, NotReady)))
    script: Script

    def calls(self) -> int:
        return self.script.calls

    def fail(self, error: type[ProviderError]) -> None:
        self.script.go_down(next(name for name, each in ERRORS.items() if each is error))

    def recover(self) -> None:
        self.script.recover()
        self.script.release()

    def hold(self) -> None:
        self.script.hold()

    async def arrived(self) -> None:
        await self.script.arrived()

    async def idle(self) -> None:
        await self.script.idle()


class TestFake(ProviderConformance):
    provider = FakeProvider
    type_name = "fake"
    claims: ClassVar[Mapping[str, object]] = {}

    @asynccontextmanager
    async def vendor(self) -> AsyncIterator[Vendor]:
        yield ScriptedVendor()

    def settings(self, vendor: Vendor) -> Mapping[str, object]:
        return {"capabilities": self.claims}

    def make(self, settings: ProviderSettings, host: Host, vendor: Vendor) -> Provider:
        provider = super().make(settings, host, vendor)
        assert isinstance(provider, FakeProvider)
        assert isinstance(vendor, ScriptedVendor)
        vendor.script = provider.script
        return provider


class TestFakeThatCanDoLittle(TestFake):
    claims: ClassVar[Mapping[str, object]] = {
        "longest": "3s", "sample_rates": [8000], "languages": ["zh-CN"], "options": [], "streaming": False, "concurrency": 2
    }  # fmt: skip
