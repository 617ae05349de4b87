"""A terminal whose commands are this tree's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.running import Terminal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    places = f"{ROOT}:{ROOT / 'providers'}"
    return Terminal(tmp_path, {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8", "PYTHONPATH": places})
