"""Recordings for the tests, encoded when a test runs."""

from __future__ import annotations

import io
import math
import struct
import tempfile
from array import array
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from asrproxy.testing import tones

DATA = Path(__file__).parent / "data"
TEXT = "天地玄黄宇宙洪荒"

# name: muxer, codec, sample rate, layout, sample format, encoder options
FORMS: dict[str, tuple[str, str, int, str, str | None, dict[str, str]]] = {
    "wav-pcm16-stereo-44100": ("wav", "pcm_s16le", 44_100, "stereo", "s16", {}),
    "wav-pcm16-mono-16000": ("wav", "pcm_s16le", 16_000, "mono", "s16", {}),
    "wav-pcm16-mono-192000": ("wav", "pcm_s16le", 192_000, "mono", "s16", {}),
    "wav-pcm16-5.1-48000": ("wav", "pcm_s16le", 48_000, "5.1", "s16", {}),
    "wav-pcm8-mono-8000": ("wav", "pcm_u8", 8_000, "mono", "u8", {}),
    "wav-pcm24-stereo-96000": ("wav", "pcm_s24le", 96_000, "stereo", "s32", {}),
    "wav-float-mono-22050": ("wav", "pcm_f32le", 22_050, "mono", "flt", {}),
    "wav-mulaw-mono-8000": ("wav", "pcm_mulaw", 8_000, "mono", "s16", {}),
    "wav-alaw-stereo-8000": ("wav", "pcm_alaw", 8_000, "stereo", "s16", {}),
    "flac-mono-16000": ("flac", "flac", 16_000, "mono", "s16", {}),
    "flac-24bit-stereo-48000": ("flac", "flac", 48_000, "stereo", "s32", {}),
    "mp3-stereo-44100": ("mp3", "libmp3lame", 44_100, "stereo", "fltp", {}),
    "mp3-mono-8000": ("mp3", "libmp3lame", 8_000, "mono", "fltp", {}),
    "aac-adts-stereo-44100": ("adts", "aac", 44_100, "stereo", "fltp", {}),
    "m4a-stereo-48000": ("ipod", "aac", 48_000, "stereo", "fltp", {}),
    "m4a-faststart-mono-16000": ("ipod", "aac", 16_000, "mono", "fltp", {"movflags": "+faststart"}),
    "mp4-fragmented-stereo-44100": ("mp4", "aac", 44_100, "stereo", "fltp", {"movflags": "frag_keyframe+empty_moov"}),
    "ogg-opus-stereo-48000": ("ogg", "libopus", 48_000, "stereo", "s16", {}),
    "ogg-opus-mono-16000": ("ogg", "libopus", 16_000, "mono", "s16", {}),
    "ogg-vorbis-stereo-44100": ("ogg", "vorbis", 44_100, "stereo", "fltp", {"strict": "-2"}),
    "webm-opus-mono-48000": ("webm", "libopus", 48_000, "mono", "s16", {}),
}


def samples(rate: int, text: str = TEXT) -> Any:
    """The tone text as floats from -1 to 1."""
    pcm = tones.synthesize(text, 48_000 if rate > 48_000 else rate)
    mono = np.frombuffer(pcm, "<i2").astype(np.float64) / 32768
    return np.repeat(mono, rate // 48_000) if rate > 48_000 else mono


def encoded(mono: Any, form: tuple[str, str, int, str, str | None, dict[str, str]], channels: Any = None) -> bytes:
    """`mono` (floats) on every channel, or `channels` (a row a channel), in that container and codec."""
    muxer, codec, rate, layout, sample_format, options = form
    flags = {key: value for key, value in options.items() if key == "movflags"}
    # A file with a name: `faststart` opens it a second time to move the index to the front.
    with tempfile.NamedTemporaryFile() as out, av.open(out.name, "w", format=muxer, options=flags) as container:
        stream: Any = container.add_stream(codec, rate=rate, options={k: v for k, v in options.items() if k not in flags})
        stream.codec_context.layout = layout
        if sample_format is not None:
            stream.codec_context.format = sample_format
        count = len(av.AudioLayout(layout).channels)
        rows = np.tile(mono, (count, 1)) if channels is None else np.asarray(channels)
        flat = np.ascontiguousarray((np.clip(rows, -1, 1).T * 32767).astype("<i2").reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(flat, format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for part in (frame, None):
            container.mux(stream.encode(part))
        container.close()
        return Path(out.name).read_bytes()


@lru_cache
def recording(name: str, text: str = TEXT) -> bytes:
    """The tone text as one of `FORMS`, or as a real AMR clip."""
    if name.startswith("amr"):
        return (DATA / f"tones-{name[4:]}.amr").read_bytes()
    form = FORMS[name]
    return encoded(samples(form[2], text), form)


NAMES = (*FORMS, "amr-nb", "amr-wb")


def sine(frequency: float, rate: int, seconds: float, amplitude: float = 0.5) -> Any:
    return amplitude * np.sin(2 * math.pi * frequency * np.arange(int(rate * seconds)) / rate)


def wav(pcm: bytes, rate: int, channels: int = 1, *, claimed: int | None = None, before: bytes = b"") -> bytes:
    """A plain 16-bit WAV; claimed: the data size that its header has; before: chunks in front of the data."""
    size = len(pcm) if claimed is None else claimed
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", min(size + 36, 2**32 - 1))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + before
        + b"data"
        + struct.pack("<I", size)
        + pcm
    )


def level(pcm: bytes) -> float:
    """RMS in dB below full scale (a negative number)."""
    values = np.asarray(array("h", pcm), dtype=np.float64) / 32768
    return 10 * math.log10(max(float(np.mean(values**2)), 1e-12))


def video(*, audio: bool) -> bytes:
    """A second of grey pictures in MP4; audio: with a sound track beside it."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        pictures: Any = container.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        sound: Any = container.add_stream("aac", rate=16_000, layout="mono") if audio else None
        for _ in range(10):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, dtype=np.uint8), format="rgb24")))
        container.mux(pictures.encode(None))
        if sound is not None:
            flat = (samples(16_000) * 32767).astype("<i2").reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(flat, format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return out.getvalue()
