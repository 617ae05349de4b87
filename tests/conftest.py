"""Fixtures that every promise needs."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_SPEECH = Path(__file__).resolve().parents[2] / "shared" / "speech"


@pytest.fixture(scope="session")
def shared_speech() -> Path:
    """Real recordings that may not be copied into the repository; tests that need them are skipped where they are not."""
    if not (SHARED_SPEECH / "manifest.tsv").is_file():
        pytest.skip(f"the shared recordings are not here ({SHARED_SPEECH.name} beside the checkout)")
    return SHARED_SPEECH
