"""The documentation is a whole: every page is built and reachable, every link leads somewhere, what is generated is up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_is_built_without_a_warning(site: Path) -> None:
    assert (site / "index.html").is_file()


def test_no_table_or_list_is_left_as_text(site: Path) -> None:
    """Markdown that one renderer takes for a table and another for a paragraph."""
    for page in site.rglob("*.html"):
        text = re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text("utf-8"), flags=re.DOTALL)
        assert not re.search(r"<p>[^<]*\| ?---|<p>[^<]*\n- ", text), page.relative_to(site)


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for found in re.findall(r"<(?:script|link|img)\b[^>]*(?:src|href)=[\"']?(https?://[^\"' >]+)", page.read_text("utf-8")):
            pytest.fail(f"{page.relative_to(site)} fetches {found}")


@pytest.mark.parametrize("generator", ["generate_configuration.py", "generate_http.py"])
def test_what_is_generated_is_up_to_date(generator: str) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs" / generator), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def test_every_http_path_is_described() -> None:
    """The page and the application's own routes."""
    text = (ROOT / "docs" / "http.md").read_text("utf-8")
    routes = re.findall(r'add_(get|post)\("(/[^"]*)"', (ROOT / "asrproxy" / "api" / "app.py").read_text("utf-8"))
    assert len(routes) > 9
    for method, path in routes:
        if path == "/" or path.startswith("/page"):
            continue
        assert f"## {method.upper()} {path}" in text
