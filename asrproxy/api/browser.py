"""What a browser may do here: a page of another site must not spend the user's money through localhost, nor read what runs here."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from asrproxy.api.request import RUNTIME
from asrproxy.config.models import ServerSettings
from asrproxy.errors import Forbidden

LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", ""})
READING: Final = frozenset({"GET", "HEAD"})
OWN_SITE: Final = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of our own page and of what a person typed."""
PREFLIGHT_HEADERS: Final = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-Id, traceparent, tracestate",
    "Access-Control-Max-Age": "600",
}


def check(request: web.Request, server: ServerSettings) -> None:
    """Raises Forbidden: a page of another origin that `server.origins` does not name, or a host name that was made to point here.

    A program that sends no header of a browser's passes: it could forge them all, and does not act for a page.
    """
    headers = request.headers
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if origin is None and site is None:
        # To a name that is not localhost, browsers send neither with a GET of the same origin; a rebound name is one.
        if headers.get("User-Agent", "").startswith("Mozilla/"):
            _check_host(headers.get("Host", ""), server)
        return
    host = headers.get("Host", "")
    _check_host(host, server)
    if origin is None:
        if request.method not in READING and site not in OWN_SITE:
            raise Forbidden("a page of another site may not call this proxy")
    elif not (_named(origin, server) or _same(origin, host)):
        raise Forbidden(f"a page of {origin[:100]!r} may not call this proxy; name it in server.origins if it may")


def preflight(request: web.Request, server: ServerSettings) -> web.Response | None:
    """The answer to a browser that asks before it calls across origins, None: it is no such question. `check` has been passed."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    if not _named(request.headers.get("Origin", ""), server):
        return None
    return web.Response(status=204, headers=PREFLIGHT_HEADERS)


async def allow_origin(request: web.Request, response: web.StreamResponse) -> None:
    """Lets a page of a named origin read the answer; a signal, so that it holds for answers that come in pieces as well."""
    origin = request.headers.get("Origin")
    if origin is not None and _named(origin, request.app[RUNTIME].server):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "X-Request-Id, Retry-After"
        response.headers["Vary"] = "Origin"


def _named(origin: str, server: ServerSettings) -> bool:
    return bool(origin) and (origin in server.origins or "*" in server.origins)


def _same(origin: str, host: str) -> bool:
    """Whether the page came from here. A page without an origin of its own (a sandboxed frame, a file) says `null` and did not."""
    parts = urlsplit(origin)
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()


def _check_host(host: str, server: ServerSettings) -> None:
    name = _name(host)
    if not (name in LOCAL_NAMES or _is_address(name) or name in server.hosts or name in map(_name, server.listen)):
        raise Forbidden(f"a browser asked for host {name[:100]!r}; name it in server.hosts if it is yours")


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
