"""Draws docs/images/long-audio.svg: a recording's loudness, where it is cut, and the segments that become of it.

    python -m bench.long_audio_picture [FILE]

The cuts are the segmenter's own, on a tone recording of 100 s with an utterance limit of 20 s in place of 59, so that they can be seen.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from asrproxy.audio.segment import Piece, Segmenter
from asrproxy.audio.vad import LEVEL, VoiceDetector
from asrproxy.testing import tones

FILE = Path(__file__).resolve().parents[1] / "docs" / "images" / "long-audio.svg"
RATE = 16_000
LONGEST, MIN_SILENCE, OVERLAP, SKIP_SILENCE = 20.0, 0.3, 2.0, 3.0
WIDTH, LEFT, SCALE = 960, 20, 9.2  # SCALE: pixels a second
WAVE, WAVE_HEIGHT, BARS, BAR = 70, 46, 160, 26
QUIETEST = 60  # dB below full scale that is drawn as nothing

STYLE = """
text { font: 12px sans-serif; fill: #333 } .small { font-size: 11px; fill: #666 }
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

    return tones.compose([*talk(9), 9.0, said(170), 0.8, *talk(8)]).render(RATE)


def cut(pcm: bytes) -> tuple[bytes, list[Piece]]:
    detector = VoiceDetector(RATE)
    levels = detector.feed(pcm) + detector.flush()
    segmenter = Segmenter(
        sample_rate=RATE, longest=LONGEST, min_silence=MIN_SILENCE, overlap=OVERLAP, skip_silence=SKIP_SILENCE
    )  # fmt: skip
    return levels, [*segmenter.feed(pcm, levels), *segmenter.finish()]


def drawing(levels: bytes, pieces: list[Piece], seconds: float) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 262" role="img" aria-label="A recording cut into segments">',
        f"<style>{STYLE}</style>",
        f'<text x="{LEFT}" y="16">the recording: loudness, cuts in pauses (green), a forced one where nobody pauses (orange)</text>',
        *skipped(pieces, seconds),
        wave(levels),
        *cuts(pieces),
        f'<text x="{LEFT}" y="{BARS - 10}">one vendor call each, side by side; times stay those of the recording</text>',
        *segments(pieces),
        *axis(seconds),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def x(seconds: float) -> str:
    return f"{LEFT + seconds * SCALE:.1f}"


def wave(levels: bytes) -> str:
    """A polygon of the loudest of each tenth of a second, mirrored."""
    heights = [
        max(0.0, 1 - min(level & LEVEL for level in levels[first : first + 10]) / QUIETEST) * WAVE_HEIGHT
        for first in range(0, len(levels), 10)
    ]
    upper = [f"{x(index / 10)},{WAVE - height:.1f}" for index, height in enumerate(heights)]
    lower = [f"{x(index / 10)},{WAVE + height:.1f}" for index, height in reversed(list(enumerate(heights)))]
    return f'<polygon class="wave" points="{" ".join(upper + lower)}"/>'


def skipped(pieces: list[Piece], seconds: float) -> list[str]:
    edges = [0.0, *(edge for piece in pieces for edge in (piece.start, piece.end)), seconds]
    drawn = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if last - first > SKIP_SILENCE / 2:
            drawn.append(rectangle("skipped", first, last, 24, WAVE + WAVE_HEIGHT - 24))
            drawn.append(f'<text class="small" x="{x(first + 0.3)}" y="{WAVE + 4}">not sent</text>')
    return drawn


def cuts(pieces: list[Piece]) -> list[str]:
    edges = {(at, forced) for piece in pieces for at, forced in ((piece.start, piece.forced_start), (piece.end, piece.forced_end))}
    return [
        f'<line class="{"forced" if forced else "cut"}" x1="{x(at)}" x2="{x(at)}" y1="24" y2="{BARS + 66}"/>'
        for at, forced in sorted(edges)
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
            drawn.append(f'<text class="small" x="{x(piece.start)}" y="{BARS + 2 * BAR + 20}">heard twice, merged on the words</text>')
    return drawn


def axis(seconds: float) -> list[str]:
    y = 244
    ticks = [f'<text class="small" x="{x(at)}" y="{y + 14}" text-anchor="middle">{at} s</text>' for at in range(0, int(seconds) + 1, 10)]
    return [f'<line class="axis" x1="{x(0)}" x2="{x(seconds)}" y1="{y}" y2="{y}"/>', *ticks]


def rectangle(kind: str, first: float, last: float, top: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x(first)}" y="{top:.1f}" width="{(last - first) * SCALE:.1f}" height="{height:.1f}"/>'


if __name__ == "__main__":
    main()
