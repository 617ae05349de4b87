"""What a caller may ask, from text to typed values; the same names in a query and in a form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, cast, get_args

from asrproxy.api.request import Account
from asrproxy.audio.decode import RawFormat
from asrproxy.config.models import DEFAULT_ROUTE
from asrproxy.errors import InvalidParameter
from asrproxy.model import Options
from asrproxy.recognizer import Order, Partial


class ResponseFormat(StrEnum):
    """How the transcript is written."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"


@dataclass(frozen=True, slots=True)
class Ask:
    """A parsed request: the order, and how the answer is to be written."""

    order: Order
    response_format: ResponseFormat
    stream: bool


NAMES: Final = (
    "route", "language", "encoding", "sample_rate", "channels", "response_format", "words", "punctuation", "itn", "vocabulary", "partial",
    "timeout", "stream",
)  # fmt: skip
Encoding = Literal["pcm_s16le", "mulaw", "alaw"]
ENCODINGS: Final = get_args(Encoding)
LONGEST_VALUE: Final = 4096
"""Characters: a list of hot words is the longest value that makes sense."""
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_NUMBER: Final = re.compile(r"\d{1,7}(\.\d{1,6})?")
_WHOLE: Final = re.compile(r"\d{1,7}")


def parse(
    given: Mapping[str, str],
    account: Account,
    *,
    events: bool = False,
    prompt: str | None = None,
    temperature: float | None = None,
) -> Ask:
    """Raises InvalidParameter, which names what is unknown, malformed or out of range.

    events: whether they are wanted where `stream` does not say. prompt, temperature: of the OpenAI door only.
    """
    if not given:
        return Ask(Order(account.origin()), ResponseFormat.JSON, events)
    for name, value in given.items():
        if name not in NAMES:
            raise InvalidParameter(f"unknown parameter {name[:64]!r}; known are {', '.join(NAMES)}", param=name[:64])
        if len(value) > LONGEST_VALUE:
            raise InvalidParameter(f"{name} is longer than {LONGEST_VALUE} characters", param=name)
    response_format = ResponseFormat(_choice(given, "response_format", tuple(ResponseFormat)) or ResponseFormat.JSON)
    stream = events if (asked := _flag(given, "stream")) is None else asked
    if stream and response_format is not ResponseFormat.JSON:
        raise InvalidParameter(f"events hold JSON, not {response_format}: leave out one of the two", param="response_format")
    return Ask(
        order=Order(
            account.origin(),
            route=given.get("route", DEFAULT_ROUTE),
            options=Options(
                language=_language(given),
                words=_flag(given, "words") or False,
                punctuation=_flag(given, "punctuation"),
                itn=_flag(given, "itn"),
                vocabulary=_filled(given, "vocabulary"),
                prompt=prompt,
                temperature=temperature,
            ),
            raw=_raw(given),
            partial=Partial(_choice(given, "partial", tuple(Partial)) or Partial.REFUSE),
            timeout=_timeout(given),
        ),
        response_format=response_format,
        stream=stream,
    )


def _flag(given: Mapping[str, str], name: str) -> bool | None:
    match given.get(name):
        case None:
            return None
        case "true" | "True" | "1":
            return True
        case "false" | "False" | "0":
            return False
        case _:
            raise InvalidParameter(f"{name} is true or false", param=name)


def _choice(given: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    value = given.get(name)
    if value is not None and value not in choices:
        raise InvalidParameter(f"{name} is one of {', '.join(choices)}", param=name)
    return value


def _filled(given: Mapping[str, str], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not value.strip():
        raise InvalidParameter(f"{name} is empty", param=name)
    return value


def _language(given: Mapping[str, str]) -> str | None:
    value = given.get("language")
    if value is not None and not _LANGUAGE.fullmatch(value):
        raise InvalidParameter("language is a BCP 47 tag such as zh-CN or en-US", param="language")
    return value


def _timeout(given: Mapping[str, str]) -> float | None:
    value = given.get("timeout")
    if value is None:
        return None
    if not _NUMBER.fullmatch(value) or not math.isfinite(seconds := float(value)) or seconds <= 0:
        raise InvalidParameter("timeout is a number of seconds above 0", param="timeout")
    return seconds


def _within(given: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not _WHOLE.fullmatch(value) or not low <= int(value) <= high:
        raise InvalidParameter(f"{name} is a whole number from {low} to {high}", param=name)
    return int(value)


def _raw(given: Mapping[str, str]) -> RawFormat | None:
    encoding = cast("Encoding | None", _choice(given, "encoding", ENCODINGS))
    sample_rate = _within(given, "sample_rate", 4000, 384_000)
    channels = _within(given, "channels", 1, 32)
    if encoding is None:
        for name, value in (("sample_rate", sample_rate), ("channels", channels)):
            if value is not None:
                raise InvalidParameter(f"{name} describes a headerless body: it goes with encoding", param=name)
        return None
    if sample_rate is None:
        raise InvalidParameter(f"a headerless {encoding} body needs sample_rate", param="sample_rate")
    return RawFormat(encoding, sample_rate, channels or 1)
