"""The OpenAI-compatible door: `POST /v1/audio/transcriptions` and `GET /v1/models` over the same routes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aiohttp import MultipartReader, web

from asrproxy.api.body import BodyLimits, Upload, upload
from asrproxy.api.parameters import parse
from asrproxy.api.problems import error_body
from asrproxy.api.render import dumped
from asrproxy.api.request import ACCOUNT, REQUEST_ID, RUNTIME, Account
from asrproxy.errors import AsrError, InvalidParameter, UnknownRoute, UnsupportedParameter
from asrproxy.long_audio import Progress
from asrproxy.model import Segment, Transcript
from asrproxy.recognizer import Order, Recognizer
from asrproxy.text import cues, join

OPENAI_NAMES: Final = frozenset({"whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"})
"""What applications written for OpenAI ask for: the default route answers, unless a route has that name."""
KNOWN: Final = frozenset(
    {"model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]", "timestamp_granularities", "stream"}
)
GRANULARITIES: Final = frozenset({"word", "segment"})


class ResponseFormat(StrEnum):
    """How the answer is written."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    VTT = "vtt"


@dataclass(frozen=True, slots=True)
class Ask:
    """A parsed request. granularities: `word`, `segment`."""

    order: Order
    response_format: ResponseFormat
    granularities: frozenset[str]
    stream: bool


async def models(request: web.Request) -> web.Response:
    """Routes and providers as models."""
    generation = request.app[RUNTIME].current
    made = int(time.time() - (time.monotonic() - request.app[RUNTIME].began))
    names = sorted(generation.recognizer.routes)
    data = [{"id": name, "object": "model", "created": made, "owned_by": "asrproxy"} for name in names]
    return web.Response(body=dumped({"object": "list", "data": data}), content_type="application/json")


async def model(request: web.Request) -> web.Response:
    """One of them."""
    name = request.match_info["name"]
    runtime = request.app[RUNTIME]
    if name not in runtime.current.recognizer.routes:
        raise UnknownRoute(f"no route or provider {name[:100]!r}", param="model")
    made = int(time.time() - (time.monotonic() - runtime.began))
    return web.Response(
        body=dumped({"id": name, "object": "model", "created": made, "owned_by": "asrproxy"}), content_type="application/json"
    )


async def transcriptions(request: web.Request) -> web.StreamResponse:
    """A form with `file` and `model`. Errors are the contract's, whose keys are a superset of OpenAI's."""
    runtime = request.app[RUNTIME]
    account: Account = request[ACCOUNT]
    if request.content_type != "multipart/form-data":
        raise InvalidParameter("this address takes multipart/form-data with the parts file and model")
    with runtime.generation() as generation:
        recognizer = generation.recognizer
        async with upload(BodyLimits.of(runtime.server)) as body:
            fields, granularities = await _form(body, await request.multipart())
            ask = _parsed(fields, granularities, recognizer, request[REQUEST_ID], account.received, request.headers.get("traceparent"))
            account.route = ask.order.route
            recognizer.accept(ask.order)
            account.stages.ended("receive")
            if ask.stream:
                return await _streamed(request, recognizer, body, ask, account)
            transcript = await recognizer.transcribe(body.spool, ask.order, account.stages)
            account.finished(transcript.duration, body.spool.size)
            return _answer(transcript, ask)


async def _form(body: Upload, reader: MultipartReader) -> tuple[dict[str, str], frozenset[str]]:
    """The fields but for the repeatable one, which comes apart."""
    fields = await body.form(reader, repeatable="timestamp_granularities[]")
    given = fields.pop("timestamp_granularities[]", "")
    granularities = frozenset(given.split("\n")) - {""}
    if unknown := granularities - GRANULARITIES:
        raise InvalidParameter(
            f"timestamp_granularities are word and segment, not {min(unknown)[:64]!r}", param="timestamp_granularities[]"
        )
    return fields, granularities


def _parsed(
    fields: Mapping[str, str],
    granularities: frozenset[str],
    recognizer: Recognizer,
    request_id: str,
    received: float,
    traceparent: str | None,
) -> Ask:
    for name in fields:
        if name not in KNOWN:
            raise UnsupportedParameter(f"{name[:64]!r} is not served here", param=name[:64])
    try:
        response_format = ResponseFormat(fields.get("response_format", "json"))
    except ValueError as error:
        raise InvalidParameter(f"response_format is one of {', '.join(ResponseFormat)}", param="response_format") from error
    if granularities and response_format is not ResponseFormat.VERBOSE_JSON:
        raise InvalidParameter("timestamp_granularities go with response_format=verbose_json", param="timestamp_granularities[]")
    given = {"route": _route(fields.get("model", "default"), recognizer)}
    given |= {name: fields[name] for name in ("language", "stream") if fields.get(name)}
    if "word" in granularities:
        given["words"] = "true"
    ask = parse(
        given,
        request_id=request_id,
        received=received,
        traceparent=traceparent,
        prompt=fields.get("prompt") or None,
        temperature=_temperature(fields.get("temperature")),
    )
    return Ask(ask.order, response_format, granularities, ask.stream)


def _route(name: str, recognizer: Recognizer) -> str:
    if name in recognizer.routes:
        return name
    if name in OPENAI_NAMES or not name:
        return "default"
    raise UnknownRoute(f"no route or provider {name[:100]!r}; there are {', '.join(sorted(recognizer.routes))}", param="model")


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


def _answer(transcript: Transcript, ask: Ask) -> web.Response:
    match ask.response_format:
        case ResponseFormat.JSON:
            return web.Response(body=dumped({"text": transcript.text}), content_type="application/json")
        case ResponseFormat.VERBOSE_JSON:
            return web.Response(body=dumped(verbose(transcript, ask.granularities)), content_type="application/json")
        case ResponseFormat.TEXT:
            return web.Response(text=transcript.text + "\n")
        case ResponseFormat.SRT:
            return web.Response(text=cues.srt(transcript))
        case ResponseFormat.VTT:
            return web.Response(text=cues.vtt(transcript))


def verbose(transcript: Transcript, granularities: frozenset[str]) -> dict[str, Any]:
    """OpenAI's `verbose_json`. What only a Whisper knows of its own decoding is null: nobody here measured it."""
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": transcript.language or "",
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
    }
    if "word" in granularities:
        body["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for segment in transcript.segments
            for word in segment.words or ()
        ]
    if not granularities or "segment" in granularities:
        body["segments"] = [
            {
                "id": segment.index,
                "seek": 0,
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "text": segment.text,
                "tokens": [],
                "temperature": None,
                "avg_logprob": None,
                "compression_ratio": None,
                "no_speech_prob": None,
            }
            for segment in transcript.segments
        ]
    return body


async def _streamed(request: web.Request, recognizer: Recognizer, body: Upload, ask: Ask, account: Account) -> web.StreamResponse:
    """`transcript.text.delta` for what each segment adds, then `transcript.text.done`."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Request-Id": ask.order.request_id}
    )
    await response.prepare(request)
    texts: list[str] = []
    told = ""

    async def tell(event: dict[str, Any]) -> None:
        await response.write(b"data: " + dumped(event) + b"\n\n")

    async def listen(happened: Segment | Progress) -> None:
        nonlocal told
        if not isinstance(happened, Segment) or not happened.text:
            return
        texts.append(happened.text)
        whole = join.join(texts, happened.language or ask.order.options.language)
        if whole.startswith(told):
            delta, told = whole[len(told) :], whole
            await tell({"type": "transcript.text.delta", "delta": delta})

    try:
        transcript = await recognizer.transcribe(body.spool, ask.order, account.stages, listen)
        account.finished(transcript.duration, body.spool.size)
        await tell({"type": "transcript.text.done", "text": transcript.text})
        await response.write(b"data: [DONE]\n\n")
    except AsrError as error:
        account.failed(error)
        await tell({"type": "error", "error": error_body(error, ask.order.request_id)})
    await response.write_eof()
    return response
