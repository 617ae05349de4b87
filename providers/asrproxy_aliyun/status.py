"""The one table of NLS status codes: what each means for the core, for rest, websocket, sdk and flash alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from asrproxy.plugin import Garbled, ProviderError, Refused, Rejected, Throttled, Unavailable

SUCCESS: Final = 20000000
ACCESS_DENIED: Final = 40000001

NO_SPEECH: Final = frozenset({40270002, 41010105})
"""NO_VALID_AUDIO_ERROR and SILENT_SPEECH: audio without speech is an empty text, not an error."""


class TokenRefused(Refused):
    """The gateway does not take this token: it may be replaced once."""


# Rows as in the vendor's code tables. Refused also stands for a project that is set up wrongly: a person has to act, nothing to repeat.
ERRORS: Final[Mapping[int, type[ProviderError]]] = MappingProxyType(
    {
        40000000: Rejected,  # the default client error, many texts
        40000001: TokenRefused,  # expired, invalid or missing token: told apart by the text only
        40000002: Unavailable,  # MESSAGE_INVALID: the task is dead, a new one may go well
        40000003: Rejected,  # PARAMETER_INVALID
        40000004: Unavailable,  # IDLE_TIMEOUT; flash: no result within 50 s
        40000005: Throttled,  # TOO_MANY_REQUESTS: concurrency and calls a second
        40000009: Rejected,  # a broken header in the audio
        40000010: Refused,  # FREE_TRIAL_EXPIRED, unpaid
        40010001: Refused,  # NAMESPACE_NOT_FOUND: gateway_url leads elsewhere
        40010003: Rejected,  # DIRECTIVE_INVALID
        40010004: Unavailable,  # CLIENT_DISCONNECT
        40010005: Rejected,  # TASK_STATE_ERROR
        40020105: Refused,  # APPKEY_NOT_EXIST
        40020106: Refused,  # APPKEY_UID_MISMATCH: a new token of the same account does not help
        40270001: Rejected,  # flash: format not supported
        40270003: Rejected,  # DECODE_ERROR
        40270004: Rejected,  # flash: no audio stream
        40270006: Rejected,  # flash: audio_address could not be fetched
        41000002: Refused,  # APPKEY_KEY_IS_NULL
        41000003: Refused,  # no end point for this app key
        41010101: Rejected,  # UNSUPPORTED_SAMPLE_RATE
        41010104: Rejected,  # TOO_LONG_SPEECH
        41040201: Unavailable,  # GET_CLIENT_DATA_TIMEOUT
        50000000: Unavailable,  # GRPC_ERROR
        50000001: Unavailable,
        52010001: Unavailable,
    }
)

# What to do, where the vendor's own text does not say.
ADVICE: Final[Mapping[int, str]] = MappingProxyType(
    {
        40000001: "check that the token or access key belongs to the account of the app key",
        40000005: "lower limits.concurrency or limits.rate, or buy concurrency",
        40000010: "the trial is over or the account is unpaid: see the console",
        40010001: "check gateway_url",
        40020105: "check appkey",
        40020106: "appkey and access key belong to different accounts",
        41010101: "set sample_rate to that of the app key's model",
    }
)


def error_of_status(code: int, message: str, *, retry_after: float | None = None) -> ProviderError:
    """A code that is neither success nor no speech. One that the table lacks: 5xxxxxxx may be tried again, 4xxxxxxx may not."""
    known = ERRORS.get(code)
    if known is None:
        known = Unavailable if 50_000_000 <= code < 60_000_000 else Rejected if 40_000_000 <= code < 50_000_000 else Garbled
    advice = ADVICE.get(code)
    text = f"NLS {code}: {cleaned(message) or 'no reason given'}" + (f" ({advice})" if advice else "")
    return known(text, vendor_code=code, retry_after=retry_after)


def error_of_http(status: int, text: str, *, retry_after: float | None = None) -> ProviderError:
    """An answer without a status of NLS's own: a proxy or balancer on the way, or a refused WebSocket handshake."""
    if status in (401, 403):
        # The handshake is refused in plain text, "Meta:ACCESS_DENIED:…": the same refusal as 40000001 elsewhere.
        return error_of_status(ACCESS_DENIED, text or "Forbidden", retry_after=retry_after)
    said = f"the gateway answered HTTP {status} with no status of its own"
    if status == 429:
        return Throttled(said, vendor_code=status, retry_after=retry_after)
    if status == 408 or status >= 500:
        return Unavailable(said, vendor_code=status, retry_after=retry_after)
    if status == 404:
        return Refused(f"{said}: check gateway_url", vendor_code=status)
    if 400 <= status < 500:
        return Rejected(said, vendor_code=status)
    return Garbled(f"{said}: it is not NLS's protocol", vendor_code=status)


def retry_after(header: str | None) -> float | None:
    """Seconds of a `Retry-After` that gives a number; a date is left alone."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


_QUOTED: Final = re.compile(r"(token\s*')[^']*'", re.IGNORECASE)
_KEY_LIKE: Final = re.compile(r"\b(?:[0-9a-fA-F]{24,}|LTAI\w+)\b")


def cleaned(message: str) -> str:
    """The vendor's text without the token that it quotes, and not longer than a line."""
    return _KEY_LIKE.sub("…", _QUOTED.sub(r"\1…'", message)).replace("\n", " ")[:300]
