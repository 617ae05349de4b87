"""Decoding with the ffmpeg program that pydub finds, for platforms that have no PyAV wheel.

Only the search for the program is pydub's. `AudioSegment.from_file` would hold a whole recording several times over at its own rate (4 h of
stereo at 44.1 kHz: 2.5 GB, times three), needs ffprobe as a third process, and puts its `parameters` behind ffmpeg's output, where
ffmpeg 5.1 ignores them; `set_frame_rate` has no low-pass filter and folds what lies above the new Nyquist frequency into the speech. So
the program is run here with down-mix and rate as its own output parameters, and its output is read as it comes: memory does not grow
with the recording. What it costs beside PyAV: a child process for each recording, and a body has to be complete before it begins.
"""

from __future__ import annotations

import re
import subprocess
from collections import deque
from collections.abc import Generator
from threading import Event, Thread
from typing import IO, Final

from asrproxy.audio.arriving import Arriving, behind_tag
from asrproxy.audio.confine import die_with_parent
from asrproxy.audio.protocol import Job
from asrproxy.audio.sniff import LISTED
from asrproxy.errors import InvalidAudio, UnsupportedMedia

PROGRAM: Final = 320 * 2**20
"""Address space that ffmpeg maps before it decodes anything (Debian 12, ffmpeg 5.1: 267 MB), on top of what a job may take."""

# As sniff names them, where ffmpeg has another name.
_DEMUXERS: Final = {"mp4": "mov", "webm": "matroska", "pcm_s16le": "s16le"}
_CODEC: Final = re.compile(rb"Stream #0:\d+\S*: Audio: (\w+)")
_NO_TRACK: Final = (b"matches no streams", b"does not contain any stream")


def decode_pydub(body: Arriving, job: Job, codecs: frozenset[str]) -> Generator[bytes, None, None]:
    """Mono s16le at the job's rate, as the program gives it. codecs: the ones that are taken, by FFmpeg's names."""
    body.fetch_all()
    program = subprocess.Popen(  # noqa: S603 (no shell; nothing of the caller's is in the command)
        _command(body, job),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(body.descriptor,),
        preexec_fn=die_with_parent,  # noqa: PLW1509 (one thread here: the reader of the last program has ended)
    )
    if program.stdout is None or program.stderr is None:
        raise AssertionError("both were asked for")
    said = _Said(program.stderr)
    try:
        empty = True
        while pcm := program.stdout.read(2 * job.rate):
            if empty:
                said.check(codecs)
            empty = False
            yield pcm
        status = program.wait()
        if empty:
            said.check(codecs)
            if said.no_track:
                raise InvalidAudio("there is no audio track in the body")
            if status:
                raise InvalidAudio(f"the body begins like {job.container.upper()} but cannot be decoded: {said.last}")
    finally:
        program.kill()
        program.wait()
        said.close()
        program.stdout.close()


class _Said:
    """What the program writes about its input and its troubles: read as it comes, so that it never waits for us."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._codec: str | None = None
        self._opened = Event()
        self._lines: deque[bytes] = deque(maxlen=20)
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def check(self, codecs: frozenset[str]) -> None:
        """Raises UnsupportedMedia for a codec that is not taken, once the program has opened its input or ended."""
        self._opened.wait()
        if self._codec is not None and self._codec not in codecs:
            raise UnsupportedMedia(f"{self._codec} is not taken; send {LISTED}")

    @property
    def no_track(self) -> bool:
        return any(mark in line for line in self._lines for mark in _NO_TRACK)

    @property
    def last(self) -> str:
        return self._lines[-1].decode(errors="replace")[:200] if self._lines else "it says nothing"

    def close(self) -> None:
        self._reader.join()
        self._stream.close()

    def _read(self) -> None:
        for line in iter(lambda: self._stream.readline(2**12), b""):
            self._lines.append(line.strip())
            if self._codec is None and (found := _CODEC.search(line)):
                self._codec = found[1].decode()
            if line.startswith((b"Stream mapping", b"Output #")):
                self._opened.set()
        self._opened.set()


def _command(body: Arriving, job: Job) -> list[str]:
    from pydub import AudioSegment

    if job.headerless:
        demuxer, form = job.container, ["-ar", str(job.source_rate), "-ac", str(job.channels)]
    else:
        demuxer, form = behind_tag(body, job.container), []
    limit = [] if job.longest > 2**31 else ["-t", f"{job.longest + 1:.3f}"]
    return [
        AudioSegment.converter, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "info", "-threads", "1",
        "-protocol_whitelist", "file", "-f", _DEMUXERS.get(demuxer, demuxer), *form, "-i", f"/dev/fd/{body.descriptor}",
        "-map", "0:a:0", "-ac", "1", "-ar", str(job.rate), *limit, "-c:a", "pcm_s16le", "-f", "s16le", "pipe:1",
    ]  # fmt: skip
