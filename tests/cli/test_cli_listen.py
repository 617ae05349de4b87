"""`asrproxy listen`: speech to text while it is spoken, in a pipe, on a terminal, from a microphone."""

from __future__ import annotations

import ctypes.util
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asrproxy.testing import tones
from tests.cli.running import ASRPROXY, Terminal

SPEECH = tones.compose(["天地玄黄", 0.9, "宇宙洪荒"], tail=0.2)
FAKE = "providers: {tones: {type: fake}}\n"


@pytest.fixture
def asked(terminal: Terminal, sidecar: str) -> Terminal:
    """A terminal that knows the sidecar, in a folder with `a.wav`."""
    terminal.write("a.wav", tones.to_wav(SPEECH.render(), 16_000))
    return Terminal(terminal.folder, {**terminal.environ, "ASRPROXY_URL": sidecar, "ASRPROXY_TOKEN": "a-token"})


def test_sentences_are_lines(asked: Terminal) -> None:
    done = asked.run("listen", "--pace", "0", "a.wav")
    assert (done.status, done.out, done.err) == (0, "天地玄黄\n宇宙洪荒\n", "")


def test_a_recording_takes_as_long_as_it_was_spoken(asked: Terminal) -> None:
    """The first sentence is there before the second has been sent; no clock is asked."""
    read, write = os.pipe()
    pcm = SPEECH.render()
    middle = int((SPEECH.symbols[3].end + 0.6) * 16_000) * 2
    command = [ASRPROXY, "listen", "--encoding", "pcm_s16le", "--sample-rate", "16000", "-"]
    with subprocess.Popen(command, cwd=asked.folder, env=asked.environ, stdin=read, stdout=subprocess.PIPE, text=True) as process:
        os.close(read)
        os.write(write, pcm[:middle])
        assert process.stdout is not None
        assert process.stdout.readline() == "天地玄黄\n"
        os.write(write, pcm[middle:])
        os.close(write)
        assert process.stdout.read() == "宇宙洪荒\n"
    assert process.returncode == 0


@pytest.mark.parametrize("encoding", ["pcm_s16le", "mulaw"])
def test_headerless_audio_on_standard_input(asked: Terminal, encoding: str) -> None:
    pcm = SPEECH.render(8000)
    body = pcm if encoding == "pcm_s16le" else _mulaw(pcm)
    done = asked.run("listen", "--encoding", encoding, "--sample-rate", "8000", "--pace", "0", "-", stdin=body)
    assert (done.status, done.out) == (0, "天地玄黄\n宇宙洪荒\n"), done.err


def test_a_recording_with_a_header_on_standard_input(asked: Terminal) -> None:
    done = asked.run("listen", "--pace", "0", "-", stdin=(asked.folder / "a.wav").read_bytes())
    assert (done.status, done.out) == (0, "天地玄黄\n宇宙洪荒\n"), done.err


def test_several_channels_are_mixed(asked: Terminal) -> None:
    stereo = bytes(each for at in range(0, len(SPEECH.render()), 2) for each in SPEECH.render()[at : at + 2] * 2)
    done = asked.run(
        "listen", "--encoding", "pcm_s16le", "--sample-rate", "16000", "--channels", "2", "--pace", "0", "-", stdin=stereo
    )  # fmt: skip
    assert (done.status, done.out) == (0, "天地玄黄\n宇宙洪荒\n"), done.err


def test_every_message_as_json(asked: Terminal) -> None:
    done = asked.run("listen", "--json", "--words", "--pace", "0", "a.wav")
    told = [json.loads(line) for line in done.out.splitlines()]
    assert told[0]["type"] == "started"
    assert {"interim", "final"} <= {each["type"] for each in told}
    finals = [each for each in told if each["type"] == "final"]
    assert [word["text"] for word in finals[0]["words"]] == list("天地玄黄")
    assert told[-1] == {"type": "done", "text": "天地玄黄宇宙洪荒", "duration": pytest.approx(SPEECH.duration, abs=0.01)}
    quiet = asked.run("listen", "--json", "--no-interim", "--pace", "0", "a.wav").out
    assert '"interim"' not in quiet


def test_a_sidecar_of_its_own(terminal: Terminal) -> None:
    terminal.write("a.wav", tones.to_wav(SPEECH.render(), 16_000))
    terminal.write("asr.yaml", "server: {listen: '192.0.2.1:1', tokens: [x]}\n" + FAKE)
    done = terminal.run("listen", "-c", "asr.yaml", "--pace", "0", "a.wav")
    assert (done.status, done.out, done.err) == (0, "天地玄黄\n宇宙洪荒\n", "")


@contextmanager
def screen() -> Iterator[tuple[int, list[bytes]]]:
    """A terminal's other end, and what was written on it once the block is over."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def look() -> None:
        try:
            while piece := os.read(ours, 4096):
                shown.append(piece)
        except OSError:
            pass  # the other end was closed

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield theirs, shown
    finally:
        os.close(theirs)
        looking.join()
        os.close(ours)


def test_on_a_terminal_what_is_being_said_is_a_line_that_is_rewritten(asked: Terminal) -> None:
    with screen() as (terminal, shown):
        command = [ASRPROXY, "listen", "--pace", "0", "a.wav"]
        with subprocess.Popen(command, cwd=asked.folder, env=asked.environ, stdout=terminal, stderr=terminal) as process:
            assert process.wait(timeout=60) == 0
    text = b"".join(shown).decode()
    assert "\r\x1b[K天地" in text
    # As the terminal leaves it: what was rewritten is gone, the sentences stand.
    lines = [line.rpartition("\x1b[K")[2].strip("\r") for line in text.replace("\r\n", "\n").split("\n")]
    assert lines == ["天地玄黄", "宇宙洪荒", ""]


def test_what_is_being_said_never_gets_into_a_pipe(asked: Terminal) -> None:
    out = []
    with screen() as (terminal, shown):
        for flags in ([], ["--no-interim"]):
            command = [ASRPROXY, "listen", "--pace", "0", *flags, "a.wav"]
            with subprocess.Popen(command, cwd=asked.folder, env=asked.environ, stdout=subprocess.PIPE, stderr=terminal) as process:
                out.append(process.communicate(timeout=60)[0].decode())
    assert out == ["天地玄黄\n宇宙洪荒\n"] * 2
    assert b"".join(shown).count("天地玄黄".encode()) == 1


def test_ctrl_c_ends_the_speaking_and_the_last_sentence_is_told(asked: Terminal) -> None:
    command = [ASRPROXY, "listen", "--json", "--encoding", "pcm_s16le", "--sample-rate", "16000", "-"]
    with subprocess.Popen(
        command, cwd=asked.folder, env=asked.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(tones.synthesize("天地玄黄", tail=0.0))
        process.stdin.flush()
        while b"\xe7\x8e\x84" not in process.stdout.readline():  # 玄: an interim text
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    told = [json.loads(line) for line in out.decode().splitlines()]
    assert (process.returncode, err) == (0, b"")
    assert told[-1]["text"].startswith("天地玄")
    assert told[-1]["type"] == "done"


def test_a_second_ctrl_c_does_not_wait(terminal: Terminal) -> None:
    terminal.write("asr.yaml", "providers: {tones: {type: fake, script: [{hang: true}]}}\n")
    command = [ASRPROXY, "listen", "-c", "asr.yaml", "--json", "--encoding", "pcm_s16le", "--sample-rate", "16000", "-"]
    with subprocess.Popen(
        command, cwd=terminal.folder, env=terminal.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"started" in process.stdout.readline()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            while _pending(process, signal.SIGINT):  # two signals at once would be one
                time.sleep(0.01)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


# What cannot be done is one line.


def test_no_sidecar(terminal: Terminal) -> None:
    terminal.write("a.wav", tones.to_wav(SPEECH.render(), 16_000))
    done = terminal.run("listen", "--url", f"unix:{terminal.folder}/none.sock", "a.wav")
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert "no sidecar answers at unix:" in done.err
    assert "`asrproxy serve`" in done.err


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["a.wav"], {"ASRPROXY_TOKEN": "another"}, "unauthorized: "),
        (["--route", "nowhere", "a.wav"], {}, "unknown_route: "),
        (["--vocabulary", "x", "a.wav"], {}, "unsupported_parameter: "),
        (["missing.wav"], {}, "missing.wav: cannot be read: No such file"),
        (["notes.txt"], {}, "notes.txt: "),
    ],
)
def test_what_is_refused(asked: Terminal, arguments: list[str], environ: dict[str, str], words: str) -> None:
    asked.write("notes.txt", "no sound at all")
    done = asked.run("listen", "--pace", "0", *arguments, **environ)
    assert (done.status, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(f"asrproxy listen: {words}")


def test_a_session_that_fails_keeps_what_was_told(terminal: Terminal) -> None:
    terminal.write("a.wav", tones.to_wav(SPEECH.render(), 16_000))
    terminal.write(
        "asr.yaml",
        "providers: {tones: {type: fake, capabilities: {streaming: false}, script: [{}, {error: refused}]}}\n",
    )
    done = terminal.run("listen", "-c", "asr.yaml", "--pace", "0", "a.wav")
    assert (done.status, done.out) == (1, "天地玄黄\n")
    assert done.err.startswith("asrproxy listen: provider_auth: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--url", "http://x", "-c", "y", "a.wav"], "give one of them"),
        (["--encoding", "mulaw", "-"], "go together"),
        (["--sample-rate", "8000", "-"], "go together"),
        (["--encoding", "mulaw", "--sample-rate", "8000"], "is for a recording"),
        (["--device", "1", "a.wav"], "give one of them"),
        (["--sample-rate", "4000", "--encoding", "mulaw", "-"], "--sample-rate"),
    ],
)
def test_what_does_not_go_together(terminal: Terminal, arguments: list[str], words: str) -> None:
    done = terminal.run("listen", *arguments)
    assert (done.status, done.out) == (2, "")
    assert words in " ".join(done.err.split())


# The microphone.


def without(terminal: Terminal, error: str) -> Terminal:
    """As where importing sounddevice ends like this."""
    site = terminal.folder / "home" / "site"
    (site / "sounddevice.py").write_text(f"raise {error}\n")
    return terminal


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("ModuleNotFoundError(\"No module named 'sounddevice'\")", "pip install 'asrproxy[listen]'"),
        ("OSError('PortAudio library not found')", "apt-get install libportaudio2"),
    ],
)
def test_what_the_microphone_needs_is_said(terminal: Terminal, error: str, advice: str) -> None:
    for arguments in ([], ["--devices"]):
        done = without(terminal, error).run("listen", *arguments)
        assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1)
        assert advice in done.err


def cards() -> str:
    try:
        return Path("/proc/asound/cards").read_text()
    except OSError:
        return "no soundcards"


portaudio = pytest.mark.skipif(ctypes.util.find_library("portaudio") is None, reason="PortAudio is not installed (libportaudio2)")


@portaudio
@pytest.mark.skipif("no soundcards" not in cards(), reason="this machine has a sound card, and nobody wants to be heard")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "no microphone was found"), (["--devices"], "no microphone was found"), (["--device", "99"], "no microphone can be used")],
)
def test_without_a_microphone_it_says_so(terminal: Terminal, arguments: list[str], words: str) -> None:
    done = terminal.run("listen", *arguments)
    assert (done.status, done.out) == (1, "")
    assert words in done.err.splitlines()[-1]


@portaudio
def test_the_microphone(asked: Terminal) -> None:
    """ALSA plays a file where the hardware would be, faster than anybody speaks."""
    home = Path(asked.environ["HOME"])
    (home / "speech.raw").write_bytes(SPEECH.render())
    (home / ".asoundrc").write_text(
        f'pcm.speech {{ type file; slave.pcm "null"; file "/dev/null"; infile "{home}/speech.raw"; format "raw" }}\n'
        'pcm.!default { type plug; slave.pcm "speech" }\n'
    )
    listed = asked.run("listen", "--devices")
    assert "speech" in listed.out, listed
    with subprocess.Popen(
        [ASRPROXY, "listen"], cwd=asked.folder, env=asked.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().decode() == "天地玄黄\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def _pending(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Whether the process, which may have ended, has not been given the signal yet."""
    if process.poll() is not None:
        return False
    sets = re.findall(r"^(?:SigPnd|ShdPnd):\s+(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return any(int(each, 16) >> (number - 1) & 1 for each in sets)


def _mulaw(pcm: bytes) -> bytes:
    import numpy as np

    from asrproxy.audio import g711

    values = np.frombuffer(g711.linear(np.arange(256, dtype=np.uint8).tobytes(), "mulaw"), "<i2").astype(int)
    samples = np.frombuffer(pcm, "<i2").astype(int)
    return np.abs(samples[:, None] - values[None, :]).argmin(axis=1).astype(np.uint8).tobytes()
