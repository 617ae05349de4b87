"""What the application makes of real speech: a recogniser heard it once, and what it said is played back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from minutes import transcribe

from asrproxy.testing.sidecar import RunningSidecar

HERE = Path(__file__).parent


@pytest.fixture
def asrproxy_configuration() -> str:
    """`RECORDINGS=record pytest` asks the provider again; any other run needs neither it nor a network."""
    return f"""
providers:
  local:
    type: replay
    mode: {os.environ.get("RECORDINGS", "replay")}
    folder: {HERE / "recordings"}
    provider: {{type: local}}
"""


def test_real_speech_becomes_a_sentence(asrproxy_sidecar: RunningSidecar) -> None:
    text = transcribe((HERE / "meeting.flac").read_bytes(), asrproxy_sidecar.url)
    assert text == "He might even have been made amiable himself."
