"""`asrproxy recognize`: recordings in, transcripts out, one line for each that failed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from tests.cli.running import ASRPROXY, LONG, Terminal

TEXT = "天地玄黄"


@pytest.fixture
def asked(terminal: Terminal, sidecar: str, recording: bytes) -> Terminal:
    """A terminal that knows the sidecar, in a folder with `a.wav`."""
    terminal.write("a.wav", recording)
    return Terminal(terminal.folder, {**terminal.environ, "ASRPROXY_URL": sidecar, "ASRPROXY_TOKEN": "a-token"})


def test_one_file_is_its_text(asked: Terminal) -> None:
    done = asked.run("recognize", "a.wav")
    assert (done.status, done.out, done.err) == (0, f"{TEXT}\n", "")


def test_standard_input(asked: Terminal, recording: bytes) -> None:
    assert asked.run("recognize", "-", stdin=recording).out == f"{TEXT}\n"


def test_ctrl_c_does_not_wait_for_whoever_writes_to_standard_input(asked: Terminal) -> None:
    command = [ASRPROXY, "recognize", "-"]
    with subprocess.Popen(
        command, cwd=asked.folder, env=asked.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while len(psutil.Process(process.pid).net_connections("all")) < 3:  # two are the loop's own: it has not called the sidecar yet
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_headerless_audio_is_described_by_options(asked: Terminal, recording: bytes) -> None:
    done = asked.run("recognize", "--encoding", "pcm_s16le", "--sample-rate", "16000", "-", stdin=recording[44:])
    assert done.out == f"{TEXT}\n"


@pytest.mark.parametrize(("format", "beginning"), [("srt", "1\n00:00:00,000 -->"), ("vtt", "WEBVTT"), ("json", "{")])
def test_formats(asked: Terminal, format: str, beginning: str) -> None:
    done = asked.run("recognize", "--format", format, "a.wav")
    assert done.status == 0
    assert done.out.startswith(beginning)
    assert TEXT in done.out


def test_words_in_json(asked: Terminal) -> None:
    body = json.loads(
        asked.run("recognize", "--json", "--words", "--language", "zh-CN", "--route", "tones", "--timeout", "20s", "a.wav").out
    )
    assert "".join(word["text"] for word in body["segments"][0]["words"]) == TEXT
    assert body["provider"] == "tones"


def test_several_files_and_one_bad_one(asked: Terminal) -> None:
    asked.write("bad.wav", b"no sound at all")
    done = asked.run("recognize", "a.wav", "bad.wav", "missing.wav")
    assert done.status == 1
    assert done.out == f"a.wav: {TEXT}\n"
    said = sorted(done.err.splitlines())
    assert [line.split(":")[0] for line in said] == ["bad.wav", "missing.wav"]
    assert said[0].startswith("bad.wav: invalid_audio: ")
    assert said[1] == "missing.wav: no such file"


def test_json_lines_for_programs(asked: Terminal) -> None:
    asked.write("bad.wav", b"no sound at all")
    done = asked.run("recognize", "--json", "a.wav", "bad.wav")
    lines = {each["file"]: each for each in map(json.loads, done.out.splitlines())}
    assert lines["a.wav"]["text"] == TEXT
    assert lines["bad.wav"]["error"]["code"] == "invalid_audio"
    assert done.status == 1


def test_a_folder_goes_to_a_folder(asked: Terminal, recording: bytes) -> None:
    for name in ("talks/one.wav", "talks/one.mp3", "talks/deep/two.wav", "talks/.hidden.wav", "talks/notes.txt", "talks/.git/x.wav"):
        asked.write(name, recording)
    done = asked.run("recognize", "--format", "srt", "--output-dir", "out", "--jobs", "2", "talks")
    assert (done.status, done.out, done.err) == (0, "", "")
    found = sorted(str(path.relative_to(asked.folder / "out")) for path in (asked.folder / "out").rglob("*") if path.is_file())
    assert found == ["deep/two.srt", "one.srt", "one.wav.srt"]
    assert TEXT in (asked.folder / "out" / "deep" / "two.srt").read_text()


def test_an_empty_folder_is_said(asked: Terminal) -> None:
    (asked.folder / "empty").mkdir()
    done = asked.run("recognize", "empty")
    assert (done.status, done.err) == (1, "empty: no recordings in this folder\n")


def test_stream_writes_segments_as_they_come(asked: Terminal, long_recording: bytes) -> None:
    asked.write("long.wav", long_recording)
    done = asked.run("recognize", "--stream", "long.wav")
    lines = done.out.splitlines()
    assert len(lines) > 1
    assert "".join(lines) == "".join(LONG)
    events = [json.loads(line) for line in asked.run("recognize", "--stream", "--json", "long.wav").out.splitlines()]
    assert [event["segment"]["index"] for event in events[:-1]] == list(range(len(lines)))
    assert events[-1]["text"] == "".join(LONG)


def test_on_a_terminal_progress_is_shown_and_the_output_stays_clean(asked: Terminal, long_recording: bytes) -> None:
    asked.write("long.wav", long_recording)
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def look() -> None:
        try:
            while piece := os.read(ours, 4096):
                shown.append(piece)
        except OSError:
            pass  # the other end was closed

    with subprocess.Popen(
        [ASRPROXY, "recognize", "long.wav"], cwd=asked.folder, env={**asked.environ, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        looking = threading.Thread(target=look)
        looking.start()
        out, _ = process.communicate(timeout=60)
        looking.join()
    os.close(ours)
    assert process.returncode == 0
    assert out.decode() == "".join(LONG) + "\n"
    assert "recordings" in b"".join(shown).decode()


def test_a_sidecar_of_its_own(terminal: Terminal, recording: bytes) -> None:
    terminal.write("a.wav", recording)
    # Its addresses and tokens are those of a sidecar that runs already: neither is used.
    terminal.write("asr.yaml", "server: {listen: '192.0.2.1:1', tokens: [x]}\nproviders: {tones: {type: fake}}\n")
    done = terminal.run("recognize", "-c", "asr.yaml", "a.wav")
    assert (done.status, done.out, done.err) == (0, f"{TEXT}\n", "")


def test_a_wrong_token_is_said(asked: Terminal) -> None:
    done = asked.run("recognize", "a.wav", ASRPROXY_TOKEN="another")
    assert done.status == 1
    assert done.err.startswith("a.wav: unauthorized: ")


def test_no_sidecar_is_one_line_that_says_what_to_do(terminal: Terminal, recording: bytes) -> None:
    for name in "abc":
        terminal.write(f"{name}.wav", recording)
    done = terminal.run("recognize", "--url", f"unix:{terminal.folder}/none.sock", "a.wav", "b.wav", "c.wav")
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert "no sidecar answers at unix:" in done.err
    assert "`asrproxy serve`" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--url", "http://x", "-c", "y", "a.wav"], "give one of them"),
        (["-", "-"], "can be read once"),
        (["--stream", "--format", "srt", "a.wav"], "--stream goes with"),
        (["--format", "srt", "a.wav", "b.wav"], "need --output-dir"),
        (["--timeout", "soon", "a.wav"], "expected a duration"),
        (["--timeout", "0s", "a.wav"], "above 0"),
        (["--format", "docx", "a.wav"], "docx"),
        ([], "FILE"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_done(terminal: Terminal, arguments: list[str], words: str) -> None:
    done = terminal.run("recognize", *arguments)
    assert (done.status, done.out) == (2, "")
    assert words in " ".join(done.err.split())


def test_where_results_go_never_overwrites_another(tmp_path: Path) -> None:
    from asrproxy.cli.recordings import Recording, targets

    below = [Path("a.mp3"), Path("a.wav"), Path("a.mp3"), Path("a.mp3"), Path("b/a.mp3"), Path("stdin")]
    found = [Recording(Path(str(place)) / each, str(each), each) for place, each in enumerate(below)]
    ways = targets(found, tmp_path, ".srt")
    assert [str(way.relative_to(tmp_path)) for way in ways.values()] == [
        "a.srt",
        "a.wav.srt",
        "a.mp3.srt",
        "a.mp3.2.srt",
        "b/a.srt",
        "stdin.srt",
    ]
