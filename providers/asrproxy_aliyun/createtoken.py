"""CreateToken through aliyun-python-sdk-core: one call, off the loop, signed with the server's time where the local clock is wrong."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from yarl import URL

from asrproxy.plugin import Garbled, ProviderError, Refused, Throttled, Unavailable, Unreachable
from asrproxy_aliyun.status import cleaned
from asrproxy_aliyun.threads import in_thread
from asrproxy_aliyun.token import Token

VERSION: Final = "2019-02-28"

# The service refuses a Timestamp that is more than 15 minutes off; below a minute a difference is the network's or the Date header's.
_SKEW_IGNORED: Final = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What CreateToken is signed with. security_token: of temporary (STS) keys."""

    key_id: str
    key_secret: str
    security_token: str | None = None


class CreateToken:
    """A `TokenSource` that asks Alibaba Cloud.

    timeout: seconds of one call. wall: the local clock, Unix seconds. It retries nothing but a signature whose time was wrong, once the
    answer has told the right time.
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
        self._secure = base.scheme == "https"
        self._domain = base.authority
        self._region = region
        self._credentials = credentials
        self._timeout = timeout
        self._ca_file = ca_file
        self._proxy = proxy
        self._wall = wall
        self._skew = 0.0
        self._client: Any = None

    @property
    def skew(self) -> float:
        """Seconds that the service's clock is ahead of ours."""
        return self._skew

    async def issue(self, refused: Token | None) -> Token:
        """A new token. Raises Refused, Throttled, Unavailable, Unreachable or Garbled."""
        try:
            async with asyncio.timeout(self._timeout):
                try:
                    body = await in_thread(self._call, name="aliyun-token")
                except _WrongTime:
                    body = await in_thread(self._call, name="aliyun-token")
        except TimeoutError as error:
            raise Unreachable(f"the token service gave no answer in {self._timeout:g} s") from error
        except _WrongTime as error:
            raise Unavailable("the token service refuses our time; is the local clock right?", vendor_code=error.code) from error
        return self._token(body)

    def _token(self, body: bytes) -> Token:
        try:
            token = json.loads(body)["Token"]
            identity, expire_time = str(token["Id"]), float(token["ExpireTime"])
        except (ValueError, KeyError, TypeError) as error:
            raise Garbled("the token service's answer holds no token") from error
        lifetime = expire_time - (self._wall() + self._skew)
        if not identity or lifetime <= 0:
            raise Garbled("the token service gave a token that has expired already")
        return Token(identity, expires=asyncio.get_running_loop().time() + lifetime, expire_time=expire_time)

    def _call(self) -> bytes:
        """Blocking: one CreateToken, to the body of its answer."""
        from aliyunsdkcore.acs_exception.exceptions import ClientException, ServerException

        skew = self._skew if abs(self._skew) > _SKEW_IGNORED else 0.0
        try:
            if self._client is None:
                self._client = self._new_client()
            return bytes(self._client.do_action_with_exception(self._request(skew)))
        except ServerException as error:
            code = str(error.get_error_code())
            if code.startswith("InvalidTimeStamp") and abs(self._skew - skew) > _SKEW_IGNORED:
                raise _WrongTime(code) from error
            raise _error_of_code(code, str(error.get_error_msg()), error.get_http_status()) from error
        except ClientException as error:
            # Its text holds the whole URL, signature and key id: only the reason is passed on, and no cause that would print it.
            raise Unreachable(f"the token service at {self._domain} cannot be reached: {_reason(str(error))}") from None
        except IndexError as error:
            # SDK core takes the part after the first ":" of this one error's message, and fails where there is none.
            raise _error_of_code("SignatureDoesNotMatch", "", 400) from error
        except (OSError, UnicodeDecodeError) as error:
            raise Unreachable(f"the token service at {self._domain} cannot be reached: {type(error).__name__}") from error
        finally:
            if self._client is not None:
                self._client.session.close()  # asked once a day: no connection is kept

    def _new_client(self) -> Any:
        from aliyunsdkcore.client import AcsClient

        # It logs every failure to stderr by itself, with the key id in the URL; ours are announced as events.
        logging.getLogger("aliyunsdkcore").setLevel(logging.CRITICAL)
        logging.getLogger("aliyunsdkcore.client").setLevel(logging.CRITICAL)
        client = AcsClient(
            self._credentials.key_id,
            self._credentials.key_secret,
            self._region,
            auto_retry=False,
            connect_timeout=self._timeout,
            timeout=self._timeout,
            verify=self._ca_file,
            # Left empty, it would read HTTP_PROXY but not NO_PROXY.
            proxy={"http": self._proxy, "https": self._proxy} if self._proxy else {"none": ""},
        )
        client.session.hooks["response"].append(self._learn_time)
        return client

    def _request(self, skew: float) -> Any:
        from aliyunsdkcore.http import method_type, protocol_type

        request = _request_type()(self._credentials.key_secret, skew and (lambda: self._wall() + skew))
        request.set_domain(self._domain)
        request.set_version(VERSION)
        request.set_action_name("CreateToken")
        request.set_method(method_type.POST)
        request.set_protocol_type(protocol_type.HTTPS if self._secure else protocol_type.HTTP)
        if self._credentials.security_token:
            # Not through its StsTokenCredential: the environment's ALIYUN_ACCESS_KEY_ID would win over that.
            request.add_query_param("SecurityToken", self._credentials.security_token)
        return request

    def _learn_time(self, response: Any, *args: object, **kwargs: object) -> None:
        try:
            server = parsedate_to_datetime(response.headers["Date"]).timestamp()
        except (KeyError, TypeError, ValueError):
            return
        skew = server - self._wall()
        # The header counts whole seconds: a small difference says nothing.
        self._skew = skew if abs(skew) > 2 else 0.0


class _WrongTime(Exception):
    """The service refused the Timestamp, and its answer told the right time."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def sign(method: str, params: Mapping[str, str], secret: str) -> str:
    """The RPC signature of `params` (without Signature): nls-protocol, section 1."""
    canonical = "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in sorted(params.items()))
    to_sign = f"{method}&%2F&{_encoded(canonical)}"
    digest = hmac.new(f"{secret}&".encode(), to_sign.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _encoded(text: str) -> str:
    return quote(text, safe="~")


def _request_type() -> Any:
    from aliyunsdkcore.request import CommonRequest

    class TimedRequest(CommonRequest):  # type: ignore[misc]
        """SDK core always signs with the local clock; `now` (Unix seconds) takes its place and the signature is made anew."""

        def __init__(self, secret: str, now: Callable[[], float] | None) -> None:
            super().__init__()
            self._secret = secret
            self._now = now

        def get_url(self, region_id: str, ak: str, secret: str) -> str:
            signed: str = super().get_url(region_id, ak, secret)
            if not self._now:
                return signed
            params = dict(parse_qsl(signed.partition("?")[2], keep_blank_values=True))
            del params["Signature"]
            params["Timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))
            params["Signature"] = sign(self.get_method(), params, self._secret)
            return "/?" + "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in params.items())

    return TimedRequest


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


_REASONS: Final[Mapping[str, str]] = {
    "certificate": "its certificate is not trusted (see ca_file)",
    "name or service not known": "its name has no address",
    "name resolution": "its name has no address",
    "nodename": "its name has no address",
    "timed out": "it takes too long",
    "refused": "connection refused",
    "reset": "connection reset",
    "aborted": "it closed the connection",
    "no such file": "ca_file cannot be read",
    "ca certificate": "ca_file cannot be read",
}


def _reason(text: str) -> str:
    lowered = text.lower()
    return next((reason for sign_, reason in _REASONS.items() if sign_ in lowered), "network error")
