"""The references of keys and commands and the file of defaults are what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asrproxy.config.load import load
from asrproxy.discovery import provider_type

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("maker", ["generate_configuration.py", "generate_command_line.py"])
def test_the_reference_is_up_to_date(maker: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / maker, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\nrun: python docs/{maker}"


def test_the_file_of_defaults_says_what_no_file_says() -> None:
    def loaded(path: Path | None) -> object:
        configuration = load(path, environ={}, provider_settings=lambda name: provider_type(name).Settings)
        return configuration.model_copy(update={"routes": configuration.every_route()})

    assert loaded(ROOT / "config" / "full.yaml") == loaded(None)


def test_no_example_is_taken_by_the_default_lookup() -> None:
    assert not (ROOT / "config" / "asrproxy.yaml").exists()
