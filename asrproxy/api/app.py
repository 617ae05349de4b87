"""The HTTP applications of one sidecar: the API, and the ops port with health and metrics only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from asrproxy.api import browser, health, openai, openapi, recognize, status, stream
from asrproxy.api import recent as recent_requests
from asrproxy.api.guard import guard
from asrproxy.api.page.files import add_page
from asrproxy.api.request import RUNTIME
from asrproxy.api.together import relay
from asrproxy.ops.latency import Latency
from asrproxy.ops.metrics import Metrics
from asrproxy.ops.recent import Recent
from asrproxy.runtime import Runtime

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_api(runtime: Runtime, metrics: Metrics, latency: Latency, recent: Recent, *, together: Path | None = None) -> web.Application:
    """Everything a pod's own containers may call. Opens nothing. together: where health, metrics and last requests of all workers are."""
    app = web.Application(middlewares=[guard], client_max_size=runtime.server.max_body)
    app[RUNTIME] = runtime
    app[health.METRICS] = metrics
    app[status.LATENCY] = latency
    app[recent_requests.RECENT] = recent
    app.on_response_prepare.append(browser.allow_origin)
    app.router.add_post("/v1/recognize", recognize.recognize)
    app.router.add_get("/v1/stream", stream.stream)
    app.router.add_post("/v1/audio/transcriptions", openai.transcriptions)
    app.router.add_get("/v1/models", openai.models)
    app.router.add_get("/v1/models/{name}", openai.model)
    app.router.add_get("/v1/status", status.status)
    app.router.add_get("/openapi.json", openapi.openapi)
    add_page(app)
    if together is None:
        _add_health(app)
        app.router.add_get("/v1/recent", recent_requests.recent)
    else:
        app.router.add_get("/v1/recent", recent_requests.recent_of_all(together))
        for path in ("/livez", "/readyz", "/metrics"):
            app.router.add_get(path, relay(together))
    return app


def create_ops(runtime: Runtime, metrics: Metrics) -> web.Application:
    """What the kubelet and Prometheus may call: nothing here changes state or shows a transcript or a secret."""
    app = web.Application(middlewares=[guard])
    app[RUNTIME] = runtime
    app[health.METRICS] = metrics
    _add_health(app)
    return app


def create_own(runtime: Runtime, metrics: Metrics, recent: Recent) -> web.Application:
    """What the supervisor of a worker asks it, over a socket that no one else reaches."""
    app = create_ops(runtime, metrics)
    app[recent_requests.RECENT] = recent
    app.router.add_get("/v1/recent", recent_requests.recent)
    return app


def _add_health(app: web.Application) -> None:
    app.router.add_get("/livez", health.livez)
    app.router.add_get("/readyz", health.readyz)
    app.router.add_get("/metrics", health.metrics)
