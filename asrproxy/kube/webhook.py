"""The mutating webhook: AdmissionReviews over TLS, answered by the injector."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import choose_encoder

from asrproxy.config.models import LogSettings
from asrproxy.errors import ConfigError
from asrproxy.events import Noted, Observer
from asrproxy.kube.certificates import Certificates
from asrproxy.kube.review import NotAReview, Outcome, answer, read, written
from asrproxy.kube.settings import InjectionSettings
from asrproxy.ops.logs import Log

LARGEST: Final = 8 * 2**20
"""Bytes of a review. An object has at most 1.5 MiB in the cluster's store, a review may hold two."""
BODY_TIMEOUT: Final = 10.0
"""Seconds for the whole of a body: the API server waits no longer for an answer by default."""
LINGER: Final = 5.0
"""Seconds of serving on after SIGTERM: until then API servers are still being told that this replica is gone."""
SHUTDOWN: Final = 10.0
"""Seconds for what is in flight then."""


@dataclass(slots=True)
class Webhook:
    """A running webhook. draining: it is to end; ready says so, and connections are closed as they are answered."""

    url: str
    draining: bool = False


@asynccontextmanager
async def webhook(settings: InjectionSettings, certificates: Certificates, *, listen: str, observer: Observer) -> AsyncIterator[Webhook]:
    """Serves while the context lasts. listen: `HOST:PORT`, port 0 for a free one. Raises ConfigError: the address cannot be had."""
    running = Webhook("")
    runner = web.AppRunner(_app(settings, running, observer), access_log=None, shutdown_timeout=SHUTDOWN)
    await runner.setup()
    host, _, port = listen.rpartition(":")
    host = host.strip("[]") or "0.0.0.0"  # noqa: S104 -- the API server comes from outside of the pod
    site = web.TCPSite(runner, host, int(port), ssl_context=certificates.context)
    watching = asyncio.create_task(certificates.watch())
    try:
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {listen}: {error.strerror or error}") from error
        bound = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        running.url = f"https://{f'[{host}]' if ':' in host else host}:{bound}"
        yield running
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await runner.cleanup()


def serve(settings: InjectionSettings, *, certificate: Path, key: Path, listen: str, log: LogSettings, linger: float = LINGER) -> int:
    """Until SIGTERM or SIGINT, and then for `linger` seconds or until a second one. Returns an exit status. Raises ConfigError."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    with Log(log) as observer:
        certificates = Certificates(certificate, key, observer=observer)
        return asyncio.run(_serve(settings, certificates, listen=listen, observer=observer, linger=linger))


async def _serve(settings: InjectionSettings, certificates: Certificates, *, listen: str, observer: Observer, linger: float) -> int:
    stop, at_once, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def end() -> None:
        (at_once if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    async with webhook(settings, certificates, listen=listen, observer=observer) as running:
        observer(Noted("info", "listening", {"url": running.url}))
        await stop.wait()
        running.draining = True
        observer(Noted("info", "draining", {}))
        with suppress(TimeoutError):
            async with asyncio.timeout(linger):
                await at_once.wait()
    return 0


def _app(settings: InjectionSettings, running: Webhook, observer: Observer) -> web.Application:
    registry = CollectorRegistry()
    outcomes = Counter("asrproxy_injections", "Pods that were looked at.", ["outcome"], registry=registry)
    for each in Outcome:
        outcomes.labels(each)

    def reviewing(settings: InjectionSettings) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            if request.content_type != "application/json":
                return _problem(415, "unsupported_media", "expected application/json")
            try:
                async with asyncio.timeout(BODY_TIMEOUT):
                    review = read(await request.read())
            except TimeoutError:
                return _problem(408, "request_timeout", "the body did not come")
            except web.HTTPRequestEntityTooLarge:
                return _problem(413, "body_too_large", f"expected at most {LARGEST} bytes")
            except NotAReview as error:
                return _problem(400, "invalid_parameter", str(error))
            given = answer(review, settings)
            if not review.dry_run:
                outcomes.labels(given.outcome).inc()
            level = "info" if given.outcome in (Outcome.INJECTED, Outcome.UNCHANGED) else "warning"
            details = {"pod": review.where, "uid": review.uid, "dry_run": review.dry_run}
            observer(Noted(level, f"pod {given.outcome}", details | ({"reason": given.message} if given.message else {})))
            return web.json_response(written(review, given))

        return handle

    async def livez(request: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def readyz(request: web.Request) -> web.Response:
        if running.draining:
            return web.json_response({"status": "not ready", "reason": "draining"}, status=503)
        return web.json_response({"status": "ready"})

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def closing(request: web.Request, response: web.StreamResponse) -> None:
        if running.draining:  # else an API server would come back over the connection that it has
            response.force_close()
            response.headers["Connection"] = "close"

    app = web.Application(client_max_size=LARGEST)
    app.on_response_prepare.append(closing)
    app.router.add_post("/inject", reviewing(settings.model_copy(update={"opt_in": True})))
    app.router.add_post("/inject/all", reviewing(settings.model_copy(update={"opt_in": False})))
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


def _problem(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
