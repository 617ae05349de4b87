"""The action CreateToken: a signed call answered with a token, or with the error that the vendor's front door gives."""

from __future__ import annotations

import hmac
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from .settings import EmulatorSettings
from .signature import signature, string_to_sign
from .tokens import Tokens

_REQUIRED: Final = (
    "Action", "Version", "AccessKeyId", "Timestamp", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Signature",
)  # fmt: skip
_NONCES_REMEMBERED: Final = 100_000


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """HTTP status and JSON body."""

    status: int
    body: dict[str, object]


class CreateToken:
    """Answers signed parameters; knows nothing of HTTP but the method, which is part of what is signed."""

    def __init__(self, settings: EmulatorSettings, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._nonces: OrderedDict[str, None] = OrderedDict()

    def answer(self, method: str, parameters: Mapping[str, str], host: str) -> TokenAnswer:
        """parameters: of the query and the form body, blank values kept: they are signed too."""
        try:
            self._check(method, parameters)
        except _Refused as refused:
            return refusal(refused.status, refused.code, refused.text, host)
        token = self._tokens.create(self._settings.token_lifetime)
        return TokenAnswer(
            HTTPStatus.OK,
            {
                "ErrMsg": "",
                "NlsRequestId": uuid.uuid4().hex,
                "RequestId": str(uuid.uuid4()).upper(),
                "Token": {"ExpireTime": int(token.expires), "Id": token.id, "UserId": "1000000000000001"},
            },
        )

    def _check(self, method: str, parameters: Mapping[str, str]) -> None:
        for name in _REQUIRED:
            if not parameters.get(name):
                raise _Refused(HTTPStatus.BAD_REQUEST, f"Missing{name}", f"{name} is mandatory for this action.")
        if parameters["Action"] != "CreateToken":
            raise _Refused(HTTPStatus.NOT_FOUND, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")
        if parameters["Version"] != "2019-02-28":
            raise _Refused(HTTPStatus.NOT_FOUND, "InvalidVersion", "Specified parameter Version is not valid.")
        if parameters["SignatureMethod"].upper() != "HMAC-SHA1" or parameters["SignatureVersion"] != "1.0":
            raise _Refused(HTTPStatus.BAD_REQUEST, "InvalidParameter.SignatureMethod", "Only HMAC-SHA1, version 1.0, is taken here.")
        self._check_time(parameters["Timestamp"])
        self._check_key(method, parameters)
        self._check_nonce(parameters["SignatureNonce"])

    def _check_time(self, text: str) -> None:
        try:
            sent = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise _Refused(
                HTTPStatus.BAD_REQUEST, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted."
            ) from None
        if abs(sent.timestamp() - self._clock()) > self._settings.timestamp_window:
            raise _Refused(HTTPStatus.BAD_REQUEST, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")

    def _check_key(self, method: str, parameters: Mapping[str, str]) -> None:
        if parameters["AccessKeyId"] != self._settings.access_key_id:
            raise _Refused(HTTPStatus.NOT_FOUND, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        text = string_to_sign(method, parameters)
        if not hmac.compare_digest(signature(self._settings.access_key_secret, text).encode(), parameters["Signature"].encode()):
            # aliyun-python-sdk-core splits the message at ":" and fails with an IndexError where there is none.
            raise _Refused(
                HTTPStatus.BAD_REQUEST,
                "SignatureDoesNotMatch",
                f"Specified signature is not matched with our calculation. server string to sign is:{text}",
            )
        wanted = self._settings.security_token
        if wanted is not None and parameters.get("SecurityToken") != wanted:
            raise _Refused(HTTPStatus.BAD_REQUEST, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")

    def _check_nonce(self, nonce: str) -> None:
        if nonce in self._nonces:
            raise _Refused(HTTPStatus.BAD_REQUEST, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self._nonces[nonce] = None
        if len(self._nonces) > _NONCES_REMEMBERED:
            self._nonces.popitem(last=False)


class _Refused(Exception):
    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(code)
        self.status, self.code, self.text = status, code, text


def refusal(status: int, code: str, text: str, host: str) -> TokenAnswer:
    """The vendor's error body."""
    return TokenAnswer(
        status,
        {
            "RequestId": str(uuid.uuid4()).upper(),
            "HostId": host,
            "Code": code,
            "Message": text,
            "Recommend": f"https://api.aliyun.com/troubleshoot?q={code}&product=nls-cloud-meta",
        },
    )
