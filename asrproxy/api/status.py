"""`GET /v1/status`: what runs here, for people; no secret, no transcript."""

from __future__ import annotations

import platform
import time
from typing import Any

from aiohttp import web

from asrproxy import __version__
from asrproxy.api.render import dumped
from asrproxy.api.request import RUNTIME
from asrproxy.runtime import Opened, Runtime


async def status(request: web.Request) -> web.Response:
    """Build, uptime, routes, and each provider's circuit, token expiry, pool, limiter and calls in flight."""
    return web.Response(body=dumped(status_body(request.app[RUNTIME])), content_type="application/json")


def status_body(runtime: Runtime) -> dict[str, Any]:
    """The whole of it as JSON values."""
    generation = runtime.current
    reason = runtime.ready()
    return {
        "build": {"version": __version__, "python": platform.python_version()},
        "uptime": round(time.monotonic() - runtime.began, 3),
        "ready": reason is None,
        "reason": reason,
        "draining": runtime.draining,
        "worker": None if runtime.place is None else {"index": runtime.place.index, "of": runtime.place.of},
        "generation": generation.number,
        "in_flight": runtime.in_flight,
        "routes": {name: route.stack.status() for name, route in generation.recognizer.routes.items()},
        "providers": {name: _provider(opened) for name, opened in generation.opened.items()},
        "decoders": runtime.decoders.status(),
        "fleet": runtime.fleet.status() if runtime.fleet is not None else None,
    }


def _provider(opened: Opened) -> dict[str, Any]:
    health = opened.stack.available()
    return {"type": opened.entry.type, "ready": health.ready, "reason": health.reason, **opened.stack.status(), **opened.provider.status()}
