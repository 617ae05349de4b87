"""Serves the page at `/` and what it is made of under `/page/`: read once, when it is first asked for."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from aiohttp import web

from asrproxy.api.request import RUNTIME
from asrproxy.errors import NotFound

PREFIX: Final = "/page/"
INDEX: Final = "index.html"
TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Only these are served."""
HEADERS: Final = {
    # Nothing from outside, nothing inline, nothing that writes markup: a transcript stays text. `blob:` is the recording that is played.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is sent. tag: changes when its bytes do."""

    body: bytes
    content_type: str
    tag: str


class Page:
    """The page's files, by name. Holds none until one is asked for."""

    def __init__(self) -> None:
        self._files: dict[str, File] | None = None

    async def serve(self, request: web.Request) -> web.Response:
        """`/`, or one of the files under `/page/`. Raises NotFound also where `server.page` is off."""
        name = request.match_info.get("name", INDEX)
        if not request.app[RUNTIME].server.page:
            raise NotFound(f"nothing is served at {request.path}")
        if self._files is None:
            self._files = await asyncio.to_thread(_read)
        file = self._files.get(name)
        if file is None:
            raise NotFound(f"nothing is served at {request.path}")
        if request.method not in {"GET", "HEAD"}:
            raise web.HTTPMethodNotAllowed(request.method, {"GET", "HEAD"})
        headers = {**HEADERS, "ETag": f'"{file.tag}"'}
        if any(each.value in {file.tag, "*"} for each in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.body, headers={**headers, "Content-Type": file.content_type})


PAGE: Final = web.AppKey("PAGE", Page)


def add_page(app: web.Application) -> None:
    """Adds the page to the API."""
    page = app[PAGE] = Page()
    app.router.add_route("*", "/", page.serve)
    app.router.add_route("*", PREFIX + "{name}", page.serve)


def is_page(path: str) -> bool:
    """Whether a path is the page's: anybody may load it, and it is not logged."""
    return path == "/" or path.startswith(PREFIX)


def _read() -> dict[str, File]:
    """Every file of a type that is served; names are looked up here and never become paths."""
    found = {}
    for each in files(__package__).joinpath("static").iterdir():
        kind = TYPES.get(each.name.rpartition(".")[2])
        if kind is not None:
            body = each.read_bytes()
            found[each.name] = File(body, kind, hashlib.sha256(body).hexdigest()[:32])
    return found
