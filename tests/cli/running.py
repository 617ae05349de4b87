"""The command line as a process, with packages beside it that it has never heard of."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asrproxy.testing import tones

_ANY = random.Random(1)
LONG = ["".join(_ANY.sample(tones.CHARACTERS, 12)) for _ in range(36)]
"""Sentences, too many for one utterance."""

ROOT = Path(__file__).resolve().parents[2]
ASRPROXY = Path(sys.executable).parent / "asrproxy"

PLUGIN = '''
"""What a third party would ship: a provider whose package is broken, and an emulator that says what it was given."""

def command(argv):
    print("emulating with", argv)
    return len(argv)
'''
ENTRY_POINTS = """
[asrproxy.providers]
broken = a_module_that_is_not_there:Provider

[asrproxy.emulators]
parrot = parrot_emulator:command
"""


@dataclass(frozen=True)
class Ended:
    """A process that has come to its end."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Terminal:
    """Runs the command in a folder of its own, with nothing of the tester's environment."""

    folder: Path
    environ: Mapping[str, str]

    def run(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Ended:
        command, environment = [ASRPROXY, *arguments], {**self.environ, **environ}
        done = subprocess.run(command, cwd=self.folder, env=environment, input=stdin, capture_output=True, timeout=60, check=False)
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


def environment(home: Path) -> dict[str, str]:
    path = [packages(home / "site"), ROOT, ROOT / "providers"]  # this checkout, wherever the command was installed from
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(map(str, path))}


def packages(folder: Path) -> Path:
    """A folder of installed packages, made as an installer makes it."""
    facts = folder / "parrot-1.0.dist-info"
    facts.mkdir(parents=True, exist_ok=True)
    (folder / "parrot_emulator.py").write_text(PLUGIN)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder
