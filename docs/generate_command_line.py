"""Writes the reference of docs/command-line.md from what each command's --help says: `python docs/generate_command_line.py`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from typer.main import get_command
from typer.testing import CliRunner

from asrproxy.cli.commands import app

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "command-line.md"
BEGIN: Final = "<!-- what follows is made by docs/generate_command_line.py -->\n"
WIDTH: Final = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page is out of date")
    check = parser.parse_args().check
    now = PAGE.read_text(encoding="utf-8")
    wanted = now.partition(BEGIN)[0] + BEGIN + reference()
    if now == wanted:
        return 0
    print(f"{'out of date' if check else 'written'}: {PAGE.relative_to(ROOT)}", file=sys.stderr)
    if not check:
        PAGE.write_text(wanted, encoding="utf-8")
    return 1 if check else 0


def reference() -> str:
    """Every command's help, in the order in which `asrproxy --help` has them."""
    commands = list(get_command(app).commands)
    return "".join(f"\n## {name}\n\n```text\n{helped(name)}\n```\n" for name in commands)


def helped(name: str) -> str:
    done = CliRunner().invoke(app, [name, "--help"], prog_name="asrproxy", terminal_width=WIDTH, max_content_width=WIDTH)
    if done.exit_code != 0:
        raise SystemExit(f"asrproxy {name} --help: {done.output}")
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


if __name__ == "__main__":
    raise SystemExit(main())
