"""How recordings look in their files: JSON that a person can read, check and correct. Pure, both ways.

Only what was said and heard is written: no settings, no token, not even the vendor's own name for a call. What is not ours raises what
Python raises for it: KeyError, TypeError, ValueError, AttributeError.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from asrproxy.plugin import AudioFormat, Capabilities, Interim, Options, Recognition, Sentence, StreamEvent, Word
from asrproxy_replay.takes import Place, Take

Body = dict[str, Any]


def options_body(options: Options) -> Body:
    """Only what was asked for, so that an option that is new to asrproxy does not make old recordings unknown."""
    return {each.name: getattr(options, each.name) for each in fields(options) if getattr(options, each.name) != each.default}


def recognition_body(recognition: Recognition) -> Body:
    """An answer."""
    return {"text": recognition.text, "language": recognition.language, "words": _words_body(recognition.words)}


def recognition_of(body: Body) -> Recognition:
    """An answer, as it came."""
    return Recognition(str(body["text"]), words=_words_of(body["words"]), language=body["language"])


def take_body(take: Take) -> Body:
    """A live stream: each event at the place in the audio where it came."""
    return {
        "marks": [_place_body(place) | _event_body(event) for place, event in take.marks],
        "end": _place_body(take.end),
        "closing": [_event_body(event) for event in take.closing],
    }


def take_of(body: Body) -> Take:
    """A live stream, as it came."""
    return Take(
        marks=tuple((_place_of(each), _event_of(each)) for each in body["marks"]),
        end=_place_of(body["end"]),
        closing=tuple(_event_of(each) for each in body["closing"]),
    )


def capabilities_body(capabilities: Capabilities) -> Body:
    """What the recorded provider could do."""
    return {
        "longest": capabilities.longest,
        "sample_rates": [each.sample_rate for each in capabilities.formats],
        "languages": None if capabilities.languages is None else sorted(capabilities.languages),
        "options": sorted(capabilities.options),
        "streaming": capabilities.streaming,
        "concurrency": capabilities.concurrency,
        "whole": capabilities.whole,
    }


def capabilities_of(body: Body) -> Capabilities:
    """The same again."""
    languages = body["languages"]
    return Capabilities(
        longest=float(body["longest"]),
        formats=tuple(AudioFormat(int(each)) for each in body["sample_rates"]),
        languages=None if languages is None else frozenset(languages),
        options=frozenset(body["options"]),
        streaming=bool(body["streaming"]),
        concurrency=body["concurrency"],
        whole=body.get("whole"),
    )


def _place_body(place: Place) -> Body:
    return {"bytes": place.bytes, "sha256": place.sha256}


def _place_of(body: Body) -> Place:
    return Place(int(body["bytes"]), str(body["sha256"]))


def _event_body(event: StreamEvent) -> Body:
    match event:
        case Interim():
            return {"interim": event.text, "index": event.index, "start": event.start}
        case Sentence():
            times = {"index": event.index, "start": event.start, "end": event.end}
            return {"sentence": event.text} | times | {"words": _words_body(event.words)}


def _event_of(body: Body) -> StreamEvent:
    if "interim" in body:
        return Interim(int(body["index"]), float(body["start"]), str(body["interim"]))
    return Sentence(int(body["index"]), float(body["start"]), float(body["end"]), str(body["sentence"]), _words_of(body["words"]))


def _words_body(words: tuple[Word, ...] | None) -> list[list[str | float]] | None:
    return None if words is None else [[word.text, word.start, word.end] for word in words]


def _words_of(body: list[list[Any]] | None) -> tuple[Word, ...] | None:
    return None if body is None else tuple(Word(str(text), float(start), float(end)) for text, start, end in body)
