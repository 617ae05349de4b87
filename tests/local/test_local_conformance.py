"""Both engines keep every promise of the conformance kit, with real speech."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar

import pytest

from asrproxy.plugin import AudioFormat, Host, Provider, ProviderSettings
from asrproxy.testing.conformance import ProviderConformance, Speech, Vendor
from asrproxy_local.provider import LocalProvider
from tests.local.conftest import RATE, SAID, SENSE, package_recording, pcm_of


@cache
def takes() -> tuple[Speech, ...]:
    """Two sentences in two voices."""
    return Speech(pcm_of(SENSE), SAID), Speech(package_recording("beckett.wav")[: 3 * 2 * RATE], "Ever tried. Ever failed.")


class TestMoonshine(ProviderConformance):
    provider = LocalProvider
    type_name = "local"
    hears_tones = False

    def speech(self, format: AudioFormat, take: int = 0) -> Speech:
        return takes()[take % 2]


class TestWhisper(ProviderConformance):
    provider = LocalProvider
    hears_tones = False
    folder: ClassVar[Path]

    @pytest.fixture(autouse=True)
    def _weights(self, whisper_cache: Path) -> None:
        type(self).folder = whisper_cache

    def settings(self, vendor: Vendor) -> Mapping[str, object]:
        return {"engine": "whisper", "beam": 1, "language": "en"}

    def make(self, settings: ProviderSettings, host: Host, vendor: Vendor) -> Provider:
        assert isinstance(settings, LocalProvider.Settings)
        return LocalProvider(settings, Host(host.name, cache=self.folder))  # type: ignore[arg-type]

    def speech(self, format: AudioFormat, take: int = 0) -> Speech:
        return takes()[take % 2]
