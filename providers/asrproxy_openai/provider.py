"""The provider `openai`: one utterance to one call of `/v1/audio/transcriptions`, and its answer back."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar, Final
from weakref import WeakSet

import aiohttp

from asrproxy.plugin import (
    Capabilities,
    ConfigError,
    Connections,
    Context,
    Garbled,
    Host,
    NotReady,
    Provider,
    ProviderError,
    ProviderSettings,
    Recognition,
    Unreachable,
    UnsupportedParameter,
    Utterance,
)
from asrproxy_openai.answer import error_of, recognition_of
from asrproxy_openai.form import Form, form_of
from asrproxy_openai.settings import OpenAISettings

_LONGEST_ANSWER: Final = 16 * 2**20
"""Bytes; the words of ten minutes are about 100 kB."""


class OpenAIProvider(Provider):
    """Any server with OpenAI's transcription API, over kept connections."""

    Settings: ClassVar[type[ProviderSettings]] = OpenAISettings
    summary = "any server with /v1/audio/transcriptions: OpenAI, Groq, speaches, vLLM, another asrproxy"
    capabilities: Capabilities = OpenAISettings().capabilities()

    def __init__(self, settings: OpenAISettings, host: Host) -> None:
        super().__init__(settings, host)
        self.capabilities = settings.capabilities()
        self._settings = settings
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._count = _Count()

    async def start(self) -> None:
        tls = _tls(self._settings)
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_mark_reused)
        limit = self._settings.connections
        self._kept = self._session(_Connector(self._count, ssl=tls, limit=limit, keepalive_timeout=self._settings.idle), [trace])
        self._fresh = self._session(_Connector(self._count, ssl=tls, limit=limit, force_close=True), [])

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        self._refuse_what_it_has_not(context)
        form = form_of(utterance, context.options, self._settings)
        answer = await self._call(form, context)
        if answer.status != 200:
            raise self._without_secrets(error_of(answer.status, answer.headers, answer.body))
        return recognition_of(
            answer.body,
            words=context.options.words,
            duration=utterance.duration,
            vendor_id=answer.headers.get("x-request-id"),
        )

    def status(self) -> Mapping[str, object]:
        return {
            "url": str(self._settings.url),
            "model": self._settings.model,
            "calls": self._count.calls,
            "connections": {"reused": self._count.reused, "stale": self._count.stale},
        }

    def connections(self) -> Connections:
        count = self._count
        return Connections(count.busy, max(0, count.open() - count.busy), count.opened, count.reused)

    async def aclose(self) -> None:
        kept, fresh, self._kept, self._fresh = self._kept, self._fresh, None, None
        for session in (kept, fresh):
            if session:
                await session.close()

    def _session(self, connector: aiohttp.TCPConnector, traces: list[aiohttp.TraceConfig]) -> aiohttp.ClientSession:
        key = self._settings.api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        return aiohttp.ClientSession(
            connector=connector,
            headers=headers | {name: value.get_secret_value() for name, value in self._settings.headers.items()},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout),  # the core has the attempt's time
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=traces,
        )

    def _refuse_what_it_has_not(self, context: Context) -> None:
        for name in context.options.asked():
            if name not in self.capabilities.options:
                raise UnsupportedParameter(f"provider {self.host.name!r} has no {name}", param=name)
        if not self.capabilities.speaks(context.options.language):
            raise UnsupportedParameter(f"provider {self.host.name!r} does not recognise {context.options.language}", param="language")

    async def _call(self, form: Form, context: Context) -> _Answer:
        if not (self._kept and self._fresh):
            raise NotReady("the provider is not started")
        self._count.calls += 1
        self._count.busy += 1
        with network_errors():
            connection = _Connection()
            try:
                return await self._post(self._kept, form, context, connection)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # A kept connection that the server closed while idle shows it only now.
                if not connection.reused or connection.answered:
                    raise
                self._count.stale += 1
                return await self._post(self._fresh, form, context, _Connection())
            finally:
                self._count.busy -= 1
                self._count.reused += connection.reused

    async def _post(self, session: aiohttp.ClientSession, form: Form, context: Context, connection: _Connection) -> _Answer:
        headers = dict(form.headers) | {"X-Request-Id": context.request_id}
        if context.traceparent:
            headers["traceparent"] = context.traceparent
            if context.tracestate:
                headers["tracestate"] = context.tracestate
        async with session.post(
            self._settings.url, data=form.pieces(), headers=headers, allow_redirects=False, trace_request_ctx=connection
        ) as answer:
            connection.answered = True
            body = bytearray()
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > _LONGEST_ANSWER:
                    raise Garbled(f"the answer is longer than {_LONGEST_ANSWER} bytes", vendor_code=answer.status)
            return _Answer(answer.status, answer.headers, bytes(body))

    def _without_secrets(self, error: ProviderError) -> ProviderError:
        """Servers quote what they refuse."""
        for secret in (self._settings.api_key, *self._settings.headers.values()):
            if secret and (value := secret.get_secret_value()) and value in error.message:
                error.message = error.message.replace(value, "…")
                error.args = (error.message,)
        return error


@contextmanager
def network_errors() -> Iterator[None]:
    """aiohttp's errors as the core's; only here are they named."""
    try:
        yield
    except aiohttp.ClientPayloadError as error:
        raise Garbled("the answer was cut in the middle") from error
    except aiohttp.ClientResponseError as error:
        raise Garbled("the answer is not HTTP") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"the server cannot be reached: {error or type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Connection:
    """What became of one call's connection. reused: it was a kept one. answered: headers came back on it."""

    reused: bool = False
    answered: bool = False


@dataclass(slots=True)
class _Count:
    """Calls, how many of them are being made, and the connections that they had."""

    calls: int = 0
    busy: int = 0
    opened: int = 0
    reused: int = 0
    stale: int = 0
    protocols: WeakSet[Any] = field(default_factory=WeakSet)

    def open(self) -> int:
        return sum(protocol.is_connected() for protocol in self.protocols)


class _Connector(aiohttp.TCPConnector):
    """Counts the connections that it opens."""

    def __init__(self, count: _Count, **options: Any) -> None:
        super().__init__(**options)
        self._count = count

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        protocol = await super()._create_connection(*args, **options)
        self._count.opened += 1
        self._count.protocols.add(protocol)
        return protocol


def _tls(settings: OpenAISettings) -> ssl.SSLContext | bool:
    if not settings.ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"ca_file {settings.ca_file}: {error}") from error


async def _mark_reused(session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams) -> None:
    context.trace_request_ctx.reused = True
