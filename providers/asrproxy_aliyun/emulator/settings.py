"""What an emulator is started with; whatever may change while it runs is in `faults`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .codes import TOO_LONG_SPEECH, HttpErrors


class Silence(StrEnum):
    """How audio without speech is answered; both forms were seen from the vendor."""

    EMPTY = "empty"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorSettings:
    """Times are seconds. Ports: 0 takes a free one.

    token_lifetime: of a new token. concurrency: calls at once, more are 40000005. rate: calls a second (a second's worth at once), None:
    any. answers: `tones`, `text:…` or an installed provider type such as `local`. longest: seconds of a one-sentence call; more is
    `too_long_status` (no page names the code). sample_rates: what the app key's model takes. idle: a WebSocket with no frame for so long
    is closed. data_gap: a transcriber that is kept alive by pings fails with no audio for so long. keep_alive: of an unused connection.
    security_token: the only STS token that is taken, None: any or none.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token_port: int = 0
    control_port: int = 0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    appkey: str = "emulated-appkey"
    access_key_id: str = "emulated-access-key-id"
    access_key_secret: str = "emulated-access-key-secret"  # noqa: S105 -- opens nothing but this emulator
    security_token: str | None = None
    token_lifetime: float = 86400.0
    timestamp_window: float = 900.0
    latency: float = 0.0
    latency_jitter: float = 0.0
    failure_rate: float = 0.0
    failure_status: int = 50000000
    concurrency: int | None = 200
    rate: float | None = None
    answers: str = "tones"
    longest: float = 60.0
    too_long_status: int = TOO_LONG_SPEECH
    sample_rates: tuple[int, ...] = (8000, 16000)
    idle: float = 10.0
    data_gap: float = 20.0
    silence: Silence = Silence.EMPTY
    http_errors: HttpErrors = HttpErrors.BY_CLASS
    keep_alive: float = 75.0
    seed: int | None = None
