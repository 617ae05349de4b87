"""The slim image, built once and kept in .cache as long as nothing that it is made of changes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.image.containers import Image

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path("/usr/bin/python3.11")
PROGRAMS = ("apt-get", "dpkg-deb", "ld", "strip", "runc", "umoci")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent or not PYTHON.exists() or "bookworm" not in Path("/etc/os-release").read_text():
        pytest.skip(f"the image is built and run on Debian 12 with its python3.11, binutils, umoci and runc; not here: {absent}")
    if os.geteuid() != 0:
        pytest.skip("runc needs root here: without it, there are no namespaces to run a container in")
    made = ROOT / ".cache" / "image" / "slim"
    done = subprocess.run(
        [PYTHON, ROOT / "deploy/image/build.py", "slim", made, "--oci", made / "oci", "--level", "1"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bundle = tmp_path_factory.mktemp("image") / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{made / 'oci'}:latest", bundle], check=True, capture_output=True, timeout=120)
    trial = subprocess.run(["runc", "--root", bundle.parent / "state", "list"], capture_output=True, text=True, check=False)
    if trial.returncode:
        pytest.skip(f"runc cannot run here: {trial.stderr}")
    return Image(bundle)
