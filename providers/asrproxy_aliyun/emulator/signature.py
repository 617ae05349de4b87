"""How Alibaba's RPC calls are signed: HMAC-SHA1 over the sorted parameters."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote


def string_to_sign(method: str, parameters: Mapping[str, str]) -> str:
    """parameters: those of the query and of a form body together; `Signature` itself is left out."""
    canonical = "&".join(f"{_encoded(name)}={_encoded(parameters[name])}" for name in sorted(parameters) if name != "Signature")
    return f"{method}&%2F&{_encoded(canonical)}"


def signature(secret: str, text: str) -> str:
    """secret: the AccessKeySecret; text: what `string_to_sign` gave."""
    return base64.b64encode(hmac.digest(f"{secret}&".encode(), text.encode(), hashlib.sha1)).decode()


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")
