"""The emulated cloud as one object: a gateway, a token service and a control endpoint, each on a port of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from .answers import Answers, answers_of
from .clock import Clock
from .cloud import Cloud
from .codes import PATH_ILLEGAL, TEXTS, http_status
from .control import control_app
from .create_token import CreateToken
from .faults import Faults, Outage, Scripted, ScriptedToken, Service
from .flash import Flash
from .ledger import Call, Ledger
from .listener import Listener, in_order
from .quota import Quota
from .report import Status, status_of
from .rest import Rest
from .settings import EmulatorSettings
from .token_service import TokenService
from .tokens import Tokens
from .websocket import WebSocket

_LARGEST_BODY: Final = 100 * 2**20
"""What FlashRecognizer takes."""


class Emulator:
    """`async with Emulator(latency=0.8) as cloud:` serves until the block ends; keywords are those of EmulatorSettings.

    ears: what listens, in place of what `answers` names.

    Its methods are for a tester on the same event loop; another process has the same ones in `client.EmulatorClient`.
    """

    def __init__(self, settings: EmulatorSettings | None = None, *, ears: Answers | None = None, **changes: Any) -> None:
        self.settings = settings = replace(settings or EmulatorSettings(), **changes)
        self.clock = Clock()
        self.ledger = Ledger()
        self._answers = answers_of(settings.answers) if ears is None else ears
        self._tokens = Tokens(self.clock)
        self._faults = Faults(settings)
        self._quota = Quota(settings.concurrency, settings.rate, lambda: asyncio.get_running_loop().time())
        self._create_token = CreateToken(settings, self._tokens, self.clock)
        cloud = Cloud(settings, self._tokens, self._quota, self._faults, self.ledger, self._answers)
        tls = _tls(settings)
        self._gateway = Listener(self._gateway_app(cloud), settings.host, settings.port, tls=tls, keep_alive=settings.keep_alive)
        self._token = Listener(self._token_app(), settings.host, settings.token_port, tls=tls, keep_alive=settings.keep_alive)
        self._control = Listener(self._control_app(), settings.host, settings.control_port)
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._answers.aclose)
            await self._answers.start()
            for listener in (self._control, self._token, self._gateway):
                stack.push_async_callback(listener.aclose)
                await listener.start()
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._opened.aclose()

    @property
    def gateway_url(self) -> str:
        """Base of REST, flash and (with ws) WebSocket addresses."""
        return self._gateway.url

    @property
    def websocket_url(self) -> str:
        """As the official SDKs want it."""
        return f"ws{self._gateway.url.removeprefix('http')}/ws/v1"

    @property
    def token_url(self) -> str:
        """Of CreateToken."""
        return self._token.url

    @property
    def control_url(self) -> str:
        """What `client.EmulatorClient` is given."""
        return self._control.url

    @property
    def appkey(self) -> str:
        return self.settings.appkey

    @property
    def access_key_id(self) -> str:
        return self.settings.access_key_id

    @property
    def access_key_secret(self) -> str:
        return self.settings.access_key_secret

    @property
    def connections_accepted(self) -> int:
        """TCP connections that the gateway took since the start."""
        return self._gateway.accepted

    @property
    def token_connections_accepted(self) -> int:
        """The same of the token service."""
        return self._token.accepted

    @property
    def connections_open(self) -> int:
        """TCP connections that the gateway holds now, idle ones among them."""
        return self._gateway.open_connections

    @property
    def tokens_created(self) -> int:
        return self._tokens.created

    @property
    def tokens_given(self) -> tuple[str, ...]:
        """The tokens that were created, for a test that looks whether one is written somewhere."""
        return tuple(self._tokens.given)

    @property
    def calls(self) -> list[Call]:
        """The last recognition calls, in the order in which they began."""
        return list(self.ledger.calls)

    @property
    def in_flight(self) -> int:
        return self.ledger.in_flight

    def status(self) -> Status:
        """All figures at this moment."""
        return status_of(self.ledger, self._tokens.created, self._gateway, self._token, self._faults)

    async def call_arrived(self) -> Call:
        """The next recognition call that was not reported here before; waits until the cloud has it and begins to work on it."""
        return await self.ledger.next_arrival()

    async def calls_arrived(self, count: int) -> None:
        """Waits until so many recognition calls have arrived since the start."""
        await self.ledger.until(lambda: self.ledger.arrived >= count)

    async def calls_in_flight(self, count: int) -> None:
        """Waits until at least so many recognition calls are under way at once."""
        await self.ledger.until(lambda: self.ledger.in_flight >= count)

    async def all_connections_free(self) -> None:
        """Waits until no connection has a recognition call under way."""
        await self.ledger.until(lambda: self.ledger.in_flight == 0)

    def hold_answers(self) -> None:
        """Recognition calls are taken, and wait before their answer."""
        self._faults.hold_answers()

    def release_answers(self) -> None:
        """Those that wait are answered, and no more wait."""
        self._faults.release_answers()

    def script(self, *answers: Scripted | ScriptedToken) -> None:
        """How the next calls are answered, each once, in the order of arrival."""
        self._faults.script(answers)

    def clear_script(self) -> None:
        """Forgets what was scripted and not used."""
        self._faults.clear_script()

    def create_token(self, lifetime: float | None = None) -> str:
        """A token made by hand, without a call to the token service. lifetime: seconds, as configured where left out."""
        return self._tokens.create(self.settings.token_lifetime if lifetime is None else lifetime).id

    def expire_all_tokens(self) -> int:
        """Every token given out so far is expired from now on. Returns how many there are."""
        return self._tokens.expire_all()

    def revoke_tokens(self, token_id: str | None = None) -> int:
        """This token, or every one, is unknown from now on. Returns how many there were."""
        return self._tokens.revoke(token_id)

    def set_clock_offset(self, seconds: float) -> None:
        """How far the cloud's clock is ahead of this machine's: tokens age by it, and signatures are judged by it."""
        self.clock.offset = seconds

    def adjust(self, changes: dict[str, float | int | None]) -> None:
        """Any of latency, latency_jitter, failure_rate, failure_status, concurrency, rate. Raises ValueError: another name."""
        for name, value in changes.items():
            if name in ("latency", "latency_jitter", "failure_rate", "failure_status") and value is not None:
                setattr(self._faults, name, value)
            elif name in ("concurrency", "rate"):
                setattr(self._quota, name, value)
            else:
                raise ValueError(f"{name} cannot be set to {value} while the emulator runs")

    async def gateway_outage(self, outage: Outage | str = Outage.REFUSE, http_status: int = 503) -> None:
        """From now on the gateway is out of service in this way; `Outage.NONE` ends it."""
        await _set_outage(self._faults.gateway, self._gateway, Outage(outage), http_status)

    async def token_outage(self, outage: Outage | str = Outage.REFUSE, http_status: int = 503) -> None:
        """The same for the token service."""
        await _set_outage(self._faults.token, self._token, Outage(outage), http_status)

    def forget(self) -> None:
        """Counts calls, requests and statuses from zero."""
        self.ledger.forget()

    async def until(self, conditions: Iterable[tuple[str, int]]) -> None:
        """Waits until every figure is at least (`in_flight`: for 0 exactly) the value beside it. See the control endpoint's `wait`."""
        pairs = list(conditions)
        await self.ledger.until(lambda: all(_reached(getattr(self.ledger, name), wanted) for name, wanted in pairs))

    def _gateway_app(self, cloud: Cloud) -> web.Application:
        """Also does what the other two ports do, for whoever wants to know one port only."""
        gateway = partial(in_order, self._faults.gateway)
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_post("/stream/v1/asr", gateway(Rest(cloud).answer))
        app.router.add_post("/stream/v1/FlashRecognizer", gateway(Flash(cloud).answer))
        app.router.add_get("/ws/v1", gateway(WebSocket(cloud).answer))
        self._add_token_service(app)
        app.add_subapp("/_emulator", control_app(self))
        app.router.add_route("*", "/{path:.*}", gateway(self._no_such_path))
        return app

    def _token_app(self) -> web.Application:
        app = web.Application()
        self._add_token_service(app)
        return app

    def _control_app(self) -> web.Application:
        app = web.Application()
        app.add_subapp("/_emulator", control_app(self))
        return app

    def _add_token_service(self, app: web.Application) -> None:
        service = TokenService(self._create_token, self._faults, self.ledger, self.clock)
        for method in ("GET", "POST"):
            app.router.add_route(method, "/", in_order(self._faults.token, service.answer))

    async def _no_such_path(self, request: web.Request) -> web.Response:
        await request.read()
        body = {"task_id": "", "result": "", "status": PATH_ILLEGAL, "message": TEXTS[PATH_ILLEGAL]}
        return web.json_response(body, status=http_status(PATH_ILLEGAL, self.settings.http_errors))


async def _set_outage(service: Service, listener: Listener, outage: Outage, http_status: int) -> None:
    service.set(outage, http_status)
    if outage is Outage.REFUSE:
        listener.refuse()
    else:
        await listener.listen()
    if outage in (Outage.REFUSE, Outage.RESET):
        listener.reset_connections()


def _reached(value: int, wanted: int) -> bool:
    return value == 0 if wanted == 0 else value >= wanted


def _tls(settings: EmulatorSettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context
