"""The nouns of a request: frozen values with no behaviour beyond themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

BYTES_PER_SAMPLE: Final = 2
"""Everything past the decoder is signed 16-bit little-endian PCM."""


class Traffic(StrEnum):
    """What kind of work a call is: limits serve live audio and short recordings before long ones."""

    LIVE = "live"
    SHORT = "short"
    LONG = "long"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Signed 16-bit little-endian PCM at `sample_rate` Hz with `channels` interleaved channels."""

    sample_rate: int
    channels: int = 1

    @property
    def bytes_per_second(self) -> int:
        return self.sample_rate * self.channels * BYTES_PER_SAMPLE


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """The audio of one vendor call.

    pcm: mono s16le samples at `format`'s rate. start: seconds from the beginning of the recording to the first sample.
    """

    pcm: bytes | memoryview
    format: AudioFormat
    start: float = 0.0

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.pcm) / self.format.bytes_per_second


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its times in seconds: from the utterance's start in a `Recognition`, of the caller's audio in a `Segment`."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """What one vendor call gave. No speech in the audio is an empty `text`, not an error.

    words: None where they were not asked for or the vendor has none. language: BCP 47, None where the vendor does not say.
    vendor_id: the vendor's own name for the call (a task id), for support tickets. provider: filled in by the core. suspect: the text is
    known to be too short for the speech, and asking again gave no better. sentences: the text in timed stretches, of a recording that was
    sent whole (`Capabilities.whole`): each becomes a segment.
    """

    text: str
    words: tuple[Word, ...] | None = None
    language: str | None = None
    vendor_id: str | None = None
    provider: str | None = None
    suspect: bool = False
    sentences: tuple[Word, ...] | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may ask of a recognition. None: the provider's own configuration decides.

    language: BCP 47, a hint. vocabulary: a hot-word list's id, or comma-separated hot words where the provider takes those.
    """

    language: str | None = None
    words: bool = False
    punctuation: bool | None = None
    itn: bool | None = None
    vocabulary: str | None = None
    prompt: str | None = None
    temperature: float | None = None

    def asked(self) -> tuple[str, ...]:
        """The names of the options that a provider has to be able to honour; `language` is a hint and judged apart."""
        names = [name for name in ("punctuation", "itn", "vocabulary", "prompt", "temperature") if getattr(self, name) is not None]
        return ("words", *names) if self.words else tuple(names)


@dataclass(frozen=True, slots=True)
class Segment:
    """An utterance's place in the recording, with its text. Times are seconds in the caller's audio.

    attempts: vendor calls made for it. error: why it is a hole (then `text` is empty). suspect: speech was heard for which there are
    no or too few words, or a seam is in doubt. cached: remembered from an earlier request, nothing was paid.
    """

    index: int
    start: float
    end: float
    text: str
    provider: str | None
    attempts: int = 1
    words: tuple[Word, ...] | None = None
    error: Exception | None = None
    suspect: bool = False
    cached: bool = False
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """What a vendor charges for a call. amount: of `currency` (ISO 4217). seconds: of audio, as the vendor counts them."""

    amount: float
    currency: str
    seconds: float


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One line of an answer's `attempts` detail: a call made to a provider, or why one was passed over.

    outcome: `ok`, `failed`, `skipped`, `cancelled`. code: the error's code word. seconds: how long it took, 0 when skipped. charge: None
    where the vendor charges nothing, or nobody has told its price.
    """

    provider: str
    outcome: str
    code: str | None = None
    reason: str | None = None
    seconds: float = 0.0
    segment: int = 0
    charge: Charge | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """What the caller gets: the segments in order and their text joined as the language writes. Times are seconds."""

    text: str
    language: str | None
    duration: float
    complete: bool
    provider: str | None
    segments: tuple[Segment, ...]
    attempts: tuple[AttemptRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Interim:
    """Live: what the sentence now being spoken looks like so far. start: seconds of the caller's audio."""

    index: int
    start: float
    text: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """Live: a finished sentence. Times are seconds of the caller's audio. provider: filled in by the core."""

    index: int
    start: float
    end: float
    text: str
    words: tuple[Word, ...] | None = None
    provider: str | None = None


StreamEvent: TypeAlias = Interim | Sentence


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do; the core refuses, splits and converts by it.

    longest: seconds of one utterance. formats: what it takes, most wanted first. languages: BCP 47 tags or primary subtags, None: any.
    options: the names of `Options` it honours (`words`, `punctuation`, `itn`, `vocabulary`, `prompt`, `temperature`).
    streaming: `Provider.stream` works. concurrency: calls it can work on at once, None: as many as the policy lets through. whole: seconds
    of a recording that one call takes in a way made for long ones, which is wanted for them; its answers have `sentences`. None: there is
    none, and what is longer than `longest` comes cut.
    """

    longest: float = 60.0
    formats: tuple[AudioFormat, ...] = (AudioFormat(16_000),)
    languages: frozenset[str] | None = None
    options: frozenset[str] = field(default_factory=frozenset)
    streaming: bool = False
    concurrency: int | None = None
    whole: float | None = None

    @property
    def words(self) -> bool:
        return "words" in self.options

    def speaks(self, language: str | None) -> bool:
        """Whether `language` is within what it recognises; tags are compared by primary subtag, case-insensitively."""
        if language is None or self.languages is None:
            return True
        wanted = language.partition("-")[0].lower()
        return any(each.partition("-")[0].lower() == wanted for each in self.languages)
