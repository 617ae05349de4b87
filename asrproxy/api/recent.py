"""`GET /v1/recent`: the last requests, without a word of what was said unless that is kept and asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web

from asrproxy.api.render import dumped
from asrproxy.api.request import RUNTIME
from asrproxy.api.together import relay
from asrproxy.errors import Forbidden, InvalidParameter
from asrproxy.ops.recent import REQUESTS, Recent

RECENT: Final = web.AppKey("RECENT", Recent)
MOST: Final = 50
"""Requests that are told where nobody says how many."""
LAST: Final = 2**53
"""The highest number that may be asked after: JSON's whole numbers end there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """after: a number. limit: requests at most. transcripts: what was said, too."""

    after: int
    limit: int
    transcripts: bool

    @classmethod
    def of(cls, request: web.Request) -> Self:
        """Raises InvalidParameter."""
        for name in request.query:
            if name not in ("after", "limit", "transcripts"):
                raise InvalidParameter(f"no parameter {name[:64]!r}; there are after, limit and transcripts", param=name[:64])
        transcripts = request.query.get("transcripts", "false")
        if transcripts not in ("true", "false"):
            raise InvalidParameter("transcripts: expected true or false", param="transcripts")
        limit = max(1, _number(request, "limit", MOST, REQUESTS))
        return cls(_number(request, "after", 0, LAST), limit, transcripts == "true")


async def recent(request: web.Request) -> web.Response:
    """Those after the one numbered `after`, the newest `limit` of them, oldest first; `last` is what to ask after next."""
    asked = _allowed(request)
    kept = request.app[RECENT]
    body = {"requests": kept.after(asked.after, asked.limit, transcripts=asked.transcripts), "last": kept.last()}
    return web.Response(body=dumped(body), content_type="application/json")


def recent_of_all(supervisor: Path) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that says the same of all workers of this sidecar: their supervisor at that socket gathers it."""
    relayed = relay(supervisor)

    async def checked(request: web.Request) -> web.Response:
        _allowed(request)
        return await relayed(request)

    return checked


def gathered(said: Mapping[int, Mapping[str, Any]], asked: Asked) -> dict[str, Any]:
    """What workers said, by their places, as one answer: in the order of their common numbers, each with its `worker`.

    A worker was asked a moment before another: what is newer than the oldest of their `last` is left for the next time, and never lost.
    """
    last = min((each["last"] for each in said.values()), default=asked.after)
    requests = [one | {"worker": place} for place, each in said.items() for one in each["requests"] if one["number"] <= last]
    requests.sort(key=lambda one: one["number"])
    return {"requests": requests[-asked.limit :], "last": last}


def _allowed(request: web.Request) -> Asked:
    asked = Asked.of(request)
    if asked.transcripts and not request.app[RUNTIME].log.transcripts:
        raise Forbidden("no transcripts are kept: log.transcripts is false in the configuration", param="transcripts")
    return asked


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 17 and int(text) <= most):
        raise InvalidParameter(f"{name}: expected a whole number of at most {most}", param=name)
    return int(text)
