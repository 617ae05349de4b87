"""Draws docs/images/long-audio.svg: a recording's loudness, where it is cut, and the segments that become of it.

    python -m bench.long_audio_picture [FILE]

The cuts are the segmenter's own, on a tone recording of 100 s with an utterance limit of 20 s in place of 59, so that they can be seen.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np

from asrproxy.audio.segment import Piece, Segmenter
from asrproxy.audio.vad import LEVEL, VoiceDetector
from asrproxy.testing import tones

FILE = Path(__file__).resolve().parents[1] / "docs" / "images" / "long-audio.svg"
RATE = 16_000
LONGEST, MIN_SILENCE, OVERLAP, SKIP_SILENCE = 20.0, 0.3, 2.0, 3.0
WIDTH, HEIGHT, LEFT = 960, 272, 20
SCALE = 9.85  # pixels a second
TOP, WAVE, WAVE_HEIGHT, BARS, BAR = 28, 74, 44, 160, 26
QUIETEST = 45  # dB below full scale that is drawn as nothing
STEP = 5  # frames of 10 ms that share a point of the wave

STYLE = """
.page { fill: #fff } text { font: 12px sans-serif; fill: #333 } .small { font-size: 11px; fill: #666 }
.wave { fill: #5b7fa6 } .skipped { fill: #eee } .segment { fill: #dce9d5; stroke: #6a9955 } .shared { fill: #e9a23b; fill-opacity: .55 }
.cut { stroke: #6a9955; stroke-dasharray: 3 3 } .forced { stroke: #c7761a } .axis { stroke: #999 }
"""


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    pcm = recording()
    levels, pieces = cut(pcm)
    file.write_text(drawing(levels, pieces, len(pcm) / 2 / RATE), "utf-8")


def recording() -> bytes:
    """Phrases with pauses, a long silence, half a minute without a breath, phrases."""
    chance = random.Random(3)

    def said(symbols: int) -> str:
        return "".join(chance.choices(tones.CHARACTERS, k=symbols))

    def talk(phrases: int) -> list[str | float]:
        return [part for _ in range(phrases) for part in (said(chance.randint(6, 22)), chance.uniform(0.35, 1.2))]

    score = tones.compose([*talk(9), 9.0, said(170), 0.8, *talk(8)])
    # Nobody speaks as evenly as tones do: louder and softer from one word to the next.
    points = np.arange(0, score.duration + 1, 0.25)
    gain = np.interp(np.arange(round(score.duration * RATE)) / RATE, points, [chance.uniform(0.08, 1) for _ in points])
    return (np.frombuffer(score.render(RATE), "<i2") * gain).astype("<i2").tobytes()


def cut(pcm: bytes) -> tuple[bytes, list[Piece]]:
    detector = VoiceDetector(RATE)
    levels = detector.feed(pcm) + detector.flush()
    segmenter = Segmenter(
        sample_rate=RATE, longest=LONGEST, min_silence=MIN_SILENCE, overlap=OVERLAP, skip_silence=SKIP_SILENCE
    )  # fmt: skip
    return levels, [*segmenter.feed(pcm, levels), *segmenter.finish()]


def drawing(levels: bytes, pieces: list[Piece], seconds: float) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="A recording cut into segments">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        f'<text x="{LEFT}" y="18">the recording: loudness, cuts in pauses (green), a forced one where nobody pauses (orange)</text>',
        *skipped(pieces, seconds),
        wave(levels),
        *cuts(pieces),
        f'<text x="{LEFT}" y="{BARS - 12}">one vendor call each, side by side; times stay those of the recording</text>',
        *segments(pieces),
        *axis(seconds),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def x(seconds: float) -> str:
    return f"{LEFT + seconds * SCALE:.1f}"


def wave(levels: bytes) -> str:
    """A polygon of the loudest of every few frames, mirrored."""
    heights = [
        max(0.0, 1 - min(level & LEVEL for level in levels[first : first + STEP]) / QUIETEST) * WAVE_HEIGHT
        for first in range(0, len(levels), STEP)
    ]
    upper = [f"{x(index * STEP / 100)},{WAVE - height:.1f}" for index, height in enumerate(heights)]
    lower = [f"{x(index * STEP / 100)},{WAVE + height:.1f}" for index, height in reversed(list(enumerate(heights)))]
    return f'<polygon class="wave" points="{" ".join(upper + lower)}"/>'


def skipped(pieces: list[Piece], seconds: float) -> list[str]:
    edges = [0.0, *(edge for piece in pieces for edge in (piece.start, piece.end)), seconds]
    drawn = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if last - first > SKIP_SILENCE / 2:
            drawn.append(rectangle("skipped", first, last, TOP, WAVE + WAVE_HEIGHT - TOP))
            drawn.append(f'<text class="small" x="{x((first + last) / 2)}" y="{WAVE + 4}" text-anchor="middle">not sent</text>')
    return drawn


def cuts(pieces: list[Piece]) -> list[str]:
    edges = {(at, forced) for piece in pieces for at, forced in ((piece.start, piece.forced_start), (piece.end, piece.forced_end))}
    rows = ((TOP, WAVE + WAVE_HEIGHT + 4), (BARS - 4, BARS + 2 * BAR + 10))  # the caption is between them
    return [
        f'<line class="{"forced" if forced else "cut"}" x1="{x(at)}" x2="{x(at)}" y1="{top}" y2="{bottom}"/>'
        for at, forced in sorted(edges)
        for top, bottom in rows
    ]


def segments(pieces: list[Piece]) -> list[str]:
    drawn = []
    for piece in pieces:
        top = BARS + (piece.index % 2) * (BAR + 6)
        drawn.append(rectangle("segment", piece.start, piece.end, top, BAR))
        label = f"{piece.index}: {piece.end - piece.start:.1f} s"
        drawn.append(f'<text x="{x((piece.start + piece.end) / 2)}" y="{top + 17}" text-anchor="middle">{label}</text>')
        if piece.overlap_before:
            drawn.append(rectangle("shared", piece.start, piece.start + piece.overlap_before, BARS, 2 * BAR + 6))
            drawn.append(f'<text class="small" x="{x(piece.start)}" y="{BARS + 2 * BAR + 22}">heard twice, merged on the words</text>')
    return drawn


def axis(seconds: float) -> list[str]:
    y = HEIGHT - 24
    ticks = [f'<text class="small" x="{x(at)}" y="{y + 14}" text-anchor="middle">{at} s</text>' for at in range(0, int(seconds) + 1, 10)]
    return [f'<line class="axis" x1="{x(0)}" x2="{x(seconds)}" y1="{y}" y2="{y}"/>', *ticks]


def rectangle(kind: str, first: float, last: float, top: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x(first)}" y="{top:.1f}" width="{(last - first) * SCALE:.1f}" height="{height:.1f}"/>'


if __name__ == "__main__":
    main()
