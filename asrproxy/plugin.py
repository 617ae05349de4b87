"""What a provider's author imports: the contract between the core and a provider. The only stable import surface (with `asrproxy.testing`).

A provider is an import package with an entry point in the group `asrproxy.providers` that names a subclass of `Provider`. It translates
one utterance into one vendor call and the answer back. It never retries, sleeps between tries, limits itself, cuts audio or logs-and-
continues: the core's policy does that for every provider alike.
"""

from __future__ import annotations

import asyncio
import math
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import SerializeAsAny

from asrproxy.breaker import pybreaker
from asrproxy.cores import cores
from asrproxy.errors import (
    AsrError,
    AttemptTimeout,
    CircuitOpen,
    ConfigError,
    DeadlineExceeded,
    Fault,
    Garbled,
    NotReady,
    Overloaded,
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    Throttled,
    Truncated,
    Unavailable,
    Unreachable,
    UnsupportedParameter,
)
from asrproxy.events import CircuitChanged, Event, Noted, Observer, TokenRefreshed, ignore
from asrproxy.figures import Connections, TokenAge
from asrproxy.here import CaFile, is_here
from asrproxy.kept import KeptAudio
from asrproxy.model import (
    AttemptRecord,
    AudioFormat,
    Capabilities,
    Charge,
    Interim,
    Options,
    Recognition,
    Sentence,
    StreamEvent,
    Traffic,
    Utterance,
    Word,
)
from asrproxy.secrecy import bare_environment
from asrproxy.trace import Span
from asrproxy.units import HeaderName, Misplaced, Rate, Seconds, SecretLine, SecretStr, Section, Size

__all__ = [
    "AsrError",
    "AttemptRecord",
    "AttemptTimeout",
    "AudioFormat",
    "CaFile",
    "Call",
    "Capabilities",
    "Charge",
    "CircuitChanged",
    "CircuitOpen",
    "ConfigError",
    "Connections",
    "Context",
    "Credential",
    "DeadlineExceeded",
    "Event",
    "Fault",
    "Garbled",
    "HeaderName",
    "Health",
    "Host",
    "Interim",
    "KeptAudio",
    "Misplaced",
    "NotReady",
    "Noted",
    "Observer",
    "Options",
    "Overloaded",
    "Provider",
    "ProviderError",
    "ProviderSettings",
    "Rate",
    "RateLimited",
    "Recognition",
    "Refused",
    "Rejected",
    "Seconds",
    "SecretLine",
    "SecretStr",
    "Section",
    "Sentence",
    "Size",
    "Span",
    "StreamEvent",
    "Throttled",
    "TokenAge",
    "TokenRefreshed",
    "TokenStore",
    "Traffic",
    "Trail",
    "Truncated",
    "Unavailable",
    "Unreachable",
    "UnsupportedParameter",
    "Utterance",
    "Word",
    "Wrapped",
    "bare_environment",
    "cores",
    "ignore",
    "is_here",
    "pybreaker",
]


class ProviderSettings(Section):
    """Base of a provider's own settings: everything below `providers.<name>` but `type`, `policy` and `price`, which are the core's."""


class Wrapped(Section):
    """A provider inside another one's settings, for a provider that puts itself round any other.

    In the file it is a mapping as below `providers.<name>`: `type` beside that type's own keys, without a policy. The core looks the type
    up, checks its keys with file and line, and hands over what has been checked; `Host.make` makes the provider.
    """

    type: str
    settings: SerializeAsAny[ProviderSettings] = ProviderSettings()


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a provider can answer now; `reason` says why not, for `/readyz` and people."""

    ready: bool = True
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """A vendor's token. seconds: how long it still holds. expire_time: its end by the vendor's clock, Unix seconds."""

    id: str = field(repr=False)
    seconds: float
    expire_time: float


class TokenStore(Protocol):
    """Where the sidecars of an account share one token."""

    async def issue(self, account: str, make: Callable[[], Awaitable[Credential]], *, refused: str | None, within: float) -> Credential:
        """A token of the account that holds and is not `refused` (an id); one sidecar calls `make`, the others get what it made.

        account: tells accounts apart, no secret in it. within: seconds that `make` takes at most. Raises what `make` raises; it never
        fails because the store does.
        """


def _known(secret: str) -> None:
    return None


def _alone(type_name: str) -> type[Provider]:
    raise ConfigError(f"no other provider can be made here, {type_name!r} neither")


@dataclass(frozen=True, slots=True)
class Host:
    """What the core gives a provider when it makes one.

    name: the configured name. announce: where to say what happened (never what was said or a secret). cache: a folder for what may
    be kept between runs (model weights).
    tokens: where a token is shared with other sidecars, None: nowhere. provider_type: a type's class by its name, for `make`.
    conceal: tells of a secret that was made at run time (a token), which is kept out of whatever is written from then on.
    """

    name: str
    announce: Observer = ignore
    cache: Path = field(default_factory=lambda: Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asrproxy")
    tokens: TokenStore | None = None
    provider_type: Callable[[str], type[Provider]] = field(default=_alone, repr=False)
    conceal: Callable[[str], None] = field(default=_known, repr=False)

    def make(self, wrapped: Wrapped) -> Provider:
        """Another provider under the same name, not started: who makes it starts it, calls it and closes it. Raises ConfigError."""
        return self.provider_type(wrapped.type)(wrapped.settings, self)


class Trail:
    """What happened on the way to one answer: layers add a record, the answer shows them.

    waited, paused: seconds in queues for permits, and between a failed call and the next. told: hears of every record.
    """

    __slots__ = ("_told", "paused", "records", "waited")

    def __init__(self, told: Callable[[AttemptRecord], None] | None = None) -> None:
        self.records: list[AttemptRecord] = []
        self.waited = 0.0
        self.paused = 0.0
        self._told = told

    def add(self, record: AttemptRecord) -> None:
        """One record more."""
        self.records.append(record)
        if self._told is not None:
            self._told(record)

    def calls(self) -> int:
        """How many vendor calls were made."""
        return sum(record.outcome != "skipped" for record in self.records)


async def _no_detector(utterance: Utterance) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Context:
    """What goes with a call beside its audio.

    deadline: a moment on the running loop's clock by which the caller must have an answer. attempt: 1 for the first. segment: index of
    the utterance in the recording. voiced: seconds of clear speech in an utterance, by the core's voice-activity detector (costs a few
    milliseconds: ask only when the answer looks short). traceparent, tracestate: headers of W3C Trace Context, to be sent on as they are.
    patience: seconds that a call may idle (a pause before a retry, a queue) before it had better fail: short where another provider could
    answer meanwhile. route, caller, trace: whose call it is, for what is announced about it.
    """

    request_id: str
    deadline: float
    options: Options = field(default_factory=Options)
    attempt: int = 1
    segment: int = 0
    traffic: Traffic = Traffic.SHORT
    trail: Trail = field(default_factory=Trail)
    voiced: Callable[[Utterance], Awaitable[float]] = _no_detector
    traceparent: str | None = None
    patience: float = math.inf
    tracestate: str | None = None
    route: str = ""
    caller: str = "other"
    trace: Span | None = None

    def remaining(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - asyncio.get_running_loop().time()

    def with_attempt(self, attempt: int) -> Context:
        """The same call, tried for the `attempt`th time."""
        return replace(self, attempt=attempt)


Call = Callable[[Utterance, Context], Awaitable[Recognition]]
"""What a policy layer wraps, and what it becomes."""


class Provider(ABC):
    """One configured use of a vendor.

    Life: the constructor only keeps what it is given; `start` opens (connections, helper processes) and returns soon, what takes long
    (loading a model, a first token) goes on in a task that the provider owns, with `health` not ready meanwhile; `aclose` ends
    everything. `recognize` may be called any number of times at once, also before `health` is ready (it waits or raises `NotReady`).
    Cancelling a call closes its connection to the vendor.
    """

    Settings: ClassVar[type[ProviderSettings]] = ProviderSettings
    summary: ClassVar[str] = ""
    """One line for `asrproxy providers`."""

    capabilities: Capabilities = Capabilities()
    """On the class: with default settings. An instance may set its own."""

    def __init__(self, settings: ProviderSettings, host: Host) -> None:
        self.settings = settings
        self.host = host

    async def start(self) -> None:  # noqa: B027 -- most providers have nothing to open
        """Opens what the provider needs. Raises ConfigError for what only shows at run time (a missing package, an unreadable file)."""

    @abstractmethod
    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        """One utterance to one recognition. Raises a `ProviderError`, or UnsupportedParameter for what its capabilities exclude."""

    def stream(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> AsyncIterator[StreamEvent]:
        """Live audio to sentences; only where `capabilities.streaming`. audio: s16le mono at `format`, in pieces of any size.

        An `Interim` says that a sentence is open (one with an empty text says only that): while it is, its audio is kept for the route's
        next provider. The generator is closed when the caller has gone.
        """
        raise UnsupportedParameter(f"provider {self.host.name!r} has no streaming", param="stream")

    def health(self) -> Health:
        """Whether it can answer now. Costs nothing: no call is made."""
        return Health()

    def status(self) -> Mapping[str, object]:
        """What `/v1/status` shows beside the core's own figures: JSON values, no secrets, no transcripts."""
        return {}

    def connections(self) -> Connections | None:
        """Its connections, for the metrics; None: it keeps none."""
        return None

    def token_age(self) -> TokenAge | None:
        """Its token's age, for the metrics; None: it uses none."""
        return None

    async def aclose(self) -> None:  # noqa: B027 -- most providers have nothing to end
        """Ends everything that was opened, also when `start` failed half-way. May be called twice."""
