"""An archive, worked through by several machines that know nothing of each other and may be started again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrproxy.cli.recordings import Share
from tests.cli.running import Terminal

TEXT = "天地玄黄"
NAMES = ["2024/talk.wav", "2024/talk.flac", "2025/talk.wav", "one.wav", "two.wav"]


@pytest.fixture
def asked(sidecar: str, recording: bytes, tmp_path: Path) -> Terminal:
    places = f"{Path(__file__).resolve().parents[2]}:{Path(__file__).resolve().parents[2] / 'providers'}"
    environ = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": places, "ASRPROXY_URL": sidecar, "ASRPROXY_TOKEN": "a-token"}
    terminal = Terminal(tmp_path, environ)
    for name in NAMES:
        terminal.write(name, recording)
    terminal.write("list.txt", "# the talks\n\n" + "\n".join(NAMES) + "\n")
    return terminal


def texts(terminal: Terminal) -> dict[str, str]:
    out = terminal.folder / "out"
    return {str(each.relative_to(out)): each.read_text().strip() for each in out.rglob("*.txt")}


def test_every_recording_of_a_list_is_done_once_by_one_of_them(asked: Terminal) -> None:
    seen: set[str] = set()
    for index in range(3):
        done = asked.run("recognize", "--list", "list.txt", "--share", f"{index}/3", "--output-dir", "out")
        assert (done.status, done.err) == (0, "")
        assert len(texts(asked).keys() - seen) in (1, 2)
        seen |= texts(asked).keys()
    # Two that would meet were told apart by the whole list, though different machines did them.
    assert texts(asked) == dict.fromkeys(("2024/talk.txt", "2024/talk.flac.txt", "2025/talk.txt", "one.txt", "two.txt"), TEXT)


def test_what_is_there_is_not_paid_for_again(asked: Terminal) -> None:
    everything = ("recognize", "--list", "list.txt", "--resume", "--output-dir", "out")
    asked.write("out/one.txt", "by another machine")
    asked.write("two.wav", b"no sound at all")
    first = asked.run(*everything)
    assert first.status == 1
    assert first.err.startswith("two.wav: invalid_audio")
    assert texts(asked)["one.txt"] == "by another machine"
    for each in ("2024/talk.txt", "2024/talk.flac.txt", "2025/talk.txt"):
        (asked.folder / "out" / each).write_text("kept")
    asked.write("two.wav", (asked.folder / "one.wav").read_bytes())
    assert asked.run(*everything).status == 0
    assert sorted(texts(asked).values()) == ["by another machine", "kept", "kept", "kept", TEXT]
    assert asked.run(*everything).status == 0  # nothing is left to do


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name FILEs"),
        (["--list", "nowhere.txt"], "nowhere.txt: No such file"),
        (["one.wav", "--resume"], "--output-dir"),
        (["one.wav", "--share", "3/3"], "0/8"),
        (["one.wav", "--share", "three"], "0/8"),
        (["one.wav", "--share", "-1/3"], "0/8"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked: Terminal, arguments: list[str], said: str) -> None:
    done = asked.run("recognize", *arguments)
    assert done.status == 2
    assert said in " ".join(done.err.replace("│", " ").split())


@given(st.lists(st.integers()), st.integers(1, 20))
def test_shares_cover_everything_once(work: list[int], of: int) -> None:
    parts = [work[share.index :: share.of] for share in (Share.parse(f"{index}/{of}") for index in range(of))]
    assert sorted(each for part in parts for each in part) == sorted(work)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
