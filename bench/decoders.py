"""What decoding costs by format: CPU of a short request through the sidecar, beside PyAV decoding and resampling the same file in a loop.

    python -m bench.decoders [--requests 100] [--rounds 3]

The vendor is nginx with a fixed answer. What the forwarder costs for a file of that size is measured in the same rounds; the ratio is to
both together.
"""

from __future__ import annotations

import argparse
import asyncio
import io
from fractions import Fraction
from statistics import median

import av
import numpy as np

from asrproxy.testing import tones
from bench.request_cost import bare_decode, load
from bench.running import forwarder, sidecar_of, table
from bench.throughput import LIMITS, NLS
from bench.upstream import quick

FORMS = {
    "WAV 16 kHz mono": ("wav", "pcm_s16le", 16_000, "mono"),
    "WAV 44.1 kHz stereo": ("wav", "pcm_s16le", 44_100, "stereo"),
    "WAV mu-law 8 kHz": ("wav", "pcm_mulaw", 8_000, "mono"),
    "FLAC 16 kHz mono": ("flac", "flac", 16_000, "mono"),
    "FLAC 44.1 kHz stereo": ("flac", "flac", 44_100, "stereo"),
    "MP3 44.1 kHz stereo": ("mp3", "libmp3lame", 44_100, "stereo"),
    "AAC 44.1 kHz stereo": ("adts", "aac", 44_100, "stereo"),
    "Opus 48 kHz mono": ("ogg", "libopus", 48_000, "mono"),
    "WebM Opus 48 kHz": ("webm", "libopus", 48_000, "mono"),
}


def recording(container: str, codec: str, rate: int, layout: str) -> bytes:
    """Five seconds of tone speech in that form."""
    samples = np.frombuffer(tones.synthesize("天地玄黄" * 12, rate), dtype="<i2")[: 5 * rate]
    channels = 2 if layout == "stereo" else 1
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.repeat(samples, channels)[None, :].copy(), format="s16", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout=layout, rate=rate, frame_size=stream.codec_context.frame_size or 1024
        )
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            output.mux(stream.encode(piece))
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    with (
        quick() as vendor,
        forwarder(vendor.url, token="bench") as least,
        sidecar_of(NLS.format(vendor=vendor.url, limits=LIMITS, workers=1)) as ours,
    ):
        for name, form in FORMS.items():
            file = recording(*form)
            asyncio.run(load(ours, file, 20, 8))
            seen = []
            for _ in range(arguments.rounds):
                mine = asyncio.run(load(ours, file, arguments.requests, 8))
                theirs = asyncio.run(load(least, file, arguments.requests, 8))
                bare = bare_decode(file, 20)
                seen.append((mine, theirs, bare, mine / (theirs + bare)))
            mine, theirs, bare, ratio = (median(column) for column in zip(*seen, strict=True))
            rows.append([name, f"{len(file) / 1000:.0f}", f"{mine * 1e3:.2f}", f"{theirs * 1e3:.2f}", f"{bare * 1e3:.2f}", f"{ratio:.2f}"])
    head = ["5 s recording", "kB", "sidecar CPU ms", "forwarder CPU ms", "bare PyAV CPU ms", "ratio to both"]
    table("Decoders by format", head, rows)


if __name__ == "__main__":
    main()
