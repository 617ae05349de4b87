"""What every request passes: who may call, the request id, the account of it, and errors in the contract's shape."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from asrproxy.api import bearer, browser
from asrproxy.api.page.files import is_page
from asrproxy.api.problems import face_of, of_aiohttp, problem
from asrproxy.api.request import ACCOUNT, OTHER, REQUEST_ID, RUNTIME, Account, request_id_of
from asrproxy.errors import AsrError, Draining
from asrproxy.events import Noted, RequestEnded
from asrproxy.runtime import Runtime

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD: Final = "_OTHER"
"""What OpenTelemetry calls a method that is none of HTTP's."""
OPEN: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Served without a token and while draining: probes come from outside and carry none."""
QUIET: Final = OPEN | {"/v1/status", "/v1/recent"}
"""Looked at again and again: neither logged nor counted."""
PUBLIC: Final = OPEN | {"/openapi.json"}


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Runs round every handler of both applications."""
    runtime = request.app[RUNTIME]
    request_id = request[REQUEST_ID] = request_id_of(request)
    path = request.path
    account = request[ACCOUNT] = _account(request, runtime, request_id, quiet=_is_quiet(path))
    try:
        if path not in OPEN:
            browser.check(request, runtime.server)
        response = browser.preflight(request, runtime.server) or await _admitted(request, handler, runtime, path)
    except web.HTTPException as error:
        refused, response = of_aiohttp(error, request, request_id)
        account.failed(refused)
    except AsrError as error:
        account.failed(error)
        response = problem(error, request_id)
    except (ConnectionResetError, asyncio.CancelledError) as error:  # the caller has gone; aiohttp closes what is left
        if account.told:
            _announce(request, runtime, account, 200, _code(account))
        else:
            account.failed(error)
            _announce(request, runtime, account, 499, "client_closed")
        raise
    except Exception as error:  # a defect of ours: this is the one owner of a request's errors
        account.failed(error)
        trace = {} if account.trace is None else {"trace_id": account.trace.trace_id}
        runtime.announce(Noted("error", "internal error", {"request_id": request_id, **trace, "error": error}))
        response = problem(error, request_id)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
        if runtime.draining:
            response.force_close()
        if response.status in {408, 413}:
            response.force_close()  # the rest of the body is not read
    _announce(request, runtime, account, response.status, _code(account))
    return response


async def _admitted(request: web.Request, handler: Handler, runtime: Runtime, path: str) -> web.StreamResponse:
    if path not in PUBLIC and not is_page(path):
        bearer.check(request, runtime.tokens)
        if runtime.draining and path.startswith("/v1/") and path != "/v1/status":
            raise Draining("the proxy is shutting down; try again at another one", retry_after=1.0)
    return await handler(request)


def _code(account: Account) -> str | None:
    return None if account.error is None else face_of(account.error).code


def _is_quiet(path: str) -> bool:
    return path in QUIET or is_page(path)


def _account(request: web.Request, runtime: Runtime, request_id: str, *, quiet: bool) -> Account:
    """What is known of the request from its headers."""
    headers = request.headers
    caller = headers.get("X-Caller", OTHER)
    trace = None if quiet else runtime.traces.begin(headers.get("traceparent"), headers.get("tracestate"))
    return Account(request_id, caller if caller in runtime.server.callers else OTHER, trace)


def _announce(request: web.Request, runtime: Runtime, account: Account, status: int, code: str | None) -> None:
    error, account.error = account.error, None  # its traceback holds the frames of the request: a circle, and the body in it
    if _is_quiet(request.path):
        return
    resource = request.match_info.route.resource
    began = account.stages.began
    runtime.announce(
        RequestEnded(
            request_id=account.request_id,
            method=request.method if request.method in METHODS else OTHER_METHOD,
            endpoint="none" if resource is None else resource.canonical,
            route=account.route,
            caller=account.caller,
            status=status,
            code=code,
            seconds=time.monotonic() - began,
            began=began,
            audio_seconds=account.audio_seconds,
            body_bytes=account.body_bytes,
            stages=account.stages.all(),
            live=account.live,
            provider=account.provider,
            attempts=account.attempts,
            cost=account.cost,
            reason=error.message if isinstance(error, AsrError) else None,
            text=account.text if runtime.log.transcripts else None,
            trace=account.trace,
        )
    )
