"""A transcript as OpenAI's clients read it: pure, from a transcript to bodies, model objects and event data."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Any, Final

from asrproxy.api.openai_form import Granularity
from asrproxy.model import Segment, Transcript
from asrproxy.text import join

JsonObject = dict[str, Any]
NOT_MEASURED: Final = ("avg_logprob", "no_speech_prob", "seek", "tokens")
"""Fields of a segment that only Whisper has of its own decoding."""


def plain(transcript: Transcript) -> JsonObject:
    """OpenAI's `json`."""
    return {"text": transcript.text, "usage": _usage(transcript)}


def verbose(transcript: Transcript, granularities: Collection[Granularity], *, temperature: float) -> JsonObject:
    """OpenAI's `verbose_json`."""
    body: JsonObject = {
        "task": "transcribe",
        "language": transcript.language or "",
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "usage": _usage(transcript),
    }
    if Granularity.WORD in granularities:
        body["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for segment in transcript.segments
            for word in segment.words or ()
        ]
    if not granularities or Granularity.SEGMENT in granularities:
        body["segments"] = [_segment(segment, temperature) for segment in transcript.segments]
        body["not_measured"] = NOT_MEASURED
    return body


def model(name: str, created: int) -> JsonObject:
    """A route or provider as a model. created: Unix seconds."""
    return {"id": name, "object": "model", "created": created, "owned_by": "asrproxy"}


class Deltas:
    """What each finished segment adds to the text: put together, the deltas are the transcript."""

    def __init__(self, language: str | None) -> None:
        self._language = language
        self._texts: list[str] = []
        self._told = ""

    def of(self, segment: Segment) -> str:
        """The text that a segment adds, with the space before it where the language writes one."""
        self._language = self._language or segment.language
        if segment.text:
            self._texts.append(segment.text)
        return self._up_to(join.join(self._texts, self._language))

    def rest(self, transcript: Transcript) -> str:
        """What the whole text has behind what was told."""
        return self._up_to(transcript.text)

    def _up_to(self, whole: str) -> str:
        if not whole.startswith(self._told):
            return ""  # what was told cannot be taken back; the last event has the whole text
        added, self._told = whole[len(self._told) :], whole
        return added


def _usage(transcript: Transcript) -> JsonObject:
    return {"type": "duration", "seconds": round(transcript.duration, 3)}


def _segment(segment: Segment, temperature: float) -> JsonObject:
    """Every field is there and none is null: clients in strict languages insist on OpenAI's types, and programs compare the numbers.

    Nobody here measures `avg_logprob` and `no_speech_prob`: they are 0, which any threshold lets pass, and `not_measured` says so.
    """
    return {
        "id": segment.index,
        "seek": 0,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": temperature,
        "avg_logprob": 0.0,
        "compression_ratio": _compression_ratio(segment.text),
        "no_speech_prob": 0.0,
    }


def _compression_ratio(text: str) -> float:
    """As Whisper counts it: a text that says the same again and again compresses far too well."""
    written = text.encode()
    return round(len(written) / len(zlib.compress(written)), 3)
