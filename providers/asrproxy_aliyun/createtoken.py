"""CreateToken: one call by a process that ends with it, signed with the server's time where the local clock is wrong."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from yarl import URL

from asrproxy.plugin import Garbled, ProviderError, Refused, Throttled, Unavailable, Unreachable
from asrproxy_aliyun.status import cleaned
from asrproxy_aliyun.token import Token

# The service refuses a Timestamp that is more than 15 minutes off; below a minute a difference is the network's or the Date header's.
_SKEW_IGNORED: Final = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What CreateToken is signed with. security_token: of temporary (STS) keys."""

    key_id: str
    key_secret: str
    security_token: str | None = None


class CreateToken:
    """A `TokenSource` that asks Alibaba Cloud through its SDK, in a process of its own (`token_call` says why).

    timeout: seconds of one call. wall: the local clock, Unix seconds. It retries nothing but a signature whose time was wrong, once the
    answer has told the right time. Cancelled or late, the process is killed and its connection with it.
    """

    def __init__(
        self,
        url: str,
        *,
        region: str,
        credentials: Credentials,
        timeout: float,
        ca_file: str | None = None,
        proxy: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        base = URL(url)
        self._domain = base.authority
        self._timeout = timeout
        self._wall = wall
        self._skew = 0.0
        self._order: Final = {
            "domain": base.authority,
            "secure": base.scheme == "https",
            "region": region,
            "key_id": credentials.key_id,
            "key_secret": credentials.key_secret,
            "security_token": credentials.security_token,
            "timeout": timeout,
            "ca_file": ca_file,
            "proxy": proxy,
        }

    @property
    def skew(self) -> float:
        """Seconds that the service's clock is ahead of ours."""
        return self._skew

    async def issue(self, refused: Token | None) -> Token:
        """A new token. Raises Refused, Throttled, Unavailable, Unreachable or Garbled."""
        try:
            async with asyncio.timeout(self._timeout):
                try:
                    body = await self._call()
                except _WrongTime:
                    body = await self._call()
        except TimeoutError as error:
            raise Unreachable(f"the token service gave no answer in {self._timeout:g} s") from error
        except _WrongTime as error:
            raise Unavailable("the token service refuses our time; is the local clock right?", vendor_code=error.code) from error
        return self._token(body)

    def _token(self, body: str) -> Token:
        try:
            token = json.loads(body)["Token"]
            identity, expire_time = str(token["Id"]), float(token["ExpireTime"])
        except (ValueError, KeyError, TypeError) as error:
            raise Garbled("the token service's answer holds no token") from error
        lifetime = expire_time - (self._wall() + self._skew)
        if not identity or lifetime <= 0:
            raise Garbled("the token service gave a token that has expired already")
        return Token(identity, expires=asyncio.get_running_loop().time() + lifetime, expire_time=expire_time)

    async def _call(self) -> str:
        """One CreateToken, to the body of its answer."""
        skew = self._skew if abs(self._skew) > _SKEW_IGNORED else 0.0
        # The local clock as it is, unless it is known to be wrong: then the SDK's own signature is made anew.
        clock = self._wall() + skew - time.time() if skew else 0.0
        outcome = await self._run(self._order | {"clock": clock})
        self._learn_time(outcome["date"])
        if (refusal := outcome.get("refused")) is not None:
            code = refusal["code"]
            if code.startswith("InvalidTimeStamp") and abs(self._skew - skew) > _SKEW_IGNORED:
                raise _WrongTime(code)
            raise _error_of_code(code, refusal["message"], refusal["http_status"])
        if (reason := outcome.get("unreachable")) is not None:
            raise Unreachable(f"the token service at {self._domain} cannot be reached: {reason}")
        return str(outcome["body"])

    async def _run(self, order: dict[str, Any]) -> dict[str, Any]:
        try:
            process = await subprocess.create_subprocess_exec(
                sys.executable, "-P", "-m", "asrproxy_aliyun.token_call",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,  # a signal to the sidecar's group is the sidecar's to handle
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(f"no process for CreateToken could be started: {error.strerror or error}") from error
        try:
            written, _ = await process.communicate(json.dumps(order).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()  # killed: it is there at once
        try:
            outcome: dict[str, Any] = json.loads(written)
        except ValueError as error:
            raise Unavailable(f"the process for CreateToken ended without an outcome (status {process.returncode})") from error
        return outcome

    def _learn_time(self, date: float | None) -> None:
        if date is None:
            return
        skew = date - self._wall()
        # The header counts whole seconds: a small difference says nothing.
        self._skew = skew if abs(skew) > 2 else 0.0


class _WrongTime(Exception):
    """The service refused the Timestamp, and its answer told the right time."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


# By the beginning of the code: most come with a second part after a dot.
_REFUSED: Final = (
    "InvalidAccessKeyId",
    "InvalidAccessKeySecret",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "InvalidSecurityToken",
    "Forbidden",
    "NoPermission",
    "InvalidAction",
    "InvalidVersion",
    "InvalidParameter",
    "MissingParameter",
)
_AGAIN: Final = ("InvalidTimeStamp", "SignatureNonceUsed", "InternalError", "ServiceUnavailable")


def _error_of_code(code: str, message: str, http_status: int | None) -> ProviderError:
    said = f"the token service refused: {code}"
    if code.startswith("Throttling") or http_status == 429:
        return Throttled(f"{said}: {cleaned(message)}", vendor_code=code)
    if code.startswith(("InvalidAccessKeyId", "InvalidAccessKeySecret", "SignatureDoesNotMatch", "InvalidSecurityToken")):
        return Refused(f"{said} (check access_key_id and access_key_secret)", vendor_code=code)
    if code.startswith(_REFUSED):
        return Refused(f"{said}: {cleaned(message)}", vendor_code=code)
    if code.startswith(_AGAIN) or (http_status or 500) >= 500:
        return Unavailable(f"{said}: {cleaned(message)}", vendor_code=code)
    return Refused(f"{said}: {cleaned(message)} (check token_url)", vendor_code=code)
