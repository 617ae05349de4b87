"""What can go wrong: each class says whose fault it is, whether it may be tried again and after how long. The HTTP face is in `api/`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import ClassVar, Final

_INNER_CAPITAL: Final = re.compile(r"(?<=.)(?=[A-Z])")


class Fault(StrEnum):
    """Whose fault an error is: VENDOR and NETWORK count towards a circuit, the others never do."""

    CALLER = "caller"
    PROXY = "proxy"
    VENDOR = "vendor"
    ACCOUNT = "account"
    NETWORK = "network"


class ConfigError(Exception):
    """The configuration cannot be used; the message names file, line, key path and what was expected, and shows no secret."""


class AsrError(Exception):
    """Base of everything that a request can end with.

    message: what happened and what to do, for people; it never holds a secret or a transcript.
    retry_after: seconds after which trying again makes sense, where known. provider: the configured name, filled in by the core.
    """

    fault: ClassVar[Fault] = Fault.PROXY
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None, provider: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.provider = provider


class CallerError(AsrError):
    """The request itself is at fault: the same request will fail again."""

    fault = Fault.CALLER


class InvalidParameter(CallerError):
    """A parameter is unknown, malformed or out of range; `param` names it."""


class UnsupportedParameter(CallerError):
    """No provider of the route has what `param` asks for."""


class InvalidAudio(CallerError):
    """Empty, truncated past use, not audio, or no audio track in it."""


class UnsupportedMedia(CallerError):
    """A container or codec that is not on the contract's list."""


class BodyTooLarge(CallerError):
    """More bytes than `server.max_body`."""


class AudioTooLong(CallerError):
    """More seconds than `server.max_audio`."""


class BodyTimeout(CallerError):
    """The caller stopped sending the body."""

    retryable = True


class ClientGone(CallerError):
    """The caller has closed the connection, or takes nothing from it any more: nobody is there to be told."""


class Unauthorized(CallerError):
    """A bearer token is configured and this is not it."""


class Forbidden(CallerError):
    """A web page of another origin, or a host name that is not ours: a browser may not spend the user's money through localhost.

    Also what the configuration says is not to be had, such as transcripts that are not kept.
    """


class NotFound(CallerError):
    """No such address."""


class UnknownRoute(CallerError):
    """The configuration has no route of that name."""


class RateLimited(AsrError):
    """The proxy's own limit; `retry_after` says when a permit is likely to be free."""

    retryable = True


class BudgetSpent(RateLimited):
    """What the route may cost in this day or month is used up; `retry_after` says when the next one begins."""


class Overloaded(AsrError):
    """The proxy has no room (memory, disk, decoders)."""

    retryable = True


class Draining(AsrError):
    """The proxy is shutting down and takes nothing new."""

    retryable = True


class CircuitOpen(AsrError):
    """The provider failed too often just now; nothing was sent."""

    retryable = True


class DeadlineExceeded(AsrError):
    """The request's timeout ran out."""

    retryable = True


class ProviderError(AsrError):
    """A provider failed or refused.

    vendor_code: the vendor's own status, for people and for `provider_status`. vendor_id: the vendor's own name for the call, for support
    tickets; set by the provider where it knows one.
    """

    fault = Fault.VENDOR

    def __init__(
        self, message: str, *, vendor_code: int | str | None = None, retry_after: float | None = None, provider: str | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after, provider=provider)
        self.vendor_code = vendor_code
        self.vendor_id: str | None = None


class Throttled(ProviderError):
    """Too many requests for the account: slows us down, never opens the circuit."""

    fault = Fault.ACCOUNT
    retryable = True


class Refused(ProviderError):
    """The vendor refused our credentials, app key or unpaid account. Never retried blindly."""

    fault = Fault.ACCOUNT


class Rejected(ProviderError):
    """The vendor will not take this audio or parameter: the same call will fail again."""

    fault = Fault.CALLER


class Unavailable(ProviderError):
    """The vendor failed on its side."""

    retryable = True


class Garbled(ProviderError):
    """The vendor's answer is not of its own protocol (not JSON, cut in the middle, another task's id)."""

    retryable = True


class Truncated(ProviderError):
    """The text is much too short for the speech that was sent. `text` is what came."""

    retryable = True

    def __init__(self, message: str, *, text: str = "", vendor_code: int | str | None = None) -> None:
        super().__init__(message, vendor_code=vendor_code)
        self.text = text


class Unreachable(ProviderError):
    """The network between us and the vendor: refused, reset, no name, bad certificate."""

    fault = Fault.NETWORK
    retryable = True


class AttemptTimeout(Unreachable):
    """The vendor did not answer within `attempt_timeout`."""


class NotReady(ProviderError):
    """The provider is still starting (a model is loading) or its helper process is being replaced."""

    fault = Fault.PROXY
    retryable = True


def code_of(kind: type[BaseException]) -> str:
    """The code word of an attempt that ended with an error of this class: `attempt_timeout` for AttemptTimeout."""
    return _INNER_CAPITAL.sub("_", kind.__name__).lower()
