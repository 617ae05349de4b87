"""`/livez`, `/readyz` and `/metrics`: the same on both ports."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from asrproxy.api.render import dumped
from asrproxy.api.request import RUNTIME
from asrproxy.ops.metrics import Metrics

METRICS: Final = web.AppKey("METRICS", Metrics)


async def livez(request: web.Request) -> web.Response:
    """The loop turns."""
    return web.Response(body=dumped({"status": "live"}), content_type="application/json")


async def readyz(request: web.Request) -> web.Response:
    """Whether the default route can answer."""
    reason = request.app[RUNTIME].ready()
    if reason is None:
        return web.Response(body=dumped({"status": "ready"}), content_type="application/json")
    return web.Response(status=503, body=dumped({"status": "not ready", "reason": reason}), content_type="application/json")


async def metrics(request: web.Request) -> web.Response:
    """Prometheus text, or OpenMetrics where it is asked for."""
    body, content_type = request.app[METRICS].exposition(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})
