"""The page is in what is installed, and is small."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "asrproxy" / "api" / "page" / "static"


def test_the_wheel_has_every_file_of_the_page(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        timeout=60,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("asrproxy/api/page/static/")}
    assert packed == {each.name for each in STATIC.iterdir()}
    assert {"index.html", "style.css", "main.js", "icon.svg"} <= packed


def test_nothing_in_it_points_outside() -> None:
    for each in STATIC.iterdir():
        addresses = each.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in addresses, each.name
        assert "https://" not in addresses, each.name


def test_it_is_small() -> None:
    assert sum(each.stat().st_size for each in STATIC.iterdir()) < 200_000
