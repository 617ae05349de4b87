"""The bill of materials lists what is installed, each package with the version and the hashes of the lock file."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^ ;\\]+)", re.MULTILINE)


def test_every_pinned_package_is_listed(tmp_path: Path) -> None:
    file, output = ROOT / "requirements" / "base.txt", tmp_path / "sbom.json"
    subprocess.run([ROOT / "scripts" / "sbom", file, output], check=True, capture_output=True, timeout=120)
    bill = json.loads(output.read_text())
    pinned = set(PINNED.findall(file.read_text()))
    assert len(pinned) > 10
    assert {(each["name"], each["version"]) for each in bill["components"]} == pinned
    assert all(reference["hashes"] for each in bill["components"] for reference in each["externalReferences"])
    assert bill["metadata"]["component"]["name"] == "asrproxy"
