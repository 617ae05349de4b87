"""A provider from somebody else's package is found, used and held to the kit, and nothing of asrproxy changes for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "asrproxy-echo"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the example was built and installed, as `pip install` does it. Without the network: the build tool is here."""
    pytest.importorskip("hatchling", reason="the example is built with hatchling, of the extra dev")
    folder = tmp_path_factory.mktemp("third-party")
    shutil.copytree(EXAMPLE, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    _run([*pip, "--target", str(folder / "site"), str(folder / "source")])
    return folder


def python(installed: Path, *arguments: str) -> str:
    """Output of a new interpreter that has asrproxy and the third party's package and nothing else of ours."""
    return _run([sys.executable, *arguments], PYTHONPATH=str(installed / "site"), cwd=installed)


def _run(command: list[str], cwd: Path | None = None, **environ: str) -> str:
    ended = subprocess.run(command, env=os.environ | environ, cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_it_is_found_by_its_entry_point_among_ours(installed: Path) -> None:
    program = (
        "from asrproxy import discovery as d; p = d.provider_type('echo'); print(p.__module__, p.summary, *d.provider_types(), sep='|')"
    )
    module, summary, *types = python(installed, "-c", program).strip().split("|")
    assert module == "asrproxy_echo.provider"
    assert "Echo" in summary
    assert {"aliyun", "echo", "fake", "local", "openai"} <= set(types)


def test_it_is_not_known_where_it_is_not_installed() -> None:
    program = "from asrproxy.discovery import provider_types; print(*provider_types())"
    assert "echo" not in _run([sys.executable, "-c", program]).split()


def test_using_another_provider_does_not_import_it(installed: Path) -> None:
    program = "import sys; from asrproxy.discovery import provider_type as p; p('fake'); print('asrproxy_echo' in sys.modules)"
    assert python(installed, "-c", program).strip() == "False"


def test_it_passes_the_kit_with_its_own_tests(installed: Path) -> None:
    tests = str(installed / "source" / "tests")
    said = python(installed, "-m", "pytest", tests, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", tests)
    assert "passed" in said
    assert "failed" not in said


def test_the_kit_reports_without_pytest_too(installed: Path) -> None:
    said = python(
        installed, "-c",
        f"import sys; sys.path.insert(0, {str(installed / 'source' / 'tests')!r})\n"
        "from test_echo import TestEcho; from asrproxy.testing.conformance import report\n"
        "found = report(TestEcho); print(found); print('pytest' in sys.modules, found.passed)",
    )  # fmt: skip
    assert "each failure of the vendor is one typed error: kept" in said
    assert "live audio gives sentences where declared: not tried: streaming is not declared" in said
    assert said.endswith("False True\n")


def test_the_page_shows_the_code_that_is_tested() -> None:
    page = (ROOT / "docs" / "writing-a-provider.md").read_text(encoding="utf-8")
    shown = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    assert len(shown) >= 5
    sources = [file.read_text(encoding="utf-8") for file in EXAMPLE.rglob("*.py")]
    for block in shown:
        for paragraph in block.strip("\n").split("\n\n"):
            assert any(paragraph in source for source in sources), f"not in the example any more:\n{paragraph}"
