"""Fixtures that every promise needs."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis would fail what took longer than 0.2 s once, and what was made slowly: that says how busy the machine was.
settings.register_profile("asrproxy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("asrproxy")

SHARED_SPEECH = Path(__file__).resolve().parents[2] / "shared" / "speech"


@pytest.fixture(scope="session")
def shared_speech() -> Path:
    """Real recordings that may not be copied into the repository; tests that need them are skipped where they are not."""
    if not (SHARED_SPEECH / "manifest.tsv").is_file():
        pytest.skip(f"the shared recordings are not here ({SHARED_SPEECH.name} beside the checkout)")
    return SHARED_SPEECH


@pytest.fixture(scope="module", autouse=True)
def _earlier_modules_are_not_searched_for_garbage() -> None:
    """A process that has run half of the suite holds millions of objects: a collection stops the loop for longer than Redis is given."""
    gc.collect()
    gc.freeze()
