"""Errors to bodies: the one place where an error of ours becomes an HTTP status, a code word and a type."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from asrproxy import errors
from asrproxy.errors import AsrError, ProviderError
from asrproxy.failure import RecordingFailed
from asrproxy.model import AttemptRecord, Segment


@dataclass(frozen=True, slots=True)
class Face:
    """How a class of errors looks from outside: HTTP status, the contract's code word, OpenAI's type word."""

    status: int
    code: str
    type: str


INTERNAL: Final = Face(500, "internal", "server_error")
METHOD_NOT_ALLOWED: Final = Face(405, "method_not_allowed", "invalid_request_error")

# Looked up along the class's bases: a subclass without a row has its parent's face.
FACES: Final[dict[type[AsrError], Face]] = {
    errors.InvalidParameter: Face(400, "invalid_parameter", "invalid_request_error"),
    errors.UnsupportedParameter: Face(400, "unsupported_parameter", "invalid_request_error"),
    errors.InvalidAudio: Face(400, "invalid_audio", "invalid_request_error"),
    errors.Unauthorized: Face(401, "unauthorized", "authentication_error"),
    errors.Forbidden: Face(403, "forbidden", "permission_error"),
    errors.NotFound: Face(404, "not_found", "invalid_request_error"),
    errors.UnknownRoute: Face(404, "unknown_route", "invalid_request_error"),
    errors.BodyTimeout: Face(408, "request_timeout", "invalid_request_error"),
    errors.ClientGone: Face(499, "client_closed", "invalid_request_error"),  # nobody is told; for the log and the metrics
    errors.BodyTooLarge: Face(413, "body_too_large", "invalid_request_error"),
    errors.AudioTooLong: Face(413, "audio_too_long", "invalid_request_error"),
    errors.UnsupportedMedia: Face(415, "unsupported_media", "invalid_request_error"),
    errors.RateLimited: Face(429, "rate_limited", "rate_limit_error"),
    errors.Throttled: Face(429, "rate_limited", "rate_limit_error"),
    errors.Refused: Face(502, "provider_auth", "provider_error"),
    errors.ProviderError: Face(502, "provider_error", "provider_error"),
    errors.NotReady: Face(503, "overloaded", "overloaded_error"),
    errors.CircuitOpen: Face(503, "circuit_open", "overloaded_error"),
    errors.Overloaded: Face(503, "overloaded", "overloaded_error"),
    errors.Draining: Face(503, "draining", "overloaded_error"),
    errors.DeadlineExceeded: Face(504, "deadline_exceeded", "timeout_error"),
}


def face_of(error: BaseException) -> Face:
    """The face of an error; what is not one of ours is a defect."""
    cause = error.cause if isinstance(error, RecordingFailed) else error
    for each in type(cause).__mro__:
        if (face := FACES.get(each)) is not None:
            return face
    return INTERNAL


def error_body(error: BaseException, request_id: str) -> dict[str, Any]:
    """The contract's error object, without the envelope `{"error": …}`."""
    face = face_of(error)
    cause = error.cause if isinstance(error, RecordingFailed) else error
    known = isinstance(cause, AsrError) and face is not INTERNAL
    body: dict[str, Any] = {
        "code": face.code,
        "type": face.type,
        "message": cause.message
        if known and isinstance(cause, AsrError)
        else "a defect of the proxy; the log has it under this request id",
        "param": cause.param if isinstance(cause, AsrError) else None,
        "retryable": cause.retryable if isinstance(cause, AsrError) else False,
        "provider": cause.provider if isinstance(cause, AsrError) else None,
        "provider_status": cause.vendor_code if isinstance(cause, ProviderError) else None,
        "request_id": request_id,
        "segments": [],
    }
    if known and isinstance(cause, AsrError) and cause.retry_after is not None:
        body["retry_after"] = round(cause.retry_after, 1)  # for those who see no header: an event of a stream, a message of a session
    if isinstance(error, RecordingFailed):
        body["segments"] = [segment_body(segment, request_id) for segment in error.segments]
        body["attempts"] = [attempt_body(record) for record in error.attempts]
    return body


def segment_body(segment: Segment, request_id: str) -> dict[str, Any]:
    """A segment as the contract writes it; `words` only where there are any, `suspect` and `cached` only where true."""
    body: dict[str, Any] = {
        "index": segment.index,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "provider": segment.provider,
        "attempts": segment.attempts,
        "error": None if segment.error is None else error_body(segment.error, request_id),
    }
    if segment.words is not None:
        body["words"] = [{"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3)} for word in segment.words]
    if segment.suspect:
        body["suspect"] = True
    if segment.cached:
        body["cached"] = True
    return body


def attempt_body(record: AttemptRecord) -> dict[str, Any]:
    """A line of the answer's `attempts` detail."""
    body: dict[str, Any] = {
        "provider": record.provider,
        "outcome": record.outcome,
        "code": record.code,
        "reason": record.reason,
        "seconds": round(record.seconds, 3),
        "segment": record.segment,
    }
    if record.charge is not None:
        body["cost"] = cost_body({record.charge.currency: record.charge.amount})
    return body


def cost_body(cost: Mapping[str, float]) -> dict[str, float]:
    """Amounts by currency, to a billionth: prices a call may be small."""
    return {currency: round(amount, 9) for currency, amount in sorted(cost.items())}


def problem(error: BaseException, request_id: str) -> web.Response:
    """The whole answer to a request that failed."""
    body = error_body(error, request_id)
    response = web.Response(
        body=json.dumps({"error": body}, ensure_ascii=False).encode(),
        status=face_of(error).status,
        content_type="application/json",
    )
    if isinstance(error, AsrError) and (seconds := _pause(error, response.status)) is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    if response.status >= 500 and not body["retryable"]:
        response.headers["X-Should-Retry"] = "false"  # OpenAI's clients go by it; by the status alone they repeat every 5xx
    if isinstance(error, errors.Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _pause(error: AsrError, status: int) -> float | None:
    """Seconds after which to come back. Who is told to do so is told when: where a vendor does not say, the least that the header can."""
    return 1.0 if error.retry_after is None and status in {429, 503} else error.retry_after


def of_aiohttp(error: web.HTTPException, request: web.Request, request_id: str) -> tuple[errors.AsrError, web.Response]:
    """aiohttp's own refusals, as an error of ours and in our shape."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        known = AsrError(f"{request.method} is not served at {request.path}; allowed: {allowed}")
        face = METHOD_NOT_ALLOWED
        body = error_body(known, request_id) | {"code": face.code, "type": face.type, "message": known.message}
        dumped = json.dumps({"error": body}, ensure_ascii=False).encode()
        return known, web.Response(status=405, body=dumped, content_type="application/json", headers={"Allow": allowed})
    refused: AsrError
    if isinstance(error, web.HTTPNotFound):
        refused = errors.NotFound(f"nothing is served at {request.path}")
    elif isinstance(error, web.HTTPRequestEntityTooLarge):
        refused = errors.BodyTooLarge("the body is larger than server.max_body")
    else:
        refused = errors.InvalidParameter(error.reason or "the request cannot be read")
    return refused, problem(refused, request_id)
