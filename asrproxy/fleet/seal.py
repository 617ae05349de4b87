"""A shared secret's lock on what is kept in Redis."""

from __future__ import annotations

import hashlib
import os
from typing import Protocol

from asrproxy.errors import ConfigError


class Seal(Protocol):
    """mark: tells sidecars with another secret apart, and says nothing of it."""

    mark: str

    def close(self, clear: bytes, place: str) -> bytes: ...
    def open(self, sealed: bytes, place: str) -> bytes | None: ...


class Clear:
    """No lock: the value is readable to whoever reads Redis."""

    mark = "clear"

    def close(self, clear: bytes, place: str) -> bytes:
        return clear

    def open(self, sealed: bytes, place: str) -> bytes | None:
        return sealed


class Sealed:
    """AES-256-GCM with a key that scrypt makes of the secret, so that a short one is dear to guess. Blocks for some 50 ms when made.

    place: where the value is kept; moved elsewhere it does not open.
    """

    def __init__(self, secret: str) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ConfigError("shared.secret needs the cryptography package: pip install cryptography") from error
        key = hashlib.scrypt(secret.encode(), salt=b"asrproxy fleet token", n=2**14, r=8, p=1, dklen=48)
        self.mark = key[32:38].hex()
        self._cipher = AESGCM(key[:32])

    def close(self, clear: bytes, place: str) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, clear, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes | None:
        """None: it was not closed with this secret, or not for this place."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], place.encode())
        except (InvalidTag, ValueError):
            return None
