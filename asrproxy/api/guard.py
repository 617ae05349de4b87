"""What every request passes: who may call, the request id, the account of it, and errors in the contract's shape."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from asrproxy.api.problems import face_of, of_aiohttp, problem
from asrproxy.api.request import ACCOUNT, OTHER, REQUEST_ID, RUNTIME, Account, request_id_of
from asrproxy.errors import AsrError, Draining, Forbidden, Unauthorized
from asrproxy.events import Noted, RequestEnded
from asrproxy.runtime import Runtime

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPEN: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Served without a token and while draining: probes come from outside and carry none."""
QUIET: Final = OPEN | {"/v1/status"}
"""Looked at again and again: neither logged nor counted."""
PUBLIC: Final = OPEN | {"/openapi.json", "/"}
LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", ""})


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Runs round every handler of both applications."""
    runtime = request.app[RUNTIME]
    request_id = request[REQUEST_ID] = request_id_of(request)
    path = request.path
    account = request[ACCOUNT] = _account(request, runtime, request_id, quiet=path in QUIET)
    try:
        _check_browser(request, runtime)
        if path not in PUBLIC:
            _check_token(request, runtime)
            if runtime.draining and path.startswith("/v1/") and path != "/v1/status":
                raise Draining("the proxy is shutting down; try again at another one", retry_after=1.0)
        response = await handler(request)
    except web.HTTPException as error:
        refused, response = of_aiohttp(error, request, request_id)
        account.failed(refused)
    except AsrError as error:
        account.failed(error)
        response = problem(error, request_id)
    except ConnectionResetError as error:  # the caller has gone; aiohttp closes what is left
        account.failed(error)
        _announce(request, runtime, account, 499, "client_closed")
        raise
    except Exception as error:  # a defect of ours: this is the one owner of a request's errors
        account.failed(error)
        runtime.announce(Noted("error", "internal error", {"request_id": request_id, "error": error}))
        response = problem(error, request_id)
    except asyncio.CancelledError as error:
        account.failed(error)
        _announce(request, runtime, account, 499, "client_closed")
        raise
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
        _allow_origin(request, response, runtime)
        if runtime.draining:
            response.force_close()
        if response.status in {408, 413}:
            response.force_close()  # the rest of the body is not read
    _announce(request, runtime, account, response.status, None if account.error is None else face_of(account.error).code)
    return response


def _account(request: web.Request, runtime: Runtime, request_id: str, *, quiet: bool) -> Account:
    """What is known of the request from its headers."""
    headers = request.headers
    caller = headers.get("X-Caller", OTHER)
    trace = None if quiet else runtime.traces.begin(headers.get("traceparent"), headers.get("tracestate"))
    return Account(request_id, caller if caller in runtime.server.callers else OTHER, trace)


def _announce(request: web.Request, runtime: Runtime, account: Account, status: int, code: str | None) -> None:
    if request.path in QUIET:
        return
    resource = request.match_info.route.resource
    now = asyncio.get_running_loop().time()
    runtime.announce(
        RequestEnded(
            request_id=account.request_id,
            endpoint="none" if resource is None else resource.canonical,
            route=account.route,
            caller=account.caller,
            status=status,
            code=code,
            seconds=now - account.received,
            audio_seconds=account.audio_seconds,
            body_bytes=account.body_bytes,
            stages=account.stages.all(),
            live=account.live,
            provider=account.provider,
            attempts=account.attempts,
            trace=account.trace,
        )
    )


def _check_token(request: web.Request, runtime: Runtime) -> None:
    """Constant time in the token's content; every configured token is compared."""
    if not runtime.tokens:
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    offered = given.strip().encode()
    matches = [hmac.compare_digest(offered, token) for token in runtime.tokens]
    if scheme.lower() != "bearer" or not any(matches):
        raise Unauthorized("this proxy wants a token: send `Authorization: Bearer …` with one of server.tokens")


def _check_browser(request: web.Request, runtime: Runtime) -> None:
    """A web page may not reach us from another origin, nor under a name that was made to point here (DNS rebinding)."""
    origin = request.headers.get("Origin")
    host = request.headers.get("Host", "")
    if origin is None and "Sec-Fetch-Site" not in request.headers:
        return  # not a browser
    name = _host_name(host)
    if not (name in LOCAL_NAMES or _is_address(name) or name in runtime.server.hosts):
        raise Forbidden(f"a browser asked for host {name[:100]!r}; name it in server.hosts if it is yours")
    if origin is None:
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and request.method not in {"GET", "HEAD"}:
            raise Forbidden("a page of another site may not call this proxy")
        return
    if origin in runtime.server.origins or "*" in runtime.server.origins:
        return
    if urlsplit(origin).netloc.lower() != host.lower():
        raise Forbidden(f"a page of {origin[:100]!r} may not call this proxy; name it in server.origins if it may")


def _allow_origin(request: web.Request, response: web.StreamResponse, runtime: Runtime) -> None:
    origin = request.headers.get("Origin")
    if origin is not None and (origin in runtime.server.origins or "*" in runtime.server.origins):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "X-Request-Id, Retry-After"
        response.headers["Vary"] = "Origin"


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
