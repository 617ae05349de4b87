"""What goes into the image is what the tests ran with, and all that the package says it needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pins(name: str) -> set[str]:
    """`package==version ; marker` lines."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {line.rstrip(" \\").partition(" ;")[0] for line in lines if "==" in line and not line.startswith(" ")}


def names(found: set[str]) -> set[str]:
    return {each.partition("==")[0] for each in found}


@pytest.mark.parametrize("variant", ["slim", "full"])
def test_the_images_pins_are_the_tests_pins_with_hashes(variant: str) -> None:
    found = pins(f"image-{variant}.txt")
    tested = pins("dev.txt")
    assert {each for each in found if each.partition("==")[0] in names(tested)} <= tested, "run scripts/lock"
    text = (ROOT / "requirements" / f"image-{variant}.txt").read_text()
    assert text.count("--hash=sha256:") > len(found)


def test_the_image_has_what_the_package_needs_and_not_what_builds_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for variant, wanted in (("slim", extras["redis"]), ("full", [*extras["redis"], *extras["local"]])):
        needed = {re.split(r"[\[<>=!; ]", each)[0].lower().replace(".", "-") for each in [*project["dependencies"], *wanted]}
        assert needed <= names(pins(f"image-{variant}.txt")), "run scripts/lock"
    assert not names(pins("image-slim.txt")) & {"hatchling", "setuptools", "moonshine-voice", "pytest"}
