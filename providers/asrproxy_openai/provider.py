"""The provider `openai`: one utterance to one call of `/v1/audio/transcriptions`, and its answer back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from multidict import CIMultiDict

from asrproxy.plugin import (
    Capabilities,
    Connections,
    Context,
    Host,
    NotReady,
    Provider,
    ProviderError,
    ProviderSettings,
    Recognition,
    UnsupportedParameter,
    Utterance,
)
from asrproxy_http.exchange import Answer, ConnectionCount, Connector, Exchange, StaleConnection, header_lines
from asrproxy_http.tls import tls_context
from asrproxy_openai.answer import error_of, recognition_of
from asrproxy_openai.form import Form, form_of
from asrproxy_openai.settings import OpenAISettings

_OF_EACH_CALL: Final = ("Content-Type", "X-Request-Id", "traceparent", "tracestate")


class OpenAIProvider(Provider):
    """Any server with OpenAI's transcription API, over kept connections."""

    Settings: ClassVar[type[ProviderSettings]] = OpenAISettings
    summary = "any server with /v1/audio/transcriptions: OpenAI, Groq, speaches, vLLM, another asrproxy"
    capabilities: Capabilities = OpenAISettings().capabilities()

    def __init__(self, settings: OpenAISettings, host: Host) -> None:
        super().__init__(settings, host)
        self.capabilities = settings.capabilities()
        self._settings = settings
        self._line: _Line | None = None
        self._count = _Count()

    async def start(self) -> None:
        self._line = _Line.opened(self._settings, self._count.connections)

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
            "connections": {"reused": self._count.connections.reused, "stale": self._count.stale},
        }

    def connections(self) -> Connections:
        count, busy = self._count.connections, self._count.busy
        return Connections(busy, max(0, count.open() - busy), count.opened, count.reused)

    async def aclose(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.kept.close()
            await line.fresh.close()

    def _refuse_what_it_has_not(self, context: Context) -> None:
        for name in context.options.asked():
            if name not in self.capabilities.options:
                raise UnsupportedParameter(f"provider {self.host.name!r} has no {name}", param=name)
        if not self.capabilities.speaks(context.options.language):
            raise UnsupportedParameter(f"provider {self.host.name!r} does not recognise {context.options.language}", param="language")

    async def _call(self, form: Form, context: Context) -> Answer:
        if (line := self._line) is None:
            raise NotReady("the provider is not started")
        self._count.calls += 1
        self._count.busy += 1
        try:
            headers = form.headers | {"X-Request-Id": context.request_id}
            if context.traceparent:
                headers["traceparent"] = context.traceparent
                if context.tracestate:
                    headers["tracestate"] = context.tracestate
            head = line.head + header_lines(headers)
            try:
                return await line.exchange.post(line.kept, head, *form.body)
            except StaleConnection:
                self._count.stale += 1
                return await line.exchange.post(line.fresh, head, *form.body)
        finally:
            self._count.busy -= 1

    def _without_secrets(self, error: ProviderError) -> ProviderError:
        """Servers quote what they refuse."""
        for secret in (self._settings.api_key, *self._settings.headers.values()):
            if secret and (value := secret.get_secret_value()) and value in error.message:
                error.message = error.message.replace(value, "…")
                error.args = (error.message,)
        return error


@dataclass(slots=True)
class _Count:
    """Calls, how many of them are being made, and the connections that they had. stale: kept ones that the server had closed."""

    calls: int = 0
    busy: int = 0
    stale: int = 0
    connections: ConnectionCount = field(default_factory=ConnectionCount)


@dataclass(frozen=True, slots=True)
class _Line:
    """The way to the server. head: what all calls begin with. fresh: for a call whose kept connection turned out to be closed."""

    exchange: Exchange
    head: bytes
    kept: Connector
    fresh: Connector

    @classmethod
    def opened(cls, settings: OpenAISettings, count: ConnectionCount) -> _Line:
        """As the settings say. Raises ConfigError."""
        tls = tls_context(settings.ca_file) if settings.ca_file else True  # aiohttp's own: one set of certificates in memory is enough
        key = settings.api_key
        headers = CIMultiDict({"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "asrproxy"})
        headers.update({"Authorization": f"Bearer {key.get_secret_value()}"} if key else {})
        headers.update({name: value.get_secret_value() for name, value in settings.headers.items()})  # in place of ours, in any case
        for name in _OF_EACH_CALL:
            headers.popall(name, None)
        exchange = Exchange(settings.url, connect_timeout=settings.connect_timeout, decompress=True)
        return cls(
            exchange,
            exchange.head(settings.url, headers),
            Connector(count, ssl=tls, limit=settings.connections, keepalive_timeout=settings.idle),
            Connector(count, ssl=tls, limit=settings.connections, force_close=True),
        )
