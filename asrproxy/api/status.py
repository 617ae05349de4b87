"""`GET /v1/status`: what runs here, for people; no secret, no transcript."""

from __future__ import annotations

import platform
import time
from typing import Any, Final

from aiohttp import web

from asrproxy import __version__
from asrproxy.api.render import dumped
from asrproxy.api.request import RUNTIME
from asrproxy.model import Capabilities
from asrproxy.ops.latency import Latency
from asrproxy.runtime import Opened, Runtime

LATENCY: Final = web.AppKey("LATENCY", Latency)


async def status(request: web.Request) -> web.Response:
    """Build, uptime, routes, and each provider's circuit, token expiry, pool, limiter, latency and calls in flight."""
    body = status_body(request.app[RUNTIME])
    for name, provider in body["providers"].items():
        provider["latency"] = request.app[LATENCY].status(name)
    return web.Response(body=dumped(body), content_type="application/json")


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
        "takes": {"body": runtime.server.max_body, "audio": runtime.server.max_audio},
        "routes": {name: route.stack.status() for name, route in generation.recognizer.routes.items()},
        "providers": {name: _provider(opened) for name, opened in generation.opened.items()},
        "decoders": runtime.decoders.status(),
        "fleet": runtime.fleet.status() if runtime.fleet is not None else None,
    }


def _provider(opened: Opened) -> dict[str, Any]:
    health = opened.stack.available()
    return {
        "type": opened.entry.type,
        "ready": health.ready,
        "reason": health.reason,
        "can": _can(opened.stack.capabilities),
        **opened.stack.status(),
        **opened.provider.status(),
    }


def _can(capabilities: Capabilities) -> dict[str, Any]:
    """longest: seconds of one utterance. whole: of a recording sent in one call, null: it is cut. languages: null: any."""
    return {
        "longest": capabilities.longest,
        "whole": capabilities.whole,
        "languages": None if capabilities.languages is None else sorted(capabilities.languages),
        "options": sorted(capabilities.options),
        "streaming": capabilities.streaming,
    }
