"""One CreateToken through aliyun-python-sdk-core, as a program: an order on standard input, its outcome on standard output.

The SDK with its own copies of requests, chardet and cryptography would stay in the sidecar's memory for one call a day, and a thread
that waits for a name server cannot be ended; a process can. It is run as `python -m asrproxy_aliyun.token_call`, imports nothing of ours,
and never sees a secret but on its standard input.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote

VERSION: Final = "2019-02-28"


def main() -> None:
    """Reads an order (JSON), makes the call, writes the outcome (JSON).

    Order: `domain`, `secure`, `region`, `key_id`, `key_secret`, `security_token`, `timeout` (seconds), `ca_file`, `proxy`, `clock`
    (seconds to add to the local clock for the signature, 0: none). Outcome: `date` (the server's clock, Unix seconds, null: it did not
    say), and one of `body` (text), `refused` (`code`, `message`, `http_status`), `unreachable` (a reason without addresses or keys).
    """
    json.dump(_outcome(json.load(sys.stdin)), sys.stdout)


def sign(method: str, params: Mapping[str, str], secret: str) -> str:
    """The RPC signature of `params` (without Signature): nls-protocol, section 1."""
    canonical = "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in sorted(params.items()))
    to_sign = f"{method}&%2F&{_encoded(canonical)}"
    digest = hmac.new(f"{secret}&".encode(), to_sign.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _encoded(text: str) -> str:
    return quote(text, safe="~")


def _outcome(order: Mapping[str, Any]) -> dict[str, Any]:
    from aliyunsdkcore.acs_exception.exceptions import ClientException, ServerException

    dates: list[float] = []
    outcome: dict[str, Any]
    try:
        body = _client(order, dates).do_action_with_exception(_request(order))
        outcome = {"body": bytes(body).decode("utf-8", "replace")}
    except ServerException as error:
        refused = {"code": str(error.get_error_code()), "message": str(error.get_error_msg()), "http_status": error.get_http_status()}
        outcome = {"refused": refused}
    except ClientException as error:
        # Its text holds the whole URL, signature and key id: only the reason is passed on.
        outcome = {"unreachable": _reason(str(error))}
    except IndexError:
        # SDK core takes the part after the first ":" of this one error's message, and fails where there is none.
        outcome = {"refused": {"code": "SignatureDoesNotMatch", "message": "", "http_status": 400}}
    except (OSError, UnicodeDecodeError) as error:
        outcome = {"unreachable": type(error).__name__}
    return outcome | {"date": dates[-1] if dates else None}


def _client(order: Mapping[str, Any], dates: list[float]) -> Any:
    from aliyunsdkcore.client import AcsClient

    # It logs every failure to stderr by itself, with the key id in the URL; ours are announced as events.
    logging.getLogger("aliyunsdkcore").setLevel(logging.CRITICAL)
    logging.getLogger("aliyunsdkcore.client").setLevel(logging.CRITICAL)
    proxy = order["proxy"]
    client = AcsClient(
        order["key_id"],
        order["key_secret"],
        order["region"],
        auto_retry=False,
        connect_timeout=order["timeout"],
        timeout=order["timeout"],
        verify=order["ca_file"],
        # Left empty, it would read HTTP_PROXY but not NO_PROXY.
        proxy={"http": proxy, "https": proxy} if proxy else {"none": ""},
    )

    def learn(response: Any, *args: object, **kwargs: object) -> None:
        try:
            dates.append(parsedate_to_datetime(response.headers["Date"]).timestamp())
        except (KeyError, TypeError, ValueError):
            return

    client.session.hooks["response"].append(learn)
    return client


def _request(order: Mapping[str, Any]) -> Any:
    from aliyunsdkcore.http import method_type, protocol_type

    clock: float = order["clock"]
    request = _request_type()(order["key_secret"], (lambda: time.time() + clock) if clock else None)
    request.set_domain(order["domain"])
    request.set_version(VERSION)
    request.set_action_name("CreateToken")
    request.set_method(method_type.POST)
    request.set_protocol_type(protocol_type.HTTPS if order["secure"] else protocol_type.HTTP)
    if order["security_token"]:
        # Not through its StsTokenCredential: the environment's ALIYUN_ACCESS_KEY_ID would win over that.
        request.add_query_param("SecurityToken", order["security_token"])
    return request


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


if __name__ == "__main__":
    main()
