"""The `aliyun` provider type: one utterance to NLS and back, over the transport that the configuration names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar, Final, Protocol

from asrproxy.plugin import (
    AudioFormat,
    Capabilities,
    ConfigError,
    Connections,
    Context,
    Health,
    Host,
    Options,
    Provider,
    ProviderSettings,
    Recognition,
    StreamEvent,
    TokenAge,
    UnsupportedParameter,
    Utterance,
)
from asrproxy_aliyun.createtoken import CreateToken, Credentials
from asrproxy_aliyun.flash import Flash, longest
from asrproxy_aliyun.live import Live
from asrproxy_aliyun.pool import Pool
from asrproxy_aliyun.rest import Rest
from asrproxy_aliyun.sdk import Sdk
from asrproxy_aliyun.settings import AliyunSettings
from asrproxy_aliyun.shared_token import SharedToken
from asrproxy_aliyun.status import TokenRefused
from asrproxy_aliyun.token import GivenToken, TokenLease, TokenSource
from asrproxy_aliyun.truncation import check
from asrproxy_aliyun.websocket import Websocket

_SHORT: Final = 59.5
"""Seconds of one-sentence recognition: 60, less what rounding may add."""


class Transport(Protocol):
    """How one utterance travels. All of them give the same recognition and the same errors for the same answer of the vendor's."""

    async def start(self) -> None: ...

    async def recognize(self, utterance: Utterance, options: Options, token: str) -> Recognition: ...

    def status(self) -> Mapping[str, object]: ...

    async def aclose(self) -> None: ...


def capabilities_of(settings: AliyunSettings) -> Capabilities:
    """What can be had with these settings."""
    options = {"punctuation", "itn", "vocabulary"}
    if settings.transport != "rest" or settings.long == "flash":
        options.add("words")
    return Capabilities(
        longest=_SHORT,
        formats=(AudioFormat(settings.sample_rate),),
        languages=None if settings.language is None else frozenset({settings.language}),
        options=frozenset(options),
        streaming=settings.transport == "websocket",
        whole=longest(settings.sample_rate) if settings.long == "flash" else None,
    )


class AliyunProvider(Provider):
    """Alibaba Cloud Intelligent Speech Interaction."""

    Settings: ClassVar[type[ProviderSettings]] = AliyunSettings
    summary = "Alibaba Cloud NLS: one-sentence recognition over rest, websocket or the vendor's SDK; flash for long audio"
    capabilities = Capabilities(longest=_SHORT, languages=frozenset({"zh-CN"}), options=frozenset({"punctuation", "itn", "vocabulary"}))
    settings: AliyunSettings

    def __init__(self, settings: ProviderSettings, host: Host) -> None:
        if not isinstance(settings, AliyunSettings):
            raise ConfigError(f"provider {host.name!r}: expected settings of type aliyun")
        super().__init__(settings, host)
        self.settings = settings
        self.capabilities = capabilities_of(settings)
        self._pool: Pool | None = None
        self._lease: TokenLease | None = None
        self._transport: Transport | None = None
        self._flash: Flash | None = None

    def token_source(self) -> TokenSource:
        """Where this provider's tokens come from. A fleet's shared token goes in front of this one."""
        settings = self.settings
        if settings.token is not None:
            return GivenToken(settings.token.get_secret_value())
        if settings.access_key_id is None or settings.access_key_secret is None:
            raise ConfigError(f"provider {self.host.name!r}: access_key_id and access_key_secret are needed")
        security = settings.security_token.get_secret_value() if settings.security_token is not None else None
        key_id = settings.access_key_id.get_secret_value()
        source = CreateToken(
            settings.token_service,
            region=settings.token_region,
            credentials=Credentials(key_id, settings.access_key_secret.get_secret_value(), security),
            timeout=settings.token_timeout,
            ca_file=str(settings.ca_file) if settings.ca_file is not None else None,
        )
        if self.host.tokens is None:
            return source
        account = f"aliyun {settings.token_service} {key_id}"
        return SharedToken(source, self.host.tokens, account=account, within=settings.token_timeout)

    async def start(self) -> None:
        """Opens the sessions, warms connections and gets the first token, the last two in tasks. Raises ConfigError."""
        settings = self.settings
        pool = self._pool = Pool(settings.pool, settings.gateway, ca_file=settings.ca_file)
        self._lease = TokenLease(
            self.token_source(),
            provider=self.host.name,
            reset=settings.token_reset,
            announce=self.host.announce,
            conceal=self.host.conceal,
        )
        match settings.transport:
            case "rest":
                self._transport = Rest(settings, pool)
            case "websocket":
                self._transport = Websocket(settings, pool)
            case "sdk":
                self._transport = Sdk(settings)
        self._flash = Flash(settings, pool) if settings.long == "flash" else None
        await self._transport.start()
        pool.start(warm=settings.transport == "rest")
        self._lease.start()

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        """Raises a ProviderError; UnsupportedParameter for words over `rest` without `long: flash`."""
        lease = self._opened()
        self._check(context.options)
        recognizer = self._recognizer(utterance, context.options)
        token = lease.current() or await lease.token()
        try:
            recognition = await recognizer.recognize(utterance, context.options, token.id)
        except TokenRefused as refusal:
            token = await lease.replace(token, refusal)
            recognition = await recognizer.recognize(utterance, context.options, token.id)
        lease.accepted(token)
        if self.settings.truncated is not None and utterance.duration <= _SHORT:  # of longer ones the core looks at each stretch
            await check(recognition, utterance, context, self.settings.truncated)
        return recognition

    def stream(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> AsyncIterator[StreamEvent]:
        """Live audio; transport `websocket` only."""
        lease = self._opened()
        self._check(context.options)
        if not isinstance(self._transport, Websocket):
            raise UnsupportedParameter(f"provider {self.host.name!r} streams over transport websocket only", param="stream")
        live = Live(self.settings, self._transport.lines, lease, format=format, context=context)
        return live.events(audio)

    def health(self) -> Health:
        return self._lease.health() if self._lease is not None else Health(ready=False, reason="not started")

    def status(self) -> Mapping[str, object]:
        if self._lease is None or self._pool is None or self._transport is None:
            return {}
        shown: dict[str, object] = {"region": self.settings.region, "gateway": self.settings.gateway, "transport": self.settings.transport}
        return shown | {"token": self._lease.status(), "pool": self._pool.status(), **self._transport.status()}

    def connections(self) -> Connections | None:
        return self._pool.connections() if self._pool is not None else None

    def token_age(self) -> TokenAge | None:
        return self._lease.age() if self._lease is not None else None

    async def aclose(self) -> None:
        closing = [part.aclose() for part in (self._lease, self._transport, self._pool) if part is not None]
        self._lease = self._transport = self._flash = self._pool = None
        await asyncio.gather(*closing)

    def _opened(self) -> TokenLease:
        if self._lease is None:
            raise RuntimeError(f"provider {self.host.name!r} is not started")
        return self._lease

    def _check(self, options: Options) -> None:
        for name in options.asked():
            if name not in self.capabilities.options:
                hint = ": transport rest has none, websocket and long: flash have" if name == "words" else ""
                raise UnsupportedParameter(f"provider {self.host.name!r} takes no {name}{hint}", param=name)
        if not self.capabilities.speaks(options.language):
            raise UnsupportedParameter(f"the app key's model recognises {self.settings.language} only", param="language")

    def _recognizer(self, utterance: Utterance, options: Options) -> Transport | Flash:
        if self._flash is not None and (utterance.duration > _SHORT or (options.words and self.settings.transport == "rest")):
            return self._flash
        if self._transport is None:
            raise RuntimeError(f"provider {self.host.name!r} is not started")
        return self._transport
