"""A terminal, and a sidecar that listens for the tone alphabet."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrproxy.testing import tones
from tests.cli.running import ASRPROXY, LONG, Terminal, environment


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path, environment(tmp_path / "home"))


@pytest.fixture(scope="session")
def recording() -> bytes:
    """`天地玄黄`, as a WAV."""
    return tones.to_wav(tones.synthesize("天地玄黄"), 16_000)


@pytest.fixture(scope="session")
def long_recording() -> bytes:
    """More than one utterance, with pauses between its sentences."""
    return tones.to_wav(tones.synthesize(" ".join(LONG)), 16_000)


@pytest.fixture(scope="session")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`asrproxy serve` as a process, with a token; its URL."""
    folder = tmp_path_factory.mktemp("sidecar")
    socket = folder / "api.sock"
    server = f"server: {{listen: 'unix:{socket}', ops_listen: [], tokens: [a-token]}}"
    (folder / "asr.yaml").write_text(f"{server}\nproviders: {{tones: {{type: fake}}}}\n")
    command = [ASRPROXY, "serve", "-c", "asr.yaml"]
    with subprocess.Popen(command, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("listening" in line for line in process.stderr)
            yield f"unix:{socket}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
