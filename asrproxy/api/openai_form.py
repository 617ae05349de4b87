"""What an OpenAI client asks, from its form to an order: nothing that it asks for is dropped silently."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from asrproxy.api.parameters import parse
from asrproxy.api.request import Account
from asrproxy.errors import InvalidParameter, UnknownRoute, UnsupportedParameter
from asrproxy.recognizer import Order

OPENAI_NAMES: Final = (
    "whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-mini-transcribe-2025-12-15",
)  # fmt: skip
"""What applications written for OpenAI ask for: the default route answers, unless a route has that name."""
GRANULARITIES: Final = "timestamp_granularities[]"
KNOWN: Final = frozenset({"model", "language", "prompt", "response_format", "temperature", "chunking_strategy", "stream"})

NOT_SERVED: Final = frozenset({"include", "keywords", "known_speaker_names", "known_speaker_references", "languages", "chunking_strategy"})
"""OpenAI's own fields that nobody here can honour, and those of a chunking_strategy other than auto; lists come with brackets."""


class ResponseFormat(StrEnum):
    """How the answer is written."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    VTT = "vtt"


class Granularity(StrEnum):
    """What has times in a `verbose_json`."""

    WORD = "word"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class Ask:
    """A parsed request. granularities: empty where none was asked for, which means segments."""

    order: Order
    response_format: ResponseFormat
    granularities: frozenset[Granularity]
    stream: bool


def parsed(fields: Mapping[str, str], routes: Collection[str], *, account: Account, default: str) -> Ask:
    """routes: the names that `model` may have; default: the one that answers for OpenAI's own names. Raises CallerError, naming a field."""
    for name in fields:
        if name not in KNOWN and name not in (GRANULARITIES, GRANULARITIES[:-2]):
            if name.partition("[")[0] in NOT_SERVED:
                raise UnsupportedParameter(f"{name[:64]!r} is not served here", param=name[:64])
            raise InvalidParameter(f"unknown field {name[:64]!r}; known are file, {', '.join(sorted(KNOWN))}", param=name[:64])
    if (chunking := fields.get("chunking_strategy")) not in (None, "auto"):
        raise UnsupportedParameter(
            f"chunking_strategy is auto, not {chunking[:64]!r}: long recordings are always cut at pauses, as policy.long_audio says",
            param="chunking_strategy",
        )
    response_format = _response_format(fields.get("response_format") or ResponseFormat.JSON)
    granularities = _granularities(fields, response_format)
    given = {"route": route_of(fields.get("model", ""), routes, default)}
    given |= {name: fields[name] for name in ("language", "stream") if fields.get(name)}
    if Granularity.WORD in granularities:
        given["words"] = "true"
    ask = parse(
        given,
        account,
        prompt=fields.get("prompt") or None,
        temperature=_temperature(fields.get("temperature")),
    )
    if ask.stream:
        _events_hold(response_format, granularities)
    return Ask(ask.order, response_format, granularities, ask.stream)


def route_of(model: str, routes: Collection[str], default: str) -> str:
    """The route that answers for a model's name. Raises UnknownRoute."""
    if model in routes:
        return model
    if model in OPENAI_NAMES or not model:
        return default
    raise UnknownRoute(f"no route or provider {model[:100]!r}; there are {', '.join(sorted(routes))}", param="model")


def _response_format(value: str) -> ResponseFormat:
    try:
        return ResponseFormat(value)
    except ValueError as error:
        raise InvalidParameter(f"response_format is one of {', '.join(ResponseFormat)}", param="response_format") from error


def _granularities(fields: Mapping[str, str], response_format: ResponseFormat) -> frozenset[Granularity]:
    """Clients repeat the field with brackets; without them people write it by hand."""
    values = {value for name in (GRANULARITIES, GRANULARITIES[:-2]) for value in fields.get(name, "").split("\n") if value}
    try:
        granularities = frozenset(map(Granularity, values))
    except ValueError as error:
        raise InvalidParameter(f"timestamp_granularities are {' and '.join(Granularity)}", param=GRANULARITIES) from error
    if granularities and response_format is not ResponseFormat.VERBOSE_JSON:
        raise InvalidParameter("timestamp_granularities go with response_format=verbose_json", param=GRANULARITIES)
    return granularities


def _events_hold(response_format: ResponseFormat, granularities: frozenset[Granularity]) -> None:
    """OpenAI's events carry text and nothing else: what has times cannot be had from them.

    `verbose_json` alone is let through: litellm asks for it whatever its caller wants.
    """
    if response_format in (ResponseFormat.SRT, ResponseFormat.VTT):
        raise InvalidParameter(f"events hold text, and {response_format} has times: leave out stream", param="response_format")
    if granularities:
        raise InvalidParameter("events hold text without times: leave out stream or timestamp_granularities", param=GRANULARITIES)


def _temperature(value: str | None) -> float | None:
    """0 is OpenAI's default and asks for nothing."""
    if not value:
        return None
    try:
        temperature = float(value)
    except ValueError as error:
        raise InvalidParameter("temperature is a number from 0 to 1", param="temperature") from error
    if not 0 <= temperature <= 1:
        raise InvalidParameter("temperature is a number from 0 to 1", param="temperature")
    return temperature or None
