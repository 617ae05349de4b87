"""The control endpoint: what a tester in another process, or with curl, may see and change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from asrproxy.plugin import Rate, Seconds

from .faults import Outage, Scripted, ScriptedToken
from .report import call_of

if TYPE_CHECKING:
    from .server import Emulator

_LONGEST_WAIT: Final = 60.0
_WAITED_FOR: Final = ("arrived", "in_flight", "refused_handshakes")
_UNITS: Final[Mapping[str, TypeAdapter[Any]]] = {
    "latency": TypeAdapter(Seconds),
    "latency_jitter": TypeAdapter(Seconds),
    "failure_rate": TypeAdapter(float),
    "failure_status": TypeAdapter(int),
    "concurrency": TypeAdapter(int | None),
    "rate": TypeAdapter(Rate | None),
}
_SCRIPTED: Final = TypeAdapter(list[Scripted])
_SCRIPTED_TOKENS: Final = TypeAdapter(list[ScriptedToken])
_OUTAGE: Final = TypeAdapter(Outage)


def control_app(emulator: Emulator) -> web.Application:
    """What is under `/_emulator`; listed in docs/emulator.md."""
    control = _Control(emulator)
    app = web.Application(middlewares=[_plain_errors])
    app.router.add_get("/status", control.status)
    app.router.add_get("/calls", control.calls)
    app.router.add_get("/wait", control.wait)
    app.router.add_post("/settings", control.settings)
    app.router.add_post("/clock", control.clock)
    app.router.add_post("/tokens/create", control.create_token)
    app.router.add_post("/tokens/expire", control.expire_tokens)
    app.router.add_post("/tokens/revoke", control.revoke_tokens)
    app.router.add_post("/outage", control.outage)
    app.router.add_post("/hold", control.hold)
    app.router.add_post("/release", control.release)
    app.router.add_post("/script", control.script)
    app.router.add_delete("/script", control.clear_script)
    app.router.add_post("/forget", control.forget)
    return app


class _Control:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def status(self, request: web.Request) -> web.Response:
        return self._status()

    async def calls(self, request: web.Request) -> web.Response:
        return web.json_response({"calls": [call_of(each) for each in self._emulator.calls]})

    async def wait(self, request: web.Request) -> web.Response:
        """Long polling: answers when the figures named in the query are reached, 408 when they are not in `timeout` seconds."""
        query = dict(request.query)
        timeout = min(_LONGEST_WAIT, float(query.pop("timeout", "30")))
        if unknown := set(query) - set(_WAITED_FOR):
            raise ValueError(f"{', '.join(sorted(unknown))}: only {', '.join(_WAITED_FOR)} can be waited for")
        try:
            async with asyncio.timeout(timeout):
                await self._emulator.until((name, int(value)) for name, value in query.items())
        except TimeoutError:
            return web.json_response({"error": f"not reached in {timeout:g} s"}, status=HTTPStatus.REQUEST_TIMEOUT)
        return self._status()

    async def settings(self, request: web.Request) -> web.Response:
        body = await _object(request)
        if unknown := set(body) - set(_UNITS):
            raise ValueError(f"{', '.join(sorted(unknown))}: only {', '.join(_UNITS)} can be set")
        self._emulator.adjust({name: _UNITS[name].validate_python(value) for name, value in body.items()})
        return self._status()

    async def clock(self, request: web.Request) -> web.Response:
        self._emulator.set_clock_offset(float((await _object(request))["offset"]))
        return self._status()

    async def create_token(self, request: web.Request) -> web.Response:
        return web.json_response({"token": self._emulator.create_token((await _object(request)).get("lifetime"))})

    async def expire_tokens(self, request: web.Request) -> web.Response:
        return web.json_response({"tokens": self._emulator.expire_all_tokens()})

    async def revoke_tokens(self, request: web.Request) -> web.Response:
        return web.json_response({"tokens": self._emulator.revoke_tokens((await _object(request)).get("token"))})

    async def outage(self, request: web.Request) -> web.Response:
        body = await _object(request)
        mode, http_status = _OUTAGE.validate_python(body.get("mode", "refuse")), int(body.get("http_status", 503))
        match body.get("service", "gateway"):
            case "gateway":
                await self._emulator.gateway_outage(mode, http_status)
            case "token":
                await self._emulator.token_outage(mode, http_status)
            case other:
                raise ValueError(f"service {other!r}: expected gateway or token")
        return self._status()

    async def hold(self, request: web.Request) -> web.Response:
        self._emulator.hold_answers()
        return self._status()

    async def release(self, request: web.Request) -> web.Response:
        self._emulator.release_answers()
        return self._status()

    async def script(self, request: web.Request) -> web.Response:
        body = await _object(request)
        self._emulator.script(*_SCRIPTED.validate_python(body.get("calls", [])), *_SCRIPTED_TOKENS.validate_python(body.get("tokens", [])))
        return self._status()

    async def clear_script(self, request: web.Request) -> web.Response:
        self._emulator.clear_script()
        return self._status()

    async def forget(self, request: web.Request) -> web.Response:
        self._emulator.forget()
        return self._status()

    def _status(self) -> web.Response:
        return web.json_response(asdict(self._emulator.status()))


async def _object(request: web.Request) -> dict[str, Any]:
    """The JSON body; none is an empty one. Raises ValueError."""
    body = await request.json() if await request.read() else {}
    if not isinstance(body, dict):
        raise ValueError("expected a JSON object")
    return body


@web.middleware
async def _plain_errors(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    try:
        return await handler(request)
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        return web.json_response({"error": str(error)}, status=HTTPStatus.BAD_REQUEST)
