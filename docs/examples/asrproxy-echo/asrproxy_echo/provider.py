"""The provider `echo`: samples go to Echo's one address, a JSON object with the text comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import ClassVar, Final

import aiohttp

from asrproxy.plugin import (
    AudioFormat,
    Capabilities,
    Context,
    Garbled,
    Host,
    NotReady,
    Provider,
    ProviderError,
    ProviderSettings,
    Recognition,
    Refused,
    Rejected,
    SecretStr,
    Throttled,
    Unavailable,
    Unreachable,
    UnsupportedParameter,
    Utterance,
    Word,
)

ERRORS: Final[Mapping[int, type[ProviderError]]] = MappingProxyType({400: Rejected, 401: Refused, 403: Refused, 429: Throttled})
"""Echo's statuses. One that is not here may be tried again from 500 up."""


class EchoSettings(ProviderSettings):
    """What stands below `type: echo` in the configuration file."""

    url: str
    key: SecretStr


class EchoProvider(Provider):
    """Echo takes half a minute of Chinese at 8 or 16 kHz and knows the times of words."""

    Settings: ClassVar[type[ProviderSettings]] = EchoSettings
    summary = "the imaginary vendor Echo, of asrproxy's documentation"
    capabilities: Capabilities = Capabilities(
        longest=30.0,
        formats=(AudioFormat(16_000), AudioFormat(8_000)),
        languages=frozenset({"zh"}),
        options=frozenset({"words"}),
    )

    def __init__(self, settings: EchoSettings, host: Host) -> None:
        super().__init__(settings, host)
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            headers={"X-Echo-Key": self._settings.key.get_secret_value()},
            timeout=aiohttp.ClientTimeout(total=None),  # the core ends an attempt that takes too long, by cancelling it
        )

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        for name in context.options.asked():
            if name not in self.capabilities.options:
                raise UnsupportedParameter(f"Echo has no {name}", param=name)
        if not self.capabilities.speaks(context.options.language):
            raise UnsupportedParameter(f"Echo does not recognise {context.options.language}", param="language")
        if self._session is None:
            raise NotReady("the provider is not started")
        with network_errors():
            async with self._session.post(
                self._settings.url, data=bytes(utterance.pcm), params={"rate": utterance.format.sample_rate}
            ) as answer:
                body = await answer.read()
        if answer.status != 200:
            raise error_of(answer.status, answer.headers)
        return recognition_of(body, words=context.options.words)

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()


def recognition_of(body: bytes, *, words: bool) -> Recognition:
    """`{"heard": "…", "times": [["…", 0.1, 0.2], …]}` as a recognition. Raises Garbled: it is something else."""
    try:
        answer = json.loads(body)
        times = tuple(Word(str(text), float(start), float(end)) for text, start, end in answer["times"])
        return Recognition(str(answer["heard"]), words=times if words else None, language="zh-CN")
    except (ValueError, KeyError, TypeError) as error:
        raise Garbled("Echo's answer is not the object that it promises") from error


def error_of(status: int, headers: Mapping[str, str]) -> ProviderError:
    """The status decides; nobody reads the vendor's prose."""
    kind = ERRORS.get(status, Unavailable if status >= 500 else Rejected)
    pause = headers.get("Retry-After", "")
    return kind(f"Echo answered {status}", vendor_code=status, retry_after=float(pause) if pause.isdigit() else None)


@contextmanager
def network_errors() -> Iterator[None]:
    """aiohttp's errors as the core's; only here are they named."""
    try:
        yield
    except aiohttp.ClientPayloadError as error:
        raise Garbled("Echo's answer was cut in the middle") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"Echo cannot be reached: {error or type(error).__name__}") from error
