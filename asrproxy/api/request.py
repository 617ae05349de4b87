"""What belongs to one HTTP request beside its body: its id, its account of what happened, the keys under which both are found."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Final

from aiohttp import web

from asrproxy.recognizer import Stages
from asrproxy.runtime import Runtime

RUNTIME: Final = web.AppKey("RUNTIME", Runtime)
_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")


class Account:
    """What one request did, for the access line and the metrics. Times: moments on the loop's clock, seconds."""

    __slots__ = ("audio_seconds", "body_bytes", "error", "received", "route", "stages")

    def __init__(self) -> None:
        time = asyncio.get_running_loop().time
        self.received = time()
        self.stages = Stages(time)
        self.route = ""
        self.audio_seconds = 0.0
        self.body_bytes = 0
        self.error: BaseException | None = None

    def finished(self, audio_seconds: float, body_bytes: int) -> None:
        """It was answered with a transcript."""
        self.audio_seconds, self.body_bytes = audio_seconds, body_bytes

    def failed(self, error: BaseException) -> None:
        """It was answered with an error."""
        self.error = error


REQUEST_ID: Final = web.RequestKey("REQUEST_ID", str)
ACCOUNT: Final = web.RequestKey("ACCOUNT", Account)


def request_id_of(request: web.BaseRequest) -> str:
    """The caller's `X-Request-Id` where it is printable and of a sane length, else a new one."""
    given = request.headers.get("X-Request-Id")
    return given if given is not None and _ID.fullmatch(given) else os.urandom(16).hex()
