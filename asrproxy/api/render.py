"""A transcript as the caller wants it written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from asrproxy.api.parameters import ResponseFormat
from asrproxy.api.problems import attempt_body, cost_body, segment_body
from asrproxy.model import Transcript
from asrproxy.text import cues

CONTENT_TYPES = {
    ResponseFormat.JSON: "application/json",
    ResponseFormat.TEXT: "text/plain",
    ResponseFormat.SRT: "application/x-subrip",
    ResponseFormat.VTT: "text/vtt",
}


def transcript_body(transcript: Transcript, request_id: str, cost: Mapping[str, float]) -> dict[str, Any]:
    """The contract's `200`; with `cost` where there is one."""
    body: dict[str, Any] = {
        "request_id": request_id,
        "text": transcript.text,
        "language": transcript.language,
        "duration": round(transcript.duration, 3),
        "complete": transcript.complete,
        "provider": transcript.provider,
        "segments": [segment_body(segment, request_id) for segment in transcript.segments],
        "attempts": [attempt_body(record) for record in transcript.attempts],
    }
    if cost:
        body["cost"] = cost_body(cost)
    return body


def dumped(body: object) -> bytes:
    """JSON as it goes over the wire: UTF-8, no escapes for Chinese."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def rendered(transcript: Transcript, request_id: str, response_format: ResponseFormat, cost: Mapping[str, float]) -> bytes:
    """The body of a whole answer. cost: by currency."""
    match response_format:
        case ResponseFormat.JSON:
            return dumped(transcript_body(transcript, request_id, cost))
        case ResponseFormat.TEXT:
            return (transcript.text + "\n").encode()
        case ResponseFormat.SRT:
            return cues.srt(transcript).encode()
        case ResponseFormat.VTT:
            return cues.vtt(transcript).encode()
