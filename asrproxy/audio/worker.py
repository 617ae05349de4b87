"""A decoder process, run as `python -m asrproxy.audio.worker`: bodies in, mono 16-bit PCM out. The only file that imports PyAV.

Bytes from strangers are parsed here and nowhere else, by a process that may add only so much memory, opens no other file or address, and
can be killed without anyone else noticing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterator
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from asrproxy.audio import protocol, wav
from asrproxy.audio.arriving import Arriving, behind_tag
from asrproxy.audio.confine import bound_memory, die_with_parent
from asrproxy.audio.protocol import HEADER, Job, Kind
from asrproxy.audio.sniff import LISTED
from asrproxy.audio.wav import Samples
from asrproxy.errors import AsrError, AudioTooLong, InvalidAudio, UnsupportedMedia
from asrproxy.model import BYTES_PER_SAMPLE, AudioFormat

if TYPE_CHECKING:
    from av import AudioFifo, AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

Pcm = bytes | bytearray | memoryview
Decoder = Callable[[Arriving, Job], Generator[Pcm, None, None]]
"""Gives a body's samples as mono s16le at the job's rate, in pieces of any size."""

_Form = tuple[str, str, int]
"""Of a frame: sample format and channel layout by FFmpeg's names, rate in Hz."""

BLOCK_SECONDS: Final = 1

_READ: Final = 2**16
"""Bytes of the body that are read at once."""

_WAV_HEAD: Final = 2 * wav.HEAD

_DISGUISED: Final = tuple(map(bytes.fromhex, ("7ffe8001", "fe7f0180", "1fffe800", "ff1f00e8", "72f81f4e")))
"""How DTS (in 16 or 14 bits, either byte order; ETSI TS 102 114) and what passes through S/PDIF (IEC 61937) begin a frame: both hide in
WAV files that call themselves PCM, and would be noise. FFmpeg looks closer."""

_JOINED: Final = 2**14
"""Samples; an MP3 frame has 1,152."""

CODECS: Final = frozenset((
    "pcm_s16le", "pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_s64le", "pcm_f32le", "pcm_f64le", "pcm_mulaw", "pcm_alaw",
    "pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_s8",  # in MP4 and MOV
    "flac", "mp3", "mp3float", "aac", "opus", "libopus", "vorbis", "libvorbis",
    "amrnb", "amrwb", "amr_nb", "amr_wb", "libopencore_amrnb", "libopencore_amrwb",
))  # fmt: skip
"""The codecs on the list; one of them in any container on the list is taken."""

_DEMUXERS: Final = {"mp4": "mov", "webm": "matroska", "pcm_s16le": "s16le"}
_FASTEST: Final = 1_000_000
"""Hz. No recording has a higher rate, but a damaged header may: the filter for 369 MHz takes ten seconds and 300 MB to design."""
_LAYOUTS: Final = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")


class _Stopped(Exception):
    """The pool wants this job to be done another time."""


def main() -> NoReturn:
    """Arguments: the descriptors of socket and page, `auto`, `av` or `pydub`, and the bytes of address space that may be added."""
    descriptor, page, decoder, memory = sys.argv[1:]
    die_with_parent()
    pipe = Pipe(socket.socket(fileno=int(descriptor)), int(page))
    try:
        name, decode, base = _decoder(decoder)
    except ImportError as error:
        pipe.fail(RuntimeError(f"the decoder {decoder!r} cannot be loaded: {error}"))
        sys.exit(1)
    bound_memory(base + int(memory))
    pipe.send(Kind.READY, name.encode())
    while (order := pipe.job()) is not None:
        job, body = order
        try:
            _answer(pipe, job, Arriving(body, job.size, job.complete, pipe), decode)
        except _Stopped:
            pipe.send(Kind.DONE)
        except AsrError as error:
            pipe.fail(error)
        except MemoryError:
            pipe.fail(InvalidAudio("decoding this audio needs more memory than a decoder may take (server.audio.memory)"))
        except Exception as error:
            pipe.fail(error)  # the owner of the job: a defect is told to the pool, which raises it there
        finally:
            if body != pipe.page:
                os.close(body)
    sys.exit(0)


class Pipe:
    """The decoder's end of the socket, and the page. The pool's death is this process's end."""

    def __init__(self, sock: socket.socket, page: int) -> None:
        self._sock, self.page = sock, page

    def job(self) -> tuple[Job, int] | None:
        """The next job and its body's descriptor, the page's if it lies there; None: there will be none."""
        head, descriptors, _, _ = socket.recv_fds(self._sock, HEADER.size, 1)
        if not head:
            return None
        _, size, _ = HEADER.unpack(head + self._exactly(HEADER.size - len(head)))
        return Job(**json.loads(self._exactly(size))), descriptors[0] if descriptors else self.page

    def more(self, beyond: int) -> tuple[int, bool]:
        self.send(Kind.NEED, protocol.POSITION.pack(beyond))
        _, payload = self._frame()
        size, complete = protocol.SIZE.unpack(payload)
        return size, complete

    def go_on(self) -> bool:
        """Whether a recording that turned out to be long is to be decoded now."""
        self.send(Kind.LONG)
        kind, _ = self._frame()
        return kind is Kind.GO

    def give(self, pcm: bytearray) -> None:
        """A short recording, of whose body nothing is needed any more."""
        if len(pcm) > protocol.PAGE:
            self.send(Kind.WHOLE, pcm)
            return
        with memoryview(pcm) as left:
            done = 0
            while done < len(pcm):
                done += os.pwrite(self.page, left[done:], done)
        self._sock.sendall(HEADER.pack(Kind.LAID, len(pcm), protocol.NO_LEVELS))

    def send(self, kind: Kind, *parts: Pcm, levels: int = protocol.NO_LEVELS) -> None:
        """Stands still while the pool does not read: that is the back-pressure."""
        frame = [HEADER.pack(kind, sum(len(part) for part in parts), levels), *parts]
        sent = self._sock.sendmsg(frame)
        if sent < sum(len(part) for part in frame):
            self._sock.sendall(b"".join(frame)[sent:])

    def fail(self, error: Exception) -> None:
        self.send(Kind.FAILED, json.dumps([type(error).__name__, str(error)]).encode())

    def _frame(self) -> tuple[Kind, bytes]:
        kind, size, _ = HEADER.unpack(self._exactly(HEADER.size))
        return Kind(kind), self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._sock.recv(size - len(data))
            if not part:
                sys.exit(0)
            data += part
        return bytes(data)


def _answer(pipe: Pipe, job: Job, body: Arriving, decode: Decoder) -> None:
    uncoded = _uncoded(body, job)
    asis = uncoded is not None and uncoded.format == AudioFormat(job.rate)
    pieces = _bounded(_bytes(body, uncoded) if uncoded is not None and asis else decode(body, job), job)
    with contextlib.closing(pieces):
        if job.voiced:
            pipe.send(Kind.VALUE, protocol.VALUE.pack(_speech(pieces, job.rate)))
        else:
            _deliver(pipe, job, pieces)


def _deliver(pipe: Pipe, job: Job, pieces: Iterator[Pcm]) -> None:
    """A short recording in one frame, a long one in blocks with levels."""
    second = job.rate * BYTES_PER_SAMPLE
    whole = int(min(job.whole, 2**40) * job.rate) * BYTES_PER_SAMPLE
    pending = bytearray()
    for piece in pieces:
        pending += piece
        if len(pending) > whole:
            break
    else:
        if not pending:
            raise InvalidAudio("there is no audio in the body")
        pipe.give(pending)
        return
    if not pipe.go_on():
        raise _Stopped
    from asrproxy.audio.vad import VoiceDetector

    detector = VoiceDetector(job.rate)
    size = BLOCK_SECONDS * second
    while True:
        while len(pending) >= size:
            block = bytes(pending[:size])
            del pending[:size]
            levels = detector.feed(block)
            pipe.send(Kind.BLOCK, block, levels, levels=len(levels))
        piece = next(pieces, b"")
        if not piece:
            break
        pending += piece
    block = bytes(pending)
    levels = detector.feed(block) + detector.flush()
    if block or levels:
        pipe.send(Kind.BLOCK, block, levels, levels=len(levels))
    pipe.send(Kind.DONE)


def _speech(pieces: Iterator[Pcm], rate: int) -> float:
    """Seconds of the frames in which something is said."""
    from asrproxy.audio.vad import FRAMES_PER_SECOND, SPEECH, VoiceDetector

    detector = VoiceDetector(rate)
    frames = 0
    for piece in pieces:
        frames += sum(level >= SPEECH for level in detector.feed(bytes(piece)))
    frames += sum(level >= SPEECH for level in detector.flush())
    return frames / FRAMES_PER_SECOND


def _bounded(pieces: Iterator[Pcm], job: Job) -> Generator[Pcm, None, None]:
    """Ends with AudioTooLong at the sample after the last that is allowed, however long the bytes could go on."""
    left = int(min(job.longest, 2**40) * job.rate) * BYTES_PER_SAMPLE
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise _too_long(job)
        if piece:
            yield piece


def _too_long(job: Job) -> AudioTooLong:
    return AudioTooLong(f"the recording is longer than {job.longest:g} s, the limit here (server.max_audio)")


def _uncoded(body: Arriving, job: Job) -> Samples | None:
    """Where 16-bit samples lie in the body as they are, if they do: no demuxer or codec is needed to get at them."""
    if job.headerless:
        found = Samples(AudioFormat(job.source_rate, job.channels)) if job.container == "pcm_s16le" else None
    elif job.container == "wav":
        head = body.peek(0, _WAV_HEAD)
        found = wav.samples(head)
        if found is not None and any(mark in head[found.first :] for mark in _DISGUISED):
            return None
    else:
        return None
    # Where each of more channels stands is FFmpeg's to know.
    return found if found is not None and found.format.channels <= 2 else None


def _bytes(body: Arriving, where: Samples) -> Generator[bytes, None, None]:
    """The samples, in pieces of whole ones."""
    body.seek(where.first)
    left = where.size if where.size is not None else sys.maxsize
    width = where.format.channels * BYTES_PER_SAMPLE
    rest = b""
    while left and (data := body.read(min(_READ, left))):
        left -= len(data)
        data = rest + data
        whole = len(data) - len(data) % width
        rest = data[whole:]
        yield data[:whole]


def _decoder(wanted: str) -> tuple[str, Decoder, int]:
    """The decoder, its name, and address space that it needs before it decodes. `auto` takes pydub's program where there is no PyAV."""
    if wanted != "pydub":
        try:
            import av  # noqa: F401
        except ImportError:
            if wanted == "av":
                raise
        else:
            return "av", decode_av, 0
    from asrproxy.audio.pydub_decoder import PROGRAM, decode_pydub

    return "pydub", functools.partial(decode_pydub, codecs=CODECS), PROGRAM


def decode_av(body: Arriving, job: Job) -> Generator[Pcm, None, None]:
    """Through FFmpeg's libraries in this process. Broken packets are left out; what comes before a break in the file is kept."""
    import av

    container = job.container if job.headerless else behind_tag(body, job.container)
    try:
        if (uncoded := _uncoded(body, job)) is not None:
            yield from _resampled(body, uncoded, job)
            return
        with _opened(body, job, container) as opened:
            claimed = float(opened.duration or 0) / av.time_base
            if not body.complete or claimed <= job.longest:
                yield from _samples(opened, job)
                return
            # Found out before a vendor is paid for the first hours; a header alone is not believed, a cut file keeps its old one.
            if _length(opened) > job.longest:
                raise _too_long(job)
        body.seek(0)
        with _opened(body, job, container) as opened:
            yield from _samples(opened, job)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InvalidAudio(f"the body begins like {container.upper()} but cannot be decoded: {_reason(error)}") from error


def _resampled(body: Arriving, where: Samples, job: Job) -> Iterator[Pcm]:
    from av import AudioFrame

    source = where.format
    if body.complete and min(where.size or body.size, body.size - where.first) > job.longest * source.bytes_per_second:
        raise _too_long(job)
    layout = _layout(source.channels)
    resampler = _Resampler(("s16", layout, source.sample_rate), job.rate)
    for data in _bytes(body, where):
        frame = AudioFrame("s16", layout, len(data) // (source.channels * BYTES_PER_SAMPLE))
        frame.sample_rate = source.sample_rate
        frame.planes[0].update(data)
        yield from resampler.feed(frame)
    yield from resampler.feed(None)


def _opened(body: Arriving, job: Job, container: str) -> InputContainer:
    import av

    # First packets tell enough; with the default of 5 MB, opening a 5 s WAV cost 20 ms. What is probed in a WAV is whether DTS passes
    # for PCM in it, which its first packet shows, at the price of every demuxer's look at so many bytes.
    options = {"probesize": "8192" if container == "wav" else "32768"}
    if job.headerless:
        options |= {"sample_rate": str(job.source_rate), "ch_layout": _layout(job.channels)}
    # The container is the one that was sniffed, and nothing is opened beside it: no playlist, reference or address is followed.
    # Tags in no known encoding are no reason to refuse a recording; PyAV 19 has no such argument any more.
    tolerant: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    opened: InputContainer = av.open(
        body,
        "r",
        format=_DEMUXERS.get(container, container),
        options=options,
        buffer_size=_READ,
        io_open=_refuse,
        **tolerant,
    )
    return opened


def _samples(opened: InputContainer, job: Job) -> Iterator[Pcm]:
    stream = _track(opened)
    stream.codec_context.thread_count = 1
    # A stream may change its rate or channels on its way: each stretch has a resampler of its own.
    for form, frames in groupby(_frames(opened, stream), key=_form):
        resampler = _Resampler(form, job.rate)
        for frame in chain(_joined(frames), (None,)):
            yield from resampler.feed(frame)


class _Resampler:
    """Frames of one form to mono s16le at `rate` Hz.

    Down-mix and resampling are libswresample's (rematrix, then a windowed-sinc low-pass below the new Nyquist frequency). PyAV's own
    AudioResampler does the same, but starts a thread for each core with it, which a short recording pays for.
    """

    def __init__(self, form: _Form, rate: int) -> None:
        from av.filter import Graph

        sample_format, layout, source_rate = form
        if source_rate > _FASTEST:
            raise InvalidAudio(f"the audio claims {source_rate} samples a second, more than {_FASTEST}: its header is damaged")
        graph = Graph()
        if hasattr(graph, "threads"):  # not in the oldest PyAV that is taken
            graph.threads = 1
        self._source = graph.add(
            "abuffer", sample_rate=str(source_rate), sample_fmt=sample_format, channel_layout=layout, time_base=f"1/{source_rate}"
        )
        converter = graph.add("aformat", sample_rates=str(rate), sample_fmts="s16", channel_layouts="mono")
        self._sink = graph.add("abuffersink")
        graph.link_nodes(self._source, converter, self._sink).configure()
        self._graph = graph

    def feed(self, frame: AudioFrame | None) -> Iterator[Pcm]:
        """None: there are no more, what the filter still holds is given out."""
        import av

        self._source.push(frame)
        while True:
            try:
                done = cast("AudioFrame", self._sink.pull())
            except (av.BlockingIOError, av.EOFError):
                return
            yield memoryview(done.planes[0])[: done.samples * BYTES_PER_SAMPLE]


def _joined(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """The same samples in frames of at least `_JOINED`: a step of the resampler costs about as much as what it does with 1,000 samples."""
    import av

    queue = av.AudioFifo()
    waiting = 0
    for frame in frames:
        frame.pts = None  # samples are the clock: a gap in damaged timestamps must not become one in the audio
        if not waiting and frame.samples >= _JOINED:
            yield frame
            continue
        queue.write(frame)
        waiting += frame.samples
        if waiting >= _JOINED:
            yield _taken(queue)
            waiting = 0
    if waiting:
        yield _taken(queue)


def _taken(queue: AudioFifo) -> AudioFrame:
    """All that is in the queue."""
    frame = queue.read()
    assert frame is not None  # noqa: S101 - something was written into it
    frame.pts = None
    return frame


def _form(frame: AudioFrame) -> _Form:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _frames(opened: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    import av

    packets = opened.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, EOFError):
            return
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            packet = None  # the file breaks off here: what the decoder still holds is given out
        try:
            yield from stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
        if packet is None:
            return


def _track(opened: InputContainer) -> AudioStream:
    """The first audio track. Raises InvalidAudio: there is none; UnsupportedMedia: its codec is not on the list."""
    import av

    tracks = opened.streams.audio
    if not tracks:
        raise InvalidAudio("there is no audio track in the body")
    track = tracks[0]
    codec = track.codec_context.name if track.codec_context is not None else "an unknown codec"
    if codec not in CODECS:
        raise UnsupportedMedia(f"{codec} is not taken; send {LISTED}")
    for other in opened.streams:
        if other is not track and hasattr(other, "discard"):  # PyAV 16 and later
            other.discard = av.stream.Discard.all
    return track


def _length(opened: InputContainer) -> float:
    """Seconds by the packets that are there; nothing is decoded."""
    stream = _track(opened)
    return float(sum((packet.duration or 0) for packet in opened.demux(stream)) * (stream.time_base or 0))


def _layout(channels: int) -> str:
    return _LAYOUTS[channels - 1] if channels <= len(_LAYOUTS) else f"{channels}C"


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("a recording may not refer to another file")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


if __name__ == "__main__":
    main()
