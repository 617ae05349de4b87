"""`GET /v1/recent`: the last requests, without a word of what was said."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from asrproxy.api.render import dumped
from asrproxy.errors import InvalidParameter
from asrproxy.ops.recent import REQUESTS, Recent

RECENT: Final = web.AppKey("RECENT", Recent)
MOST: Final = 50
"""Requests that are told where nobody says how many."""
LAST: Final = 2**53
"""The highest number that may be asked after: JSON's whole numbers end there."""


async def recent(request: web.Request) -> web.Response:
    """Those after the one numbered `after`, the newest `limit` of them, oldest first; `last` is what to ask after next."""
    kept = request.app[RECENT]
    for name in request.query:
        if name not in ("after", "limit"):
            raise InvalidParameter(f"no parameter {name[:64]!r}; there are after and limit", param=name[:64])
    after, limit = _number(request, "after", 0, LAST), _number(request, "limit", MOST, REQUESTS)
    body = {"requests": kept.after(after, max(1, limit)), "last": kept.last}
    return web.Response(body=dumped(body), content_type="application/json")


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 17 and int(text) <= most):
        raise InvalidParameter(f"{name}: expected a whole number of at most {most}", param=name)
    return int(text)
