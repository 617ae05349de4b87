"""The programs of docs/clients.md are taken from the page and run: they print what was said, wait as told, and give up in words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from asrproxy.testing.sidecar import CONFIGURATION, RunningSidecar, running_sidecar
from asrproxy.testing.tones import compose, synthesize
from tests.audio.audio_encoding import encoded
from tests.clients.page import ADDRESS, Program, programs

TEXT = "天地玄黄"
PHRASES = ("天地玄黄", "宇宙洪荒", "日月盈昃")
PROGRAMS = programs()
RUN_HERE = [each for each in PROGRAMS if "import litellm" not in each.source]
"""litellm takes seconds to import: its program is run by tests/openai_door."""


def python(folder: Path, source: str) -> list[str]:
    return [sys.executable, "-c", source]


def shell(folder: Path, source: str) -> list[str]:
    return ["sh", "-euc", source]


def written(name: str, *command: str) -> Callable[[Path, str], list[str]]:
    def write(folder: Path, source: str) -> list[str]:
        (folder / name).write_text(source, encoding="utf-8")
        return [*command, name]

    return write


LANGUAGES: dict[str, tuple[str, Callable[[Path, str], list[str]]]] = {
    "sh": ("curl", shell),
    "python": (sys.executable, python),
    "js": ("node", written("recognize.mjs", "node")),
    "go": ("go", written("recognize.go", "go", "run")),
    "java": ("javac", written("Recognize.java", "java", "-Xshare:auto", "-XX:TieredStopAtLevel=1")),
}
"""The program that a block needs, and how it is run."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "meeting.flac").write_bytes(flac(synthesize(TEXT)))
    (folder / "long.flac").write_bytes(flac(compose([PHRASES[0], 4.0, PHRASES[1], 4.0, PHRASES[2]]).render()))
    return folder


def flac(pcm: bytes) -> bytes:
    return encoded(np.frombuffer(pcm, "<i2") / 32768, ("flac", "flac", 16_000, "mono", "s16", {}))


def run(program: Program, sidecar: RunningSidecar, recordings: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    assert ADDRESS in program.source
    shutil.copytree(recordings, folder)
    command = LANGUAGES[program.language][1](folder, program.source.replace(ADDRESS, sidecar.url))
    environ = os.environ | {"PYTHONIOENCODING": "utf-8", "GO111MODULE": "off", "GOFLAGS": "", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, encoding="utf-8", timeout=100, check=False)


def need(program: Program) -> None:
    if shutil.which(LANGUAGES[program.language][0]) is None:
        pytest.skip(f"there is no {LANGUAGES[program.language][0]} on this machine")


def test_every_client_that_was_promised_is_on_the_page() -> None:
    assert [each.name for each in PROGRAMS] == [
        "curl 1", "curl 2", "curl 3", "curl 4", "Python: requests 1", "Python: httpx 1", "Python: aiohttp 1", "Python: aiohttp 2",
        "Node: fetch 1", "Go 1", "Java 1", "OpenAI's clients 1", "OpenAI's clients 2",
    ]  # fmt: skip
    assert {each.language for each in PROGRAMS} == set(LANGUAGES)


@pytest.mark.parametrize("program", RUN_HERE, ids=lambda each: each.name)
def test_a_program_prints_what_was_said(program: Program, recordings: Path, tmp_path: Path) -> None:
    """Those that try again meet the vendor's limit first. The vendor knows no more than the quick start's, where a newcomer tries them."""
    need(program)
    configuration = CONFIGURATION.replace(
        "{type: fake}", "{type: fake, capabilities: {longest: 5s, languages: [en], options: [punctuation]}}"
    )
    with running_sidecar(configuration) as sidecar:
        if program.tries_again:
            sidecar.vendor.fail("throttled", retry_after=1)
        ended = run(program, sidecar, recordings, tmp_path / "work")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        for phrase in PHRASES if program.sends_a_long_recording else (TEXT,):
            assert phrase in ended.stdout
        statuses = [each.status for each in sidecar.requests]
        assert statuses[0] == (429 if program.tries_again else 200)
        assert set(statuses[1:]) <= {200}


STUBBORN = [each for each in PROGRAMS if each.tries_again and each.language != "sh"]
"""Those that read what an error says."""


def outage(program: Program, error: str, recordings: Path, folder: Path) -> tuple[subprocess.CompletedProcess[str], list[int]]:
    """What becomes of a program in an outage, and the statuses that it got."""
    with running_sidecar() as sidecar:
        sidecar.vendor.fail(error, times=9, retry_after=1 if error == "throttled" else None)
        return run(program, sidecar, recordings, folder), [each.status for each in sidecar.requests]


@pytest.mark.parametrize("program", STUBBORN, ids=lambda each: each.name)
def test_a_program_does_not_repeat_what_will_fail_again(program: Program, recordings: Path, tmp_path: Path) -> None:
    need(program)
    ended, statuses = outage(program, "refused", recordings, tmp_path / "work")
    assert ended.returncode != 0
    assert "provider_auth" in ended.stderr
    assert statuses == [502]


def test_the_programs_give_up_after_three_tries(recordings: Path, tmp_path: Path) -> None:
    """All at once, as they do little but wait."""
    here = [each for each in STUBBORN if shutil.which(LANGUAGES[each.language][0])]
    with ThreadPoolExecutor(len(here)) as pool:
        found = list(pool.map(lambda each: outage(each, "throttled", recordings, tmp_path / each.name), here))
    for program, (ended, statuses) in zip(here, found, strict=True):
        assert (program.name, ended.returncode != 0, statuses) == (program.name, True, [429] * 3)
        assert "rate_limited" in ended.stderr
