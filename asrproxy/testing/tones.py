"""Speech for machines: an alphabet of tone pairs whose text and times can be read back exactly out of the audio.

100 symbols: 64 characters of the Thousand Character Classic, a to z, 0 to 9, no two alike. Symbol number i (its place in `ALPHABET`) is
two sine tones at once, as on a telephone's keys:

    low tone    400 + 100 * (i // 10) Hz, plus 50 Hz for every second symbol that is sounded
    high tone   1500 + 200 * (i % 10) Hz

Everything lies between 400 and 3300 Hz, so it lives through telephone lines (8 kHz, mu-law, AMR), MP3, AAC and Opus. Of Opus only the
general coder is safe (`-application lowdelay`): left to choose, an encoder takes the one for voices now and then, and that loses symbols
(at 24 kbit/s in 4 of 100 recordings of 10 s).

The 50 Hz tell neighbours apart: the low tone changes from each symbol to the next even where they are the same and no gap is between
them. A piece of audio that was lost, doubled or put in the wrong place therefore shows in the text, and where it was shows in the times.

    pcm = synthesize("天地玄黄 宇宙洪荒")                # a space is a pause
    assert text_of(decode(pcm, 16_000)) == "天地玄黄宇宙洪荒"

    score = compose(["天地", 0.8, "玄黄"])                # strings and seconds of silence: `score.symbols` knows the time of each symbol
    wav = to_wav(score.render(8_000), 8_000)
"""

from __future__ import annotations

import random
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from math import cos, pi, sin
from statistics import fmean, median
from typing import Final

from asrproxy.testing.looks import Column, look

CHARACTERS: Final = (
    "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈剑号巨阙珠称夜光果珍李柰菜重芥姜"
)
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
ALPHABET: Final = CHARACTERS + LETTERS

SYMBOL: Final = 0.12
"""Seconds of one symbol, unless told."""
GAP: Final = 0.06
"""Seconds between two symbols of a phrase, unless told: far below what anything takes for a pause."""
PAUSE: Final = 0.5
"""Seconds of a space or a line's end in a text, unless told."""
SHORTEST: Final = 0.07
"""Seconds that a symbol must have to be heard: of one cut in two, at most one half is (0.12 is less than twice this)."""

_LOW: Final = tuple(400.0 + 50.0 * step for step in range(20))
_HIGH: Final = tuple(1500.0 + 200.0 * step for step in range(10))
_RAMP: Final = 0.004  # s; softens the edges, so that a symbol does not click through the whole spectrum
_HOP: Final = 0.005  # s between two looks at the audio
_HALF_WINDOW: Final = 6  # hops; a look is a triangle of twice that, whose first null (33 Hz) is nearer than the next tone (50 Hz)
_FLOOR: Final = 12.0  # rms of 16-bit samples (-69 dBFS); below it everything is silence
_PURITY: Final = 0.7  # share of the energy that must be in the two tones; speech and music have less, or not for long enough
_BALANCE: Final = 25.0  # power ratio (14 dB) that the two tones may be apart


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol of the alphabet and when it sounds, in seconds from the beginning of the audio."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Score:
    """What is to be sounded when: `symbols` in order, within `duration` seconds."""

    symbols: tuple[Symbol, ...]
    duration: float

    @property
    def text(self) -> str:
        """As a recogniser writes it: see `text_of`."""
        return text_of(self.symbols)

    def render(self, sample_rate: int = 16_000, *, amplitude: float = 0.5) -> bytes:
        """The sound: s16le mono. amplitude: the peak, of full scale."""
        samples = array("h", bytes(2 * round(self.duration * sample_rate)))
        for number, symbol in enumerate(self.symbols):
            first = round(symbol.start * sample_rate)
            sound = _sound(symbol.text, number % 2, round(symbol.end * sample_rate) - first, sample_rate, amplitude)
            samples[first : first + len(sound)] = sound
        if sys.byteorder == "big":
            samples.byteswap()
        return samples.tobytes()


def synthesize(
    text: str,
    sample_rate: int = 16_000,
    *,
    symbol: float = SYMBOL,
    gap: float = GAP,
    pause: float = PAUSE,
    lead: float = 0.1,
    tail: float = 0.1,
    amplitude: float = 0.5,
) -> bytes:
    """`text` as sound: s16le mono. A space or a line's end is `pause` seconds of silence; `compose` has the parameters and the errors."""
    return compose([text], symbol=symbol, gap=gap, pause=pause, lead=lead, tail=tail).render(sample_rate, amplitude=amplitude)


def compose(
    parts: Iterable[str | float],
    *,
    symbol: float = SYMBOL,
    gap: float = GAP,
    pause: float = PAUSE,
    lead: float = 0.1,
    tail: float = 0.1,
) -> Score:
    """A score of texts and of silences between them (numbers: seconds).

    symbol: seconds of each. gap: seconds between neighbours; 0: no silence at all within a phrase. pause: seconds for a space or a line's
    end. lead, tail: seconds of silence before and after. A silence stands for the gap, it does not come on top of it.
    Raises ValueError: a character is not in `ALPHABET`, or `symbol` is too short to be heard.
    """
    if symbol < SHORTEST + 0.01:
        raise ValueError(f"symbol: {symbol} s is too short to be heard, {SHORTEST + 0.01} is the least")
    symbols: list[Symbol] = []
    now, silence = lead, 0.0
    for part in parts:
        for each in part if isinstance(part, str) else (part,):
            if isinstance(each, str) and not each.isspace():
                if each not in ALPHABET:
                    raise ValueError(f"{each!r} is not in the tone alphabet: {ALPHABET}")
                now += silence or (gap if symbols else 0.0)
                symbols.append(Symbol(each, now, now + symbol))
                now, silence = now + symbol, 0.0
            else:
                silence += pause if isinstance(each, str) else each
    return Score(tuple(symbols), now + silence + tail)


def dictation(
    seconds: float,
    *,
    seed: int = 0,
    phrase: tuple[int, int] = (4, 14),
    pauses: tuple[float, float] | None = (0.35, 1.2),
    alphabet: str = CHARACTERS,
    symbol: float = SYMBOL,
    gap: float = GAP,
    lead: float = 0.1,
    tail: float = 0.1,
) -> Score:
    """A long recording, at most `seconds` of it and not much less, the same for the same seed.

    phrase: fewest and most symbols between two pauses. pauses: shortest and longest, in seconds; None: it never pauses for breath.
    """
    chance = random.Random(seed)
    parts: list[str | float] = []
    now, rest = lead + tail, 0.0
    while (room := int((seconds - now - rest + gap) / (symbol + gap) + 1e-9)) > 0:
        size = min(chance.randint(*phrase), room)
        parts += [rest, "".join(chance.choices(alphabet, k=size))]
        now += rest + size * symbol + (size - 1) * gap
        rest = chance.uniform(*pauses) if pauses else gap
    return compose(parts, symbol=symbol, gap=gap, lead=lead, tail=tail)


def decode(pcm: bytes | bytearray | memoryview, sample_rate: int) -> list[Symbol]:
    """The symbols in s16le mono audio, in order; times are within 20 ms, in clean audio within 5.

    What is not tones (silence, speech, music) gives nothing. A symbol cut off at an edge counts if `SHORTEST` of it is left.
    sample_rate: Hz, from 8,000 up. 60 s take 50 to 100 ms, without numpy 200 to 400: decode long audio off the event loop.
    """
    if sample_rate < 7_000:
        raise ValueError(f"sample_rate: {sample_rate} Hz cannot carry the alphabet, 8000 is the least")
    hop = round(sample_rate * _HOP)
    looks = look(pcm, [each / sample_rate for each in _LOW + _HIGH], hop=hop, half_window=_HALF_WINDOW)
    low, high, energy = looks.amplitude[: len(_LOW)], looks.amplitude[len(_LOW) :], looks.energy
    seconds, duration = hop / sample_rate, len(pcm) // 2 / sample_rate
    heard = []
    for tone, first, last in _runs(low, energy):
        if (last - first) * seconds < SHORTEST / 2:
            continue
        middle = slice(first + (last - first) // 4, last - (last - first) // 4)
        powers = [_power(column[middle]) for column in high]
        low_power, high_power = _power(low[tone][middle]), max(powers)
        if low_power + high_power < _PURITY * fmean(energy[middle]):
            continue
        if not low_power / _BALANCE < high_power < low_power * _BALANCE:
            continue
        start, end = _extent(low[tone], first, last)
        start, end = max(start * seconds, 0.0), min(end * seconds, duration)
        if end - start >= SHORTEST - 0.002:
            heard.append(Symbol(ALPHABET[tone // 2 * 10 + powers.index(high_power)], round(start, 4), round(end, 4)))
    return heard


def text_of(symbols: Sequence[Symbol], *, pause: float = 0.25) -> str:
    """As a recogniser writes it: characters without spaces, letters and digits as words, with a space where a pause is between them."""
    text = ""
    for before, each in zip((None, *symbols), symbols, strict=False):
        if before and before.text in LETTERS and each.text in LETTERS and each.start - before.end >= pause:
            text += " "
        text += each.text
    return text


def words_of(symbols: Sequence[Symbol], *, pause: float = 0.25) -> list[Symbol]:
    """The words of `text_of` with their times: each character is one, letters and digits without a pause between them are one."""
    words: list[Symbol] = []
    before: Symbol | None = None
    for each in symbols:
        if before and before.text in LETTERS and each.text in LETTERS and each.start - before.end < pause:
            words[-1] = Symbol(words[-1].text + each.text, words[-1].start, each.end)
        else:
            words.append(each)
        before = each
    return words


def to_wav(pcm: bytes | bytearray | memoryview, sample_rate: int, channels: int = 1) -> bytes:
    """A WAV file of s16le samples."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + len(pcm), b"WAVE",
        b"fmt ", 16, 1, channels, sample_rate, sample_rate * channels * 2, channels * 2, 16,
        b"data", len(pcm),
    )  # fmt: skip
    return head + bytes(pcm)


@lru_cache(maxsize=1024)
def _sound(symbol: str, parity: int, samples: int, sample_rate: int, amplitude: float) -> array[int]:
    row, column = divmod(ALPHABET.index(symbol), 10)
    low, high = 2 * pi * _LOW[2 * row + parity] / sample_rate, 2 * pi * _HIGH[column] / sample_rate
    ramp = _RAMP * sample_rate
    scale = amplitude * 32767 / 2
    return array(
        "h",
        (
            round(scale * min(1.0, 0.5 - 0.5 * cos(pi * min(1.0, (min(i, samples - 1 - i) + 0.5) / ramp))) * (sin(low * i) + sin(high * i)))
            for i in range(samples)
        ),
    )


def _runs(low: Sequence[Column], energy: Column) -> Iterator[tuple[int, int, int]]:
    """Stretches in which the same low tone is the loudest, and loud enough: its number, the first look and the one behind the last."""
    strongest = [
        strengths.index(strength) if whole > _FLOOR**2 and (strength := max(strengths)) ** 2 > 0.04 * whole else None
        for whole, strengths in zip(energy, zip(*low, strict=True), strict=True)
    ]
    for tone, places in groupby(range(len(strongest)), strongest.__getitem__):
        if tone is not None:
            run = list(places)
            yield tone, run[0], run[-1] + 1


def _power(strengths: Column) -> float:
    return fmean(each * each for each in strengths)


def _extent(strength: Column, first: int, last: int) -> tuple[float, float]:
    """Where the tone is at half its strength before and after its run, in looks: there the look's centre is on the tone's edge."""
    half = median(strength[first:last]) / 2
    start = end = (first + last) // 2
    while start > 0 and strength[start - 1] > half:
        start -= 1
    while end < len(strength) - 1 and strength[end + 1] > half:
        end += 1
    before = (strength[start] - half) / (strength[start] - strength[start - 1]) if start else 0.0
    after = (strength[end] - half) / (strength[end] - strength[end + 1]) if end < len(strength) - 1 else 0.0
    # The padding and the triangle put the centre of look f half a hop before the beginning of hop f.
    return start - before - 0.5, end + after - 0.5
