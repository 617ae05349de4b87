"""`GET /openapi.json`: the HTTP contract for machines, made from the same tables that the handlers use."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from asrproxy import __version__
from asrproxy.api import openapi_openai
from asrproxy.api.parameters import ENCODINGS, ResponseFormat
from asrproxy.api.problems import FACES, INTERNAL, METHOD_NOT_ALLOWED
from asrproxy.api.recent import LAST
from asrproxy.api.render import dumped
from asrproxy.ops.recent import REQUESTS
from asrproxy.recognizer import Partial

_BOOLEAN: Final[dict[str, Any]] = {"type": "string", "enum": ["true", "false"]}
_NULLABLE_TEXT: Final[dict[str, Any]] = {"type": ["string", "null"]}

PARAMETERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "route": ({"type": "string", "minLength": 1, "default": "default"}, "A route's name in the configuration."),
    "language": ({"type": "string", "pattern": "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$"}, "BCP 47 tag, a hint: zh-CN, en-US."),
    "encoding": ({"type": "string", "enum": list(ENCODINGS)}, "Says that the body is headerless; goes with sample_rate."),
    "sample_rate": ({"type": "integer", "minimum": 4000, "maximum": 384_000}, "Of a headerless body, Hz."),
    "channels": ({"type": "integer", "minimum": 1, "maximum": 32}, "Of a headerless body; 1 when left out."),
    "response_format": ({"type": "string", "enum": list(ResponseFormat), "default": "json"}, "How the transcript is written."),
    "words": (_BOOLEAN, "Word timestamps where the provider has them."),
    "punctuation": (_BOOLEAN, "Punctuation in the text."),
    "itn": (_BOOLEAN, "Numbers as digits."),
    "vocabulary": ({"type": "string", "minLength": 1, "maxLength": 4096}, "A hot-word list's id, or comma-separated hot words."),
    "partial": (
        {"type": "string", "enum": list(Partial), "default": "refuse"},
        "What becomes of a long recording of which a segment failed.",
    ),
    "timeout": ({"type": "number", "exclusiveMinimum": 0, "maximum": 9_999_999}, "Seconds for the whole request, at most the policy's."),
    "stream": (_BOOLEAN, "Server-sent events as segments complete; they hold JSON, no other response_format. Left out: as Accept says."),
}


_FACES: Final = [face for face in (*FACES.values(), INTERNAL, METHOD_NOT_ALLOWED) if face.status != 499]
"""What callers are told; 499 is for those who have gone."""


async def openapi(request: web.Request) -> web.Response:
    """The document, the same for every configuration."""
    return web.Response(body=dumped(document()), content_type="application/json")


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "asrproxy",
            "version": __version__,
            "description": "A sidecar proxy for speech recognition: any audio in, text out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/recognize": {"post": _recognize()},
            **openapi_openai.paths(_problems()),
            "/v1/stream": {"get": _stream()},
            "/v1/recent": {"get": _recent()},
            "/v1/status": {"get": _plain("What runs here.", {"type": "object"}, secured=True)},
            "/livez": {"get": _plain("The loop turns.", {"type": "object"})},
            "/readyz": {"get": _plain("Whether the default route can answer.", {"type": "object"}, unavailable=True)},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _plain("This document.", {"type": "object"})},
        },
        "components": {
            "schemas": {"Error": _error(), "Segment": _segment(), "Transcript": _transcript(), **openapi_openai.schemas()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "Only where server.tokens is set."}},
        },
    }


def _recognize() -> dict[str, Any]:
    form = {name: schema | {"description": text} for name, (schema, text) in PARAMETERS.items()}
    audio = {"type": "string", "format": "binary", "description": "The recording; `file` is taken as well."}
    return {
        "summary": "Recognise a recording",
        "description": (
            "Containers and codecs: WAV (PCM, mu-law, A-law), FLAC, MP3, AAC/M4A/MP4, OGG (Opus, Vorbis), WebM (Opus), AMR; any rate and "
            "channel count, found out from the bytes."
        ),
        "operationId": "recognize",
        "security": [{}, {"bearer": []}],
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": schema, "description": text}
            for name, (schema, text) in PARAMETERS.items()
        ]
        + [
            {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}
            for name, text in (
                ("X-Request-Id", "Kept, else made."),
                ("X-Caller", "Who asks, for metrics and costs: one of server.callers."),
                ("traceparent", "W3C Trace Context: the request becomes a part of that trace."),
            )
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                "audio/*": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {"schema": {"type": "object", "properties": {"audio": audio} | form, "required": ["audio"]}},
            },
        },
        "responses": {
            "200": {
                "description": "The transcript.",
                "headers": _headers(),
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Transcript"}},
                    "text/plain": {"schema": {"type": "string"}},
                    "application/x-subrip": {"schema": {"type": "string"}},
                    "text/vtt": {"schema": {"type": "string"}},
                    "text/event-stream": {"schema": {"type": "string"}},
                },
            },
            **_problems(),
        },
    }


def _recent() -> dict[str, Any]:
    described = _plain(
        "The last requests: when, how, how long; what was said only where it is kept and asked for.", {"type": "object"}, secured=True
    )
    numbers = (
        ("after", "maximum", LAST, "Only those after that one."),
        ("limit", "maximum", REQUESTS, "The newest so many; 50."),
    )
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": {"type": "integer", "minimum": 0, bound: value}, "description": text}
        for name, bound, value, text in numbers
    ]
    said = "With what was said; 403 unless log.transcripts keeps it."
    parameters.append({"name": "transcripts", "in": "query", "required": False, "schema": {"type": "boolean"}, "description": said})
    described["responses"]["400"] = _problem("invalid_parameter")
    described["responses"]["200"]["links"] = {"next": {"operationId": "recent", "parameters": {"after": "$response.body#/last"}}}
    return described | {"operationId": "recent", "parameters": parameters}


def _stream() -> dict[str, Any]:
    """A WebSocket: OpenAPI knows the handshake only."""
    return {
        "summary": "Live audio over a WebSocket",
        "description": (
            'First a text `{"type": "start", "sample_rate": 16000}` (also `encoding`, `language`, `interim`, `route`, `words`, '
            '`punctuation`, `itn`, `vocabulary`), then binary frames of audio, then `{"type": "stop"}`. Back come `started`, `interim`, '
            "`final`, `done` or `error`."
        ),
        "security": [{}, {"bearer": []}],
        "responses": {
            "101": {"description": "The socket is open."},
            "400": _problem("invalid_parameter: no upgrade was asked for"),
            "401": _problem("unauthorized"),
            "403": _problem("forbidden"),
            "503": _problem("draining"),
        },
    }


def _problems() -> dict[str, Any]:
    codes: dict[int, set[str]] = {}
    for face in _FACES:
        codes.setdefault(face.status, set()).add(face.code)
    return {str(status): _problem(", ".join(sorted(words))) for status, words in sorted(codes.items())}


def _problem(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "headers": _headers()
        | {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds, where known."},
            "X-Should-Retry": {"schema": {"const": "false"}, "description": "At a 5xx that is not worth repeating."},
        },
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def _plain(summary: str, schema: dict[str, Any], *, secured: bool = False, unavailable: bool = False) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": summary, "content": {"application/json": {"schema": schema}}}}
    if unavailable:
        responses["503"] = {"description": "Not ready, with the reason.", "content": {"application/json": {"schema": schema}}}
    for status, face in ((401, "unauthorized"), (403, "forbidden")):
        if secured or status == 403:
            responses[str(status)] = _problem(face)
    responses["405"] = _problem("method_not_allowed")
    return {"summary": summary, "responses": responses} | ({"security": [{}, {"bearer": []}]} if secured else {})


def _metrics() -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    return {
        "summary": "Prometheus metrics.",
        "responses": {"200": {"description": "Samples.", "content": {"text/plain": text, "application/openmetrics-text": text}}},
    }


def _headers() -> dict[str, Any]:
    return {"X-Request-Id": {"schema": {"type": "string"}, "description": "The request's id, also in the body."}}


def _error() -> dict[str, Any]:
    codes = sorted({face.code for face in _FACES})
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "type", "message", "param", "retryable", "provider", "provider_status", "request_id", "segments"],
                "properties": {
                    "code": {"type": "string", "enum": codes},
                    "type": {"type": "string"},
                    "message": {"type": "string"},
                    "param": _NULLABLE_TEXT,
                    "retryable": {"type": "boolean"},
                    "provider": _NULLABLE_TEXT,
                    "provider_status": {"type": ["integer", "string", "null"]},
                    "request_id": {"type": "string"},
                    "segments": {"type": "array", "items": {"$ref": "#/components/schemas/Segment"}},
                    "retry_after": {"type": "number", "description": "Seconds, where known."},
                },
            }
        },
    }


def _segment() -> dict[str, Any]:
    word = {
        "type": "object",
        "required": ["text", "start", "end"],
        "properties": {"text": {"type": "string"}, "start": {"type": "number"}, "end": {"type": "number"}},
    }
    return {
        "type": "object",
        "required": ["index", "start", "end", "text", "provider", "attempts", "error"],
        "properties": {
            "index": {"type": "integer"},
            "start": {"type": "number"},
            "end": {"type": "number"},
            "text": {"type": "string"},
            "provider": _NULLABLE_TEXT,
            "attempts": {"type": "integer"},
            "words": {"type": "array", "items": word},
            "error": {"type": ["object", "null"]},
            "suspect": {"type": "boolean"},
            "cached": {"type": "boolean"},
        },
    }


def _transcript() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["request_id", "text", "language", "duration", "complete", "provider", "segments"],
        "properties": {
            "request_id": {"type": "string"},
            "text": {"type": "string"},
            "language": _NULLABLE_TEXT,
            "duration": {"type": "number"},
            "complete": {"type": "boolean"},
            "provider": _NULLABLE_TEXT,
            "segments": {"type": "array", "items": {"$ref": "#/components/schemas/Segment"}},
            "attempts": {"type": "array", "items": {"type": "object"}},
            "cost": {
                "type": "object",
                "additionalProperties": {"type": "number"},
                "description": "By currency, where a price is configured.",
            },
        },
    }
