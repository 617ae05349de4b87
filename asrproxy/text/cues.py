"""Writes a transcript as subtitles, SubRip (srt) or WebVTT, in cues that a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from asrproxy.model import Segment, Transcript
from asrproxy.text.join import join
from asrproxy.text.tokens import tokens, unspaced

# Netflix Timed Text Style Guides (general requirements, and those of English, Chinese, Japanese and Korean): two lines at most, 5/6 to 7 s,
# 42 characters a line, of Chinese and Korean 16, of Japanese 13. A character of those counts as two columns here, a Latin one as one.
LINES: Final = 2
SHORTEST: Final = 5 / 6
LONGEST: Final = 7.0
COLUMNS: Final = 42
CHINESE_COLUMNS: Final = 32
JAPANESE_COLUMNS: Final = 26
KOREAN_COLUMNS: Final = 32

_SENTENCE: Final = frozenset(".!?。！？…")
_CLAUSE: Final = _SENTENCE | frozenset(",;:，、；：")
_QUOTES: Final = "\"'”’」』）)》]"
_PAUSE: Final = 1.0  # seconds without a word, after which a cue would only stand there


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines to show from `start` to `end`, seconds of the caller's audio."""

    start: float
    end: float
    lines: tuple[str, ...]


def srt(transcript: Transcript) -> str:
    """SubRip. It has no escapes: text stands as it is, but for what would be read as a time line."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_plain(cue)}\n\n"
        for number, cue in enumerate(cues(transcript), start=1)
    )


def vtt(transcript: Transcript) -> str:
    """WebVTT (W3C), with `&`, `<` and `>` escaped as its cue text asks."""
    return "WEBVTT\n\n" + "".join(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_escaped(cue)}\n\n" for cue in cues(transcript))


def cues(transcript: Transcript) -> list[Cue]:
    """Cues in order, never two at once. A segment that failed or in which nothing was said has none."""
    written = [cue for segment in transcript.segments if segment.error is None for cue in _of_segment(segment)]
    written.sort(key=lambda cue: cue.start)
    return _spaced(written)


@dataclass(frozen=True, slots=True)
class _Unit:
    """A word or character with the marks and the space round it."""

    text: str
    start: float
    end: float


def _of_segment(segment: Segment) -> Iterator[Cue]:
    limit = _columns(segment.text)
    for group in _groups(_units(segment), limit):
        text = "".join(unit.text for unit in group).strip()
        yield Cue(group[0].start, group[-1].end, tuple(_lines(text, limit)))


def _columns(text: str) -> int:
    """By the script that is there: a language tag may be missing or wrong."""
    wide = sum(1 for character in text if unspaced(character))
    if wide * 2 > len(text.replace(" ", "")):
        return JAPANESE_COLUMNS if any("\u3040" <= character <= "\u30ff" for character in text) else CHINESE_COLUMNS
    if any("\uac00" <= character <= "\ud7a3" for character in text):
        return KOREAN_COLUMNS
    return COLUMNS


def _units(segment: Segment) -> list[_Unit]:
    """The text's words with their times: the vendor's where they say the same as the text, else shared out by length."""
    text = " ".join(segment.text.split())
    if not text:
        return []
    found = tokens(text, segment.words)
    if segment.words and (not found or found[0].start is None):
        # The words say something else than the text (digits against number words): times that are known are worth more than marks.
        text = join([word.text for word in segment.words], segment.language)
        found = tokens(text, segment.words)
    if not found:
        return [_Unit(text, segment.start, segment.end)]
    edges = [0, *(_boundary(text, before.last, after.first) for before, after in pairwise(found)), len(text)]
    pieces = [text[first:last] for first, last in pairwise(edges)]
    if found[0].start is not None:
        return [_Unit(piece, each.start or 0.0, each.end or 0.0) for piece, each in zip(pieces, found, strict=True)]
    weights = [_width(piece) for piece in pieces]
    step = (segment.end - segment.start) / sum(weights)
    ends = [segment.start + step * reached for reached in accumulate(weights)]
    return [_Unit(piece, end - weight * step, end) for piece, end, weight in zip(pieces, ends, weights, strict=True)]


def _boundary(text: str, last: int, first: int) -> int:
    """Marks go with the word before, an opening quote or bracket with the one after."""
    while last < first and (text[last] in _CLAUSE or text[last] in _QUOTES or text[last] == " "):
        last += 1
    return last


def _groups(units: Sequence[_Unit], limit: int) -> Iterator[Sequence[_Unit]]:
    """Units that make a cue: a sentence, or as much of it as fits, broken at a mark where there is one in its second half."""
    first = 0
    while first < len(units):
        last = first + 1
        while last < len(units) and not _ends(units, first, last) and _fits(units[first : last + 1], limit):
            last += 1
        if last < len(units) and not _ends(units, first, last):
            last = next((at for at in range(last, first + (last - first) // 2, -1) if _marked(units[at - 1], _CLAUSE)), last)
        yield units[first:last]
        first = last


def _ends(units: Sequence[_Unit], first: int, last: int) -> bool:
    """Whether a cue is over before unit `last`, room or not."""
    finished = _marked(units[last - 1], _SENTENCE) and units[last - 1].end - units[first].start >= SHORTEST
    return finished or units[last].start - units[last - 1].end > _PAUSE


def _marked(unit: _Unit, marks: frozenset[str]) -> bool:
    return unit.text.rstrip().rstrip(_QUOTES)[-1:] in marks


def _fits(units: Sequence[_Unit], limit: int) -> bool:
    text = "".join(unit.text for unit in units).strip()
    return units[-1].end - units[0].start <= LONGEST and len(_lines(text, limit)) <= LINES


def _lines(text: str, limit: int) -> list[str]:
    """One line if it fits, else two of about the same width, broken after a mark or a word; more only where nothing else is possible."""
    if _width(text) <= limit:
        return [text]
    found = tokens(text)
    breaks = [_boundary(text, before.last, after.first) for before, after in pairwise(found)]
    halves = [(text[:at].rstrip(), text[at:].lstrip()) for at in breaks]
    fitting = [(upper, lower) for upper, lower in halves if _width(upper) <= limit and _width(lower) <= limit]
    if fitting:
        upper, lower = min(fitting, key=_unevenness)
        return [upper, lower]
    upper, lower = next((pair for pair in reversed(halves) if _width(pair[0]) <= limit), (text, ""))
    return [upper, *_lines(lower, limit)] if lower else [text]


def _unevenness(halves: tuple[str, str]) -> int:
    """Columns by which two lines differ; a break after a mark is worth eight of them."""
    upper, lower = halves
    return abs(_width(upper) - _width(lower)) - (8 if upper[-1] in _CLAUSE else 0)


def _width(text: str) -> int:
    return sum(2 if unspaced(character) or "\uac00" <= character <= "\ud7a3" else 1 for character in text)


def _spaced(written: Sequence[Cue]) -> list[Cue]:
    """Cues too short to be read stay until they can be, or the next one comes; none ends after the next begins."""
    spaced = []
    for index, cue in enumerate(written):
        following = written[index + 1].start if index + 1 < len(written) else float("inf")
        end = min(max(cue.end, cue.start + SHORTEST), max(following, cue.start + 0.001))
        spaced.append(Cue(cue.start, end, cue.lines))
    return spaced


def _clock(seconds: float, point: str) -> str:
    """`00:01:02,345`; the hours may have more digits."""
    total = max(0, round(seconds * 1000))
    minutes, milliseconds = divmod(total, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def _plain(cue: Cue) -> str:
    return "\n".join(cue.lines).replace("-->", "->")


def _escaped(cue: Cue) -> str:
    return "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
