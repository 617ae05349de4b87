"""The vendor's status codes that the emulator answers with, each with the vendor's own words (nls-meta and gateway help pages)."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import Final

SUCCESS: Final = 20000000
CLIENT_ERROR: Final = 40000000
TOKEN: Final = 40000001
MESSAGE_INVALID: Final = 40000002
PARAMETER_INVALID: Final = 40000003
IDLE_TIMEOUT: Final = 40000004
TOO_MANY_REQUESTS: Final = 40000005
WAV_HEADER: Final = 40000009
PATH_ILLEGAL: Final = 40010001
DIRECTIVE_INVALID: Final = 40010003
CLIENT_DISCONNECT: Final = 40010004
TASK_STATE: Final = 40010005
APPKEY_NOT_EXIST: Final = 40020105
FORMAT_NOT_SUPPORTED: Final = 40270001
NO_VALID_AUDIO: Final = 40270002
DECODE_ERROR: Final = 40270003
DOWNLOAD_FAILED: Final = 40270006
SAMPLE_RATE: Final = 41010101
TOO_LONG_SPEECH: Final = 41010104
DATA_TIMEOUT: Final = 41040201
SERVER_ERROR: Final = 50000000

# Texts that carry nothing of the request; the others are written where the fact is known.
TEXTS: Final = {
    SUCCESS: "SUCCESS",
    CLIENT_ERROR: "Gateway:CLIENT_ERROR:Client error!",
    TOKEN: "Gateway:ACCESS_DENIED:Missing authorization header!",
    IDLE_TIMEOUT: "Gateway:IDLE_TIMEOUT:Websocket session is idle for too long time",
    TOO_MANY_REQUESTS: "Gateway:TOO_MANY_REQUESTS:Too many requests!",
    WAV_HEADER: "Gateway:CLIENT_ERROR:Invalid wav header!",
    40000010: "Gateway:FREE_TRIAL_EXPIRED:The free trial has expired!",
    PATH_ILLEGAL: "Gateway:NAMESPACE_NOT_FOUND:RESTful url path illegal",
    CLIENT_DISCONNECT: "Gateway:CLIENT_DISCONNECT:Client disconnected before task finished!",
    TASK_STATE: "Gateway:TASK_STATE_ERROR:Got stop directive while task is stopping!",
    APPKEY_NOT_EXIST: "Meta:APPKEY_NOT_EXIST:Appkey not exist!",
    40020106: "Meta:APPKEY_UID_MISMATCH:Appkey and user mismatch!",
    NO_VALID_AUDIO: "NO_VALID_AUDIO_ERROR",
    DECODE_ERROR: "DECODE_ERROR",
    SAMPLE_RATE: "UNSUPPORTED_SAMPLE_RATE",
    TOO_LONG_SPEECH: "TOO_LONG_SPEECH",
    41010105: "SILENT_SPEECH",
    DATA_TIMEOUT: "Realtime:GET_CLIENT_DATA_TIMEOUT:Client data does not send continuously!",
    SERVER_ERROR: "Gateway:GRPC_ERROR:Grpc error!",
    50000001: "Gateway:GRPC_ERROR:Grpc error!",
    52010001: "Gateway:GRPC_ERROR:Grpc error!",
}


class NlsFailure(Exception):
    """A call ends with this status code; `text` is what the vendor writes beside it."""

    def __init__(self, status: int, text: str | None = None) -> None:
        self.status = status
        self.text = TEXTS.get(status, f"Gateway:ERROR:status {status}") if text is None else text
        super().__init__(f"{self.status} {self.text}")


class HttpErrors(StrEnum):
    """Which HTTP status goes with a failed REST call: no page of the vendor says so, a rule of thumb is the default."""

    BY_CLASS = "by-class"
    ALWAYS_200 = "always-200"


def http_status(status: int, rule: HttpErrors) -> int:
    """4xxxxxxx with 400 and 5xxxxxxx with 500, or 200 for all."""
    if status == SUCCESS or rule == HttpErrors.ALWAYS_200:
        return HTTPStatus.OK
    return HTTPStatus.BAD_REQUEST if status < SERVER_ERROR else HTTPStatus.INTERNAL_SERVER_ERROR
