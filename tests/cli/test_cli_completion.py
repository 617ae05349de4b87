"""What bash offers when somebody presses the tab key after `asrproxy`, as it is installed."""

from __future__ import annotations

import subprocess

import pytest

from tests.cli.running import ASRPROXY, Terminal

SCRIPT = """
source ~/.bashrc
complete -p asrproxy >/dev/null || exit 1
COMP_WORDS=({words}) COMP_CWORD={place}
_asrproxy_completion asrproxy
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def shell(terminal: Terminal) -> Terminal:
    """A bash whose user has run `asrproxy --install-completion`."""
    path = f"{ASRPROXY.parent}:{terminal.environ['PATH']}"
    prepared = Terminal(terminal.folder, {**terminal.environ, "PATH": path})
    done = bash(prepared, "asrproxy --install-completion")
    assert "completion installed" in done
    return prepared


def bash(terminal: Terminal, script: str) -> str:
    # A command after it keeps bash from becoming the program: which shell it is, is found out from the program's parent.
    command = ["bash", "--norc", "-c", f"{script}\n:"]
    done = subprocess.run(command, cwd=terminal.folder, env=terminal.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def offered(terminal: Terminal, line: str) -> list[str]:
    """For a line with the cursor at its end."""
    words = line.split(" ")
    return bash(terminal, SCRIPT.format(words=" ".join(f"'{word}'" for word in words), place=len(words) - 1)).split()


def test_commands_options_and_values(shell: Terminal) -> None:
    shell.write("asr.yaml", "providers: {mandarin: {type: fake}, english: {type: fake}}\n")
    assert {"serve", "recognize", "listen", "check", "providers", "schema", "emulate"} <= set(offered(shell, "asrproxy "))
    assert offered(shell, "asrproxy rec") == ["recognize"]
    assert offered(shell, "asrproxy recognize --out") == ["--output-dir"]
    assert {"--route", "--json", "--device"} <= set(offered(shell, "asrproxy listen --"))
    assert offered(shell, "asrproxy recognize --format ") == ["text", "json", "srt", "vtt"]
    assert offered(shell, "asrproxy recognize -c asr.yaml --route ") == ["default", "english", "mandarin"]
    assert offered(shell, "asrproxy emulate ali") == ["aliyun"]


def test_routes_of_the_sidecar_that_would_be_asked(shell: Terminal, sidecar: str) -> None:
    knows = Terminal(shell.folder, {**shell.environ, "ASRPROXY_URL": sidecar, "ASRPROXY_TOKEN": "a-token"})
    assert offered(knows, "asrproxy listen --route ") == ["default", "tones"]
    assert offered(shell, f"asrproxy listen --url unix:{shell.folder}/nobody --route ") == []


def test_the_script_can_be_shown(shell: Terminal) -> None:
    assert "complete -o default -F _asrproxy_completion asrproxy" in bash(shell, "asrproxy --show-completion")
