"""Whether a request carries one of `server.tokens`: in its header, or, where a browser's WebSocket cannot set one, in its subprotocols."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from asrproxy.errors import Unauthorized

SUBPROTOCOL: Final = "asrproxy.v1"
"""What `/v1/stream` speaks, for clients that name it."""
BEARER: Final = "asrproxy.bearer."
"""Goes before the token in base64url without padding: a subprotocol may hold fewer characters than a token. Never sent back."""


def check(request: web.Request, tokens: Sequence[bytes]) -> None:
    """Constant time in the token's content; every configured token is compared. Raises Unauthorized."""
    if not tokens:
        return
    offered = _offered(request)
    matches = [hmac.compare_digest(offered, token) for token in tokens]
    if not offered or not any(matches):
        raise Unauthorized("this proxy wants a token: send `Authorization: Bearer …` with one of server.tokens")


def _offered(request: web.Request) -> bytes:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip().encode(errors="surrogateescape")  # bytes that are no UTF-8 are a wrong token, not a defect
    protocols = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if SUBPROTOCOL in protocols:  # else none of them would be agreed on, and a browser hangs up
        for each in protocols:
            if each.startswith(BEARER):
                return _decoded(each.removeprefix(BEARER))
    return b""


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
