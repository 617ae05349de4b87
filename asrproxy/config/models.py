"""The configuration file as frozen settings: this module is its reference, the schema and the documentation are made from it."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from asrproxy.here import CaFile, KeptFolder, Purpose, SpoolFolder, fault_of_socket, is_here
from asrproxy.plugin import ProviderSettings
from asrproxy.units import HeaderName, Misplaced, Rate, Seconds, SecretLine, SecretStr, Section, Size

DEFAULT_ROUTE: Final = "default"
"""Answers the requests that name no route."""


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _is_address(value: str) -> bool:
    if value.startswith("unix:"):
        return value != "unix:"
    host, colon, port = value.rpartition(":")
    return bool(colon) and port.isdecimal() and port.isascii() and len(port) <= 5 and int(port) <= 65535 and not set(host) & set("/ \t")


def _is_same(one: str, other: str) -> bool:
    """Whether two listeners cannot have these addresses together."""
    if one.startswith("unix:") or other.startswith("unix:"):
        return one[:5] == other[:5] and os.path.normpath(one[5:]) == os.path.normpath(other[5:])
    (host, port), (other_host, other_port) = _listener(one), _listener(other)
    return port == other_port != 0 and any(_overlap(each, another) for each in host for another in other_host)


def _listener(address: str) -> tuple[tuple[str, ...], int]:
    """The hosts, as addresses where they are known, and the port."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]").lower() or "127.0.0.1"
    try:
        return (str(ipaddress.ip_address(host)),), int(port)
    except ValueError:
        return (("127.0.0.1", "::1") if host == "localhost" else (host,)), int(port)


def _overlap(one: str, other: str) -> bool:
    """The whole of a family takes every address of it."""
    if one == other:
        return True
    return any(whole in (one, other) and mark in one and mark in other for whole, mark in (("0.0.0.0", "."), ("::", ":")))  # noqa: S104


def _has_port(url: str) -> bool:
    """Whether its port is one, or left to the scheme."""
    try:
        urlsplit(url).port  # noqa: B018 -- it is looked at when asked for
    except ValueError:
        return False
    return True


def _is_name(value: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,63}", value):
        raise ValueError("expected a name: letters, digits, underscores, dots and hyphens")
    return value


Name = Annotated[str, AfterValidator(_is_name)]
"""Of a provider, its type, or a route: it stands in addresses, metrics and messages."""

OneOrMany = Annotated[tuple[str, ...], BeforeValidator(_one_or_many, json_schema_input_type=str | tuple[str, ...])]


class AudioSettings(Section):
    """`server.audio`: how recordings are decoded. Decoders are worker processes, started on demand and ended when idle."""

    decoder: Literal["auto", "av", "pydub"] = Field(
        "auto",
        description="`av`: FFmpeg's libraries; `pydub`: pydub with the ffmpeg program; `auto`: av where installed, else pydub.",
    )
    workers: int = Field(0, ge=0, le=64, description="Decoder processes at most; 0: one a core, a container's CPU limit counted.")
    idle: Seconds = Field(30.0, description="A decoder process unused for this long is ended.")
    timeout: Seconds = Field(30.0, gt=0, description="A decoder that gives no audio for this long is ended with its request.")
    memory: Size = Field(512 * 2**20, description="Address space that a decoder process may add to its own; past it, its request fails.")


class ServerSettings(Section):
    """`server`: where it listens and what it takes."""

    listen: OneOrMany = Field(("127.0.0.1:8790",), description="API: `HOST:PORT` and/or `unix:PATH`, one or several.")
    ops_listen: OneOrMany = Field(("0.0.0.0:8791",), description="Health and metrics only; an empty list: no ops port.")
    max_body: Size = Field(200 * 2**20, gt=0, description="A longer body is 413 body_too_large.")
    max_audio: Seconds = Field(4 * 3600.0, gt=0, description="A longer recording is 413 audio_too_long.")
    body_timeout: Seconds = Field(
        30.0, description="A caller who sends nothing for this long in a body, or takes this long for a request's head, gets 408."
    )
    spool_memory: Size = Field(2**20, description="A body longer than this goes on to a temporary file.")
    spool_dir: SpoolFolder | None = Field(None, description="Folder of temporary files; none: the system's.")
    drain: Seconds = Field(25.0, description="After SIGTERM, requests in flight may take this long.")
    tokens: tuple[SecretLine, ...] = Field((), description="Bearer tokens; empty: whoever reaches the socket may call.")
    callers: tuple[Name, ...] = Field(
        (), description="Names that a caller may give itself in the header `X-Caller`, for metrics and costs; any other is `other`."
    )
    state: KeptFolder | None = Field(
        None, description="Folder in which what routes have spent is kept across restarts; none: only Redis, where there is one, keeps it."
    )
    page: bool = Field(True, description="Whether `/` shows the page where a person can drop or record audio.")
    origins: tuple[str, ...] = Field((), description="Web origins that may call across origins; empty: none may.")
    hosts: tuple[str, ...] = Field(
        (), description="Host names that a browser may use for this server besides localhost, addresses and the listeners' own."
    )
    workers: int = Field(
        1,
        ge=0,
        le=64,
        description="Processes that answer, behind the same addresses; 0: one a core. They share rate, token and circuit hints, and divide "
        "`limits.concurrency` and `limits.queue` between them.",
    )
    uvloop: bool = Field(True, description="Use uvloop's event loop where it is installed.")
    audio: AudioSettings = AudioSettings()

    @field_validator("listen", "ops_listen")
    @classmethod
    def _addresses(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for place, address in enumerate(value):
            if not _is_address(address):
                raise Misplaced("expected HOST:PORT (port 0 to 65535) or unix:PATH", at=(place,))
            if (
                address.startswith("unix:")
                and is_here(info, Purpose.SERVE)
                and (fault := fault_of_socket(Path(address.removeprefix("unix:"))))
            ):
                raise Misplaced(fault, at=(place,))
        return value

    @field_validator("listen")
    @classmethod
    def _somewhere(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("expected at least one address")
        return value

    @field_validator("tokens")
    @classmethod
    def _not_blank(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for place, token in enumerate(value):
            if not token.get_secret_value().strip():
                raise Misplaced("is empty, and would let in whoever sends no token", at=(place,))
        return value

    @model_validator(mode="after")
    def _each_address_once(self) -> Self:
        taken: list[tuple[str, str]] = []
        # What the file says comes last: a default has no line that could be shown.
        for key in sorted(("listen", "ops_listen"), key=lambda each: each in self.model_fields_set):
            for place, address in enumerate(getattr(self, key)):
                for other_key, other in taken:
                    if _is_same(address, other):
                        unless = "" if other_key in self.model_fields_set else ", unless that is set"
                        raise Misplaced(f"{address} cannot be listened at beside server.{other_key}'s {other}{unless}", at=(key, place))
                taken.append((key, address))
        return self


class ScaledTimeout(Section):
    """`policy.timeout` as a mapping: `base` plus `per_audio_minute` for every minute of the recording."""

    base: Seconds = Field(60.0, gt=0)
    per_audio_minute: Seconds = 30.0

    def of(self, audio_seconds: float) -> float:
        """Seconds allowed for a recording of that length."""
        return self.base + self.per_audio_minute * audio_seconds / 60


def _fixed_or_scaled(value: object) -> object:
    """A plain duration is fixed whatever the length."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return {"base": value, "per_audio_minute": 0.0}
    return value


class BackoffSettings(Section):
    """`policy.retries.backoff`: the pause before attempt n is drawn from 0 to min(max, initial * factor ** (n - 2))."""

    initial: Seconds = 0.2
    factor: float = Field(2.0, ge=1)
    max: Seconds = 5.0
    jitter: Literal["full", "none"] = "full"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.initial:
            raise ValueError("max is below initial")
        return self


class RetrySettings(Section):
    """`policy.retries`: how often a call that may be repeated is tried in all, and how many of recent calls may be repeats."""

    attempts: int = Field(3, ge=1, le=20, description="Tries in all; 1: no retry.")
    backoff: BackoffSettings = BackoffSettings()
    budget: float = Field(
        0.2,
        ge=0,
        le=10,
        description="Retries that bring no answer at most, as a share of recent calls (with a small reserve for quiet times); 0: no retry.",
    )


class CircuitSettings(Section):
    """`policy.circuit`: after `failures` vendor faults in a row, most recent calls having failed, nothing is sent for `reset`.

    Then `trials` calls find out.
    """

    failures: int = Field(5, ge=1)
    reset: Seconds = Field(60.0, gt=0)
    trials: int = Field(1, ge=1)


class LimitSettings(Section):
    """`policy.limits`: what a provider may be asked at once and a second; who waits and for how long."""

    rate: Rate | None = Field(150.0, description="Calls a second, evenly spaced after `burst`; null: no limit.")
    burst: int = Field(20, ge=1, description="Calls that may start at once after quiet.")
    concurrency: int | Literal["auto"] = Field(
        200, description="Calls under way at once; `auto`: found from the vendor's refusals and latency."
    )
    queue: int = Field(400, ge=0, description="Calls of one class (live, short, long) that may wait for a permit; one more is 429.")
    queue_timeout: Seconds = Field(
        5.0,
        description="A call waits at most this long for a permit, then 429; a long recording's segment, for its request's timeout, "
        "where no other provider could take it.",
    )

    @field_validator("concurrency")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("expected a number of at least 1, or auto")
        return value


class MemorySettings(Section):
    """`policy.long_audio.remember`: finished segments are kept, so that asking again pays only for what is missing."""

    enabled: bool = True
    ttl: Seconds = Field(3600.0, description="How long a finished segment is remembered.")
    entries: int = Field(4096, ge=0, description="Segments kept in memory at most.")
    folder: Path | None = Field(None, description="Also kept here, across restarts; transcripts on disk, so off unless named.")


class LongAudioSettings(Section):
    """`policy.long_audio`: how a recording longer than a provider's utterance is cut and put together."""

    max_segment: Seconds = Field(59.0, gt=1, description="Seconds of an utterance at most; a provider's own limit, if lower, wins.")
    min_silence: Seconds = Field(0.3, gt=0, description="A pause of at least this long is a place to cut.")
    concurrency: int = Field(8, ge=1, description="Utterances of one recording under way at once.")
    overlap: Seconds = Field(2.0, description="Where there is no pause, neighbours share this much and the seam is merged on the words.")
    skip_silence: Seconds = Field(3.0, description="A silence longer than this is not sent; 0: everything is sent.")
    recheck: bool = Field(True, description="Ask once more for a stretch with clear speech and no or far too few words.")
    remember: MemorySettings = MemorySettings()


class PolicySettings(Section):
    """`policy`: the rules round every call; a provider may carry its own with the same keys, merged over this one."""

    timeout: Annotated[ScaledTimeout, BeforeValidator(_fixed_or_scaled, json_schema_input_type=Seconds | ScaledTimeout)] = Field(
        ScaledTimeout(), description="Whole request."
    )
    attempt_timeout: Seconds = Field(15.0, gt=0, description="One call to a vendor.")
    retries: RetrySettings = RetrySettings()
    circuit: CircuitSettings = CircuitSettings()
    limits: LimitSettings = LimitSettings()
    long_audio: LongAudioSettings = LongAudioSettings()


class BudgetSettings(Section):
    """`routes.<name>.budget`: what the route's priced providers may cost, in their currency; used up, they are not called until it is over.

    Days and months are UTC's.
    """

    day: float | None = Field(None, gt=0, description="Of a calendar day at most.")
    month: float | None = Field(None, gt=0, description="Of a calendar month at most.")
    warn: float = Field(0.8, gt=0, le=1, description="From this share on, the log has a warning.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.day is None and self.month is None:
            raise ValueError("expected an amount for day, for month or for both")
        return self


class HedgeSettings(Section):
    """`routes.<name>.hedge`: a second attempt beside a slow first; the first good answer wins and the other is cancelled."""

    after: Seconds | Literal["p50", "p90", "p95", "p99"] = "p95"
    budget: float = Field(0.05, ge=0, le=1, description="Second attempts at most as a share of recent calls.")


class ShadowSettings(Section):
    """`routes.<name>.shadow`: a sampled copy of the calls goes to another provider, and the texts are compared; no caller notices."""

    provider: Name
    fraction: float = Field(0.05, gt=0, le=1, description="Of the route's calls, by chance.")
    concurrency: int = Field(2, ge=1, le=100, description="Copies under way at most; one more is left out.")
    timeout: Seconds = Field(60.0, gt=0, description="A copy that takes longer is given up.")
    budget: BudgetSettings | None = Field(None, description="What the copies may cost; none: any amount.")


class RouteSettings(Section):
    """`routes.<name>`: providers in the order in which they are tried."""

    providers: tuple[Name, ...] = Field(min_length=1)
    hedge: HedgeSettings | None = None
    split: dict[Name, Annotated[float, Field(ge=0)]] | None = Field(
        None, description="Weights: which of the providers a request begins at; the others follow in order. None: at the first."
    )
    split_by: Literal["request", "caller"] = Field("request", description="What keeps to one provider: a request's id, or a caller.")
    shadow: ShadowSettings | None = None
    budget: BudgetSettings | None = Field(None, description="What it may cost; none: any amount.")

    @field_validator("split")
    @classmethod
    def _some_share(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and not sum(value.values()) > 0:
            raise ValueError("expected a weight above 0 for at least one provider")
        return value

    @model_validator(mode="after")
    def _split_among_its_own(self) -> Self:
        for name in self.split or ():
            if name not in self.providers:
                raise Misplaced(f"{name!r} is none of this route's providers: {', '.join(self.providers)}", at=("split", name))
        return self


def _is_currency(value: str) -> str:
    if not re.fullmatch("[A-Z]{3}", value):
        raise ValueError("expected a currency's code of three capital letters, such as CNY or USD")
    return value


class PriceSettings(Section):
    """`providers.<name>.price`: what the vendor charges for a call that it answers; free quotas and steps are not known."""

    per_call: float = Field(0.0, ge=0, description="For each call.")
    per_minute: float = Field(0.0, ge=0, description="For each minute of audio.")
    currency: Annotated[str, AfterValidator(_is_currency)] = Field(description="ISO 4217, such as CNY or USD.")
    rounding: Seconds = Field(1.0, description="A call's audio is charged in steps of this length, rounded up; 0: to its exact length.")

    @property
    def asks(self) -> bool:
        """Whether it asks for anything."""
        return self.per_call > 0 or self.per_minute > 0


class ProviderEntry(Section):
    """`providers.<name>`: the plugin's settings, and the policy that holds for this provider (already merged over the common one)."""

    type: Name
    settings: SerializeAsAny[ProviderSettings] = ProviderSettings()
    policy: PolicySettings = PolicySettings()
    price: PriceSettings | None = Field(None, description="What the vendor charges; none: nothing is told about costs.")


class SharedSettings(Section):
    """`shared`: what all sidecars of an account share through Redis: one token, one rate, circuit hints."""

    redis: SecretLine = Field(description="redis://host:6379/0 or rediss://…; only reached off the request path.")
    ca_file: CaFile | None = Field(None, description="With rediss://: PEM file of a private certification authority.")
    prefix: str = "asrproxy"
    timeout: Seconds = Field(0.25, gt=0, description="Redis slower than this is taken as down; requests go on with a local share.")
    secret: SecretStr | None = Field(
        None, description="Encrypts the shared token; none: it is kept in the clear and Redis must be private."
    )

    @field_validator("redis")
    @classmethod
    def _an_address(cls, value: SecretStr) -> SecretStr:
        # Its own text may show a password, so it is not quoted.
        address = value.get_secret_value()
        if not re.match(r"(rediss?://[^/\s]|unix:///)", address):
            raise ValueError("expected redis://HOST:PORT/DB or rediss://…")
        if not _has_port(address):
            raise ValueError("expected redis://HOST:PORT/DB with a number for PORT; in a password, / ? # are written %2F %3F %23")
        return value

    @field_validator("secret")
    @classmethod
    def _not_empty(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("is empty, and would keep nothing secret; is the environment variable set?")
        return value

    @model_validator(mode="after")
    def _whom_to_trust(self) -> Self:
        if self.ca_file is not None and not self.redis.get_secret_value().startswith("rediss://"):
            raise Misplaced("goes with rediss://…; what shared.redis names has no certificate", at=("ca_file",))
        return self


class LogSettings(Section):
    """`log`: what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
    transcripts: bool = Field(
        False,
        description="Write what was recognised into each request's line, and keep it for `asrproxy tail --transcripts`; "
        "else no text of a caller is in the log.",
    )


def _is_collector(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@]+(/[^\s@]*)?", value):
        raise ValueError("expected an address such as http://collector:4318; a credential belongs into tracing.headers")
    return value


class TracingSettings(Section):
    """`tracing`: spans over OTLP/HTTP."""

    otlp: Annotated[str, AfterValidator(_is_collector)] = Field(
        description="The collector, such as http://collector:4318; `/v1/traces` is added."
    )
    sample: float = Field(
        1.0, ge=0, le=1, description="Share of the requests that are traced, of those whose `traceparent` does not decide it for them."
    )
    headers: dict[HeaderName, SecretLine] = Field(
        default_factory=dict, description="Sent with every export, such as a collector's credential."
    )
    ca_file: CaFile | None = Field(None, description="A private CA of the collector's.")
    timeout: Seconds = Field(5.0, gt=0, description="One export with its retries.")


class Configuration(Section):
    """The whole file."""

    server: ServerSettings = ServerSettings()
    providers: dict[Name, ProviderEntry] = Field(min_length=1)
    routes: dict[Name, RouteSettings] = Field(default_factory=dict)
    policy: PolicySettings = PolicySettings()
    shared: SharedSettings | None = None
    log: LogSettings = LogSettings()
    tracing: TracingSettings | None = None

    @model_validator(mode="after")
    def _routes_name_providers(self) -> Self:
        for name, route in self.routes.items():
            for place, provider in enumerate(route.providers):
                self._known(provider, ("routes", name, "providers", place))
            if route.budget is not None:
                self._one_currency(route.providers, ("routes", name, "budget"))
            if (shadow := route.shadow) is not None:
                if shadow.provider not in self.providers:
                    known = ", ".join(self.providers)
                    raise Misplaced(
                        f"no provider {shadow.provider!r}; the providers are {known}", at=("routes", name, "shadow", "provider")
                    )
                if shadow.budget is not None:
                    self._one_currency((shadow.provider,), ("routes", name, "shadow", "budget"))
        if self.routes and DEFAULT_ROUTE not in self.routes:
            raise Misplaced(f"a route {DEFAULT_ROUTE!r} is needed: it answers the requests that name none", at=("routes",))
        return self

    def with_default(self, name: str) -> Configuration:
        """The same, with the route of that name for the requests that name none. Raises ValueError: there is no such route."""
        routes = self.every_route()
        if name not in routes:
            raise ValueError(f"no route {name!r}; the routes are {', '.join(sorted(routes))}")
        return self.model_copy(update={"routes": self.routes | {DEFAULT_ROUTE: routes[name]}})

    def _known(self, provider: str, at: tuple[str | int, ...]) -> None:
        if provider not in self.providers:
            raise Misplaced(f"no provider {provider!r}; the providers are {', '.join(self.providers)}", at=at)

    def _one_currency(self, providers: Sequence[str], at: tuple[str, ...]) -> None:
        prices = (self.providers[provider].price for provider in providers)
        currencies = sorted({price.currency for price in prices if price is not None and price.asks})
        if len(currencies) != 1:
            found = f"theirs are in {' and '.join(currencies)}" if currencies else "none of them has one"
            raise Misplaced(f"a budget needs providers with a price in one currency, and {found}", at=at)

    def accounts(self) -> frozenset[str]:
        """The names by which calls and their costs are told apart: the routes', and `<route>.shadow` for the copies of its calls."""
        return frozenset(self.every_route()) | {f"{name}.shadow" for name, route in self.routes.items() if route.shadow is not None}

    def budgets(self) -> frozenset[str]:
        """Of those names, the ones with a budget."""
        routes = {name for name, route in self.routes.items() if route.budget is not None}
        return frozenset(routes) | {f"{name}.shadow" for name, route in self.routes.items() if route.shadow and route.shadow.budget}

    def every_route(self) -> dict[str, RouteSettings]:
        """The routes that requests may name: the file's; `default`, where the file has no routes, through every provider in its order; and
        each provider by its own name.
        """
        routes = {name: RouteSettings(providers=(name,)) for name in self.providers}
        if not self.routes:
            routes[DEFAULT_ROUTE] = RouteSettings(providers=tuple(self.providers))
        return routes | self.routes
