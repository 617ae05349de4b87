"""What belongs to one HTTP request beside its body: its id, its account of what happened, the keys under which both are found."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Final

from aiohttp import web

from asrproxy.audio.spool import Spool
from asrproxy.model import AttemptRecord, Transcript
from asrproxy.recognizer import Origin, Route
from asrproxy.runtime import Runtime
from asrproxy.stages import Stages
from asrproxy.trace import Span

RUNTIME: Final = web.AppKey("RUNTIME", Runtime)
OTHER: Final = "other"
"""The caller of a request that names none, or one that `server.callers` does not have."""
_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")


class Account:
    """What one request did, for the access line, the metrics and the spans. Times: moments on the loop's clock, seconds.

    caller: an allow-listed name, or `other`. trace: the request's span. body: what was received, where it is spooled. told: the caller has
    all of a streamed answer, so that nothing is lost when it hangs up now.
    """

    __slots__ = (
        "attempts", "audio_seconds", "body", "caller", "cost", "error", "live", "provider", "received", "received_bytes", "request_id",
        "route", "stages", "text", "told", "trace",
    )  # fmt: skip

    def __init__(self, request_id: str, caller: str, trace: Span | None) -> None:
        self.request_id, self.caller, self.trace = request_id, caller, trace
        self.received = asyncio.get_running_loop().time()
        self.stages = Stages()
        self.route = ""
        self.live = False
        self.body: Spool | None = None
        self.received_bytes = 0
        self.audio_seconds = 0.0
        self.provider: str | None = None
        self.text = ""
        self.told = False
        self.attempts = 0
        self.cost: dict[str, float] = {}
        self.error: BaseException | None = None

    def origin(self) -> Origin:
        """Whose orders its orders are."""
        return Origin(self.request_id, self.received, self.caller, self.trace, self.called)

    def accepted(self, name: str, route: Route) -> None:
        """It goes to this route."""
        self.route = name
        self.cost = dict.fromkeys(route.currencies, 0.0)

    def called(self, record: AttemptRecord) -> None:
        """A call was made for it, or a provider passed over."""
        if record.outcome != "skipped":
            self.attempts += 1
        if (charge := record.charge) is not None:
            self.cost[charge.currency] = self.cost.get(charge.currency, 0.0) + charge.amount

    def finished(self, transcript: Transcript) -> None:
        """It was answered with a transcript."""
        self.audio_seconds = transcript.duration
        self.provider = transcript.provider
        self.text = transcript.text

    def failed(self, error: BaseException) -> None:
        """It was answered with an error."""
        self.error = error

    @property
    def body_bytes(self) -> int:
        """Bytes of the body that were received, also of a request that failed."""
        return self.received_bytes if self.body is None else self.body.size


REQUEST_ID: Final = web.RequestKey("REQUEST_ID", str)
ACCOUNT: Final = web.RequestKey("ACCOUNT", Account)


def request_id_of(request: web.BaseRequest) -> str:
    """The caller's `X-Request-Id` where it is printable and of a sane length, else a new one."""
    given = request.headers.get("X-Request-Id")
    return given if given is not None and _ID.fullmatch(given) else os.urandom(16).hex()
