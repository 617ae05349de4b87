"""The package brings its fixture to every pytest that has it installed, and costs those that do not use it next to nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "minutes"

APPLICATION_TESTS = """
import aiohttp, pytest
from asrproxy.testing.tones import synthesize, to_wav

def test_what_one_test_says(asrproxy_sidecar):
    asrproxy_sidecar.vendor.go_down()

async def test_another_does_not_meet(asrproxy_sidecar):
    asrproxy_sidecar.vendor.answer("heard")
    async with aiohttp.ClientSession() as session:
        async with session.post(asrproxy_sidecar.url + "/v1/recognize", data=to_wav(synthesize("abc"), 16_000)) as answer:
            assert (await answer.json())["text"] == "heard"

class TestWithAConfigurationOfItsOwn:
    @pytest.fixture
    def asrproxy_configuration(self):
        return "providers: {one: {type: fake}, two: {type: fake}}"

    def test_it(self, asrproxy_sidecar):
        assert list(asrproxy_sidecar.vendors) == ["one", "two"]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as `pip install` makes it: with its entry points, whatever this environment was installed from."""
    pytest.importorskip("hatchling", reason="the package is built with hatchling, of the extra dev")
    folder = tmp_path_factory.mktemp("installed")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
    ]
    run([*pip, "--target", str(folder), str(ROOT)], folder)
    return folder


def run(command: list[str], cwd: Path, **environ: str) -> str:
    ended = subprocess.run(command, env=os.environ | environ, cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def run_pytest(installed: Path, folder: Path, *options: str, path: str = "") -> str:
    """With the plugin by its entry point's name, without the others of this environment: they take longer to load than the tests to run."""
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-p", "asrproxy", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    search = os.pathsep.join(filter(None, [path, str(installed)]))
    return run([*pytest_here, *options, "."], folder, PYTHONPATH=search, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


def test_the_fixture_is_there_for_sync_and_async_tests_and_takes_a_configuration(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_application.py").write_text(APPLICATION_TESTS)
    options = ["-p", "asyncio", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    assert "3 passed" in run_pytest(installed, tmp_path, *options)


def test_the_example_application_passes_its_tests_without_a_vendor(installed: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(EXAMPLE, tmp_path / "minutes", ignore=shutil.ignore_patterns("__pycache__"))
    assert "6 passed" in run_pytest(installed, alone / "tests", path=str(alone))


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    """Beyond what pytest itself imports: only the files of the plugin."""
    program = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport asrproxy.testing.pytest_plugin\nprint(*sorted(set(sys.modules) - before))"
    )
    assert run([sys.executable, "-c", program], ROOT).split() == ["asrproxy", "asrproxy.testing", "asrproxy.testing.pytest_plugin"]


def test_the_sidecar_of_a_test_needs_no_pytest() -> None:
    program = (
        "import sys\nsys.modules['pytest'] = None\nfrom asrproxy.testing.sidecar import running_sidecar\n"
        "with running_sidecar() as sidecar: print(sidecar.url)"
    )
    assert run([sys.executable, "-c", program], ROOT).startswith("http://127.0.0.1:")


def test_the_page_shows_the_code_that_is_tested(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    sources = [file.read_text(encoding="utf-8") for file in (EXAMPLE / "tests").glob("*.py")]
    shown = [paragraph for block in blocks for paragraph in block.strip("\n").split("\n\n\n")]
    of_the_example = [each for each in shown if any(each in source for source in sources)]
    assert len(of_the_example) == 5
    own_file, by_hand = (each for each in shown if each not in of_the_example)
    compile(own_file, "docs/testing.md", "exec")
    assert run([sys.executable, "-c", by_hand], tmp_path).startswith("http://127.0.0.1:")
