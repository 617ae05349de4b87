"""The OpenAI-compatible addresses in `GET /openapi.json`: what is served here of OpenAI's own description."""

from __future__ import annotations

from typing import Any, Final

from asrproxy.api.openai_form import GRANULARITIES, OPENAI_NAMES, Granularity, ResponseFormat

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "number"}

_FIRST_MODEL: Final[Schema] = {"operationId": "retrieveModel", "parameters": {"name": "$response.body#/data/0/id"}}

FORM: Final[dict[str, Schema]] = {
    "file": {"type": "string", "format": "binary", "description": "The recording."},
    "model": _TEXT | {"description": f"A route's or provider's name; OpenAI's own ({', '.join(OPENAI_NAMES)}) are the default route."},
    "language": {"type": "string", "pattern": "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", "description": "A hint."},
    "prompt": _TEXT | {"description": "Where a provider of the route takes one."},
    "response_format": {"type": "string", "enum": list(ResponseFormat), "default": "json"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 1, "description": "0 asks for nothing."},
    GRANULARITIES: {
        "type": "array",
        "items": {"type": "string", "enum": list(Granularity)},
        "description": "What has times in a verbose_json.",
    },
    "chunking_strategy": {"type": "string", "enum": ["auto"]},
    "stream": {"type": "string", "enum": ["true", "false"], "description": "Server-sent events that hold text as segments complete."},
}
"""What the form may hold, by name."""


def paths(problems: Schema) -> Schema:
    """problems: the answers to requests that fail, by status."""
    secured: Schema = {"security": [{}, {"bearer": []}]}
    refused = {status: problems[status] for status in ("401", "403", "405")}
    transcriptions = {
        "summary": "Recognise a recording, for OpenAI's clients",
        "operationId": "createTranscription",
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": {"type": "object", "properties": FORM, "required": ["file"]}}},
        },
        "responses": {"200": _transcription(), **problems},
    }
    models = {
        "summary": "Routes and providers as models",
        "operationId": "listModels",
        "responses": {"200": _json("The models.", "OpenAIModels") | {"links": {"first": _FIRST_MODEL}}, **refused},
    }
    model = {
        "summary": "One of them",
        "operationId": "retrieveModel",
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": _TEXT}],
        "responses": {"200": _json("The model.", "OpenAIModel"), "404": problems["404"], **refused},
    }
    return {
        "/v1/audio/transcriptions": {"post": transcriptions | secured},
        "/v1/models": {"get": models | secured},
        "/v1/models/{name}": {"get": model | secured},
    }


def schemas() -> Schema:
    """What the answers are made of, by name. Requires every field that OpenAI's clients in strict languages insist on."""
    usage = _object({"type": {"const": "duration"}, "seconds": _NUMBER})
    word = _object({"word": _TEXT, "start": _NUMBER, "end": _NUMBER})
    segment = _object(
        {
            "id": {"type": "integer"},
            "seek": {"type": "integer"},
            "start": _NUMBER,
            "end": _NUMBER,
            "text": _TEXT,
            "tokens": {"type": "array", "items": {"type": "integer"}},
            "temperature": _NUMBER,
            "avg_logprob": _NUMBER | {"description": "0: see not_measured."},
            "compression_ratio": _NUMBER,
            "no_speech_prob": _NUMBER | {"description": "0: see not_measured."},
        }
    )
    unmeasured = {
        "type": "array",
        "items": _TEXT,
        "description": "Fields of the segments that nobody measured: there for clients that insist.",
    }
    model = _object({"id": _TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": _TEXT})
    verbose = _object({"task": {"const": "transcribe"}, "language": _TEXT, "duration": _NUMBER, "text": _TEXT, "usage": usage})
    return {
        "OpenAITranscription": _object({"text": _TEXT, "usage": usage}),
        "OpenAIVerboseTranscription": verbose
        | {
            "properties": verbose["properties"]
            | {"words": {"type": "array", "items": word}, "segments": {"type": "array", "items": segment}, "not_measured": unmeasured}
        },
        "OpenAIModel": model,
        "OpenAIModels": _object({"object": {"const": "list"}, "data": {"type": "array", "items": model}}),
    }


def _transcription() -> Schema:
    shapes = [{"$ref": f"#/components/schemas/{name}"} for name in ("OpenAITranscription", "OpenAIVerboseTranscription")]
    return {
        "description": "The transcript, as response_format says.",
        "content": {
            "application/json": {"schema": {"anyOf": shapes}},
            "text/plain": {"schema": _TEXT},
            "text/event-stream": {"schema": _TEXT},
        },
    }


def _json(description: str, name: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}
