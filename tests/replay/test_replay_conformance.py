"""The replay provider keeps every promise of the conformance kit, both when it records and when it plays what was recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from asrproxy.plugin import Host, NotReady, Provider, ProviderError, ProviderSettings, Unreachable, Wrapped
from asrproxy.testing.conformance import ProviderConformance, Vendor, report
from asrproxy_fake.provider import FakeProvider
from asrproxy_fake.script import ERRORS, Script
from asrproxy_fake.settings import FakeSettings
from asrproxy_replay.provider import ReplayProvider


class ScriptedVendor(Vendor):
    """The fake that is recorded."""

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


class TestReplayThatRecords(ProviderConformance):
    provider = ReplayProvider
    type_name = "replay"
    folder: ClassVar[Path]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def tapes(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.folder = tmp_path_factory.mktemp("tapes")

    @asynccontextmanager
    async def vendor(self) -> AsyncIterator[Vendor]:
        yield ScriptedVendor()

    def settings(self, vendor: Vendor) -> Mapping[str, object]:
        return {"folder": self.folder, "mode": "record", "provider": Wrapped(type="fake", settings=FakeSettings())}

    def make(self, settings: ProviderSettings, host: Host, vendor: Vendor) -> Provider:
        provider = super().make(settings, host, vendor)
        assert isinstance(provider, ReplayProvider)
        assert isinstance(provider.vendor, FakeProvider)
        assert isinstance(vendor, ScriptedVendor)
        vendor.script = provider.vendor.script
        return provider


class Recording(TestReplayThatRecords):
    __test__ = False


class TestReplayThatPlays(ProviderConformance):
    provider = ReplayProvider
    folder: ClassVar[Path]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def tapes(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        """Everything that the kit asks for, asked once."""
        Recording.folder = cls.folder = tmp_path_factory.mktemp("tapes")
        recorded = report(Recording)
        assert recorded.passed, str(recorded)
        return

    def settings(self, vendor: Vendor) -> Mapping[str, object]:
        return {"folder": self.folder}
