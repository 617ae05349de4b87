"""Starts the peers: the Flask stack, and the two gateways that have a transcription door."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.running import APPKEY, KEY_ID, KEY_SECRET, Running, free_port, started

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("ASRPROXY_BENCH_CACHE") or ROOT / ".cache" / "bench")
LITELLM = """
model_list:
  - model_name: whisper-1
    litellm_params: {{model: openai/whisper-1, api_base: "{base}", api_key: bench}}
    model_info: {{mode: audio_transcription}}
litellm_settings: {{num_retries: 0, request_timeout: 60, drop_params: false, telemetry: false}}
"""


class Missing(Exception):
    """A peer that cannot be installed here."""


def _environment(name: str, *packages: str) -> Path:
    """A virtual environment with the packages; made once."""
    folder = CACHE / name
    if not (folder / "ready").exists():
        print(f"installing {name} below {CACHE} (once)", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([folder / "bin" / "pip", "install", "--quiet", *packages], check=True, stdout=subprocess.DEVNULL)
        except subprocess.CalledProcessError as error:
            raise Missing(f"{name} could not be installed") from error
        (folder / "ready").touch()
    return folder / "bin"


@contextmanager
def flask(gateway: str) -> Iterator[Running]:
    """gateway: the emulator's, for the SDK speaks WebSocket."""
    programs = _environment("flask", "flask", "gunicorn", "gevent", "pydub", "alibabacloud-nls-python-sdk")
    port = free_port()
    environment = {
        **os.environ,
        "NLS_GATEWAY": gateway.removeprefix("http://"), "NLS_APPKEY": APPKEY, "NLS_KEY_ID": KEY_ID, "NLS_KEY_SECRET": KEY_SECRET,
        "PYTHONPATH": str(Path(__file__).parent), "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    command = [
        str(programs / "gunicorn"), "--worker-class", "gevent", "--workers", "4", "--worker-connections", "200", "--timeout", "120",
        "--bind", f"127.0.0.1:{port}", "--log-level", "critical", "flask_app:app",
    ]  # fmt: skip
    with started(command, f"http://127.0.0.1:{port}", environment=environment) as running:
        yield running


@contextmanager
def litellm(vendor: str) -> Iterator[Running]:
    """vendor: base address of a server with /v1/audio/transcriptions."""
    programs = _environment("litellm", "litellm[proxy]")
    port = free_port()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "litellm.yaml"
        file.write_text(LITELLM.format(base=f"{vendor}/v1"))
        environment = {
            **os.environ,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "PATH": f"{programs}:{os.environ['PATH']}",
        }
        environment.pop("PYTHONPATH", None)
        command = [str(programs / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
        with started(command, f"http://127.0.0.1:{port}", "/health/liveliness", within=120, environment=environment) as running:
            yield running


@contextmanager
def portkey() -> Iterator[Running]:
    """Where it sends requests comes in each request's headers: `portkey_headers`."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise Missing("portkey needs node and npm")
    folder = CACHE / "portkey"
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        print(f"installing portkey below {CACHE} (once)", file=sys.stderr)
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", "@portkey-ai/gateway"]
        if subprocess.run(command, cwd=folder, check=False).returncode:
            raise Missing("portkey could not be installed")
    port = free_port()
    server = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    with started([node, str(server), f"--port={port}", "--headless"], f"http://127.0.0.1:{port}", "/", environment=os.environ) as running:
        yield running


def portkey_headers(vendor: str) -> dict[str, str]:
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{vendor}/v1", "Authorization": "Bearer bench"}
