"""A server's certificate from files that somebody else replaces: new connections get the new one, running ones go on."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Final

from asrproxy.errors import ConfigError
from asrproxy.events import Noted, Observer

WATCH: Final = 2.0
"""Seconds between looks at the files."""


class Certificates:
    """`context` is for the listener. Raises ConfigError: the files cannot be used."""

    def __init__(self, certificate: Path, key: Path, *, observer: Observer) -> None:
        self._certificate, self._key, self._announce = certificate, key, observer
        self._seen = self._identity()
        self._current = self._loaded()
        self.context = self._loaded()
        # Called in every handshake, also in one that names no server.
        self.context.sni_callback = self._choose

    async def watch(self) -> None:
        """Takes changed files until cancelled; such that do not fit together are refused, and the old ones stay."""
        while True:
            await asyncio.sleep(WATCH)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Takes the files if they have changed."""
        now = self._identity()
        if now == self._seen or None in now:  # in the middle of a swap
            return
        self._seen = now
        try:
            self._current = self._loaded()
        except ConfigError as error:
            self._announce(Noted("warning", "certificate refused", {"error": str(error)}))
        else:
            self._announce(Noted("info", "certificate taken", {"file": str(self._certificate)}))

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            said = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise ConfigError(f"{self._certificate} and {self._key} cannot be used: {said}") from error
        return context

    def _identity(self) -> tuple[tuple[str, int, int, int] | None, ...]:
        return tuple(_identity(path) for path in (self._certificate, self._key))


def _identity(path: Path) -> tuple[str, int, int, int] | None:
    """What changes when the file does, through every symlink on the way (a Secret's `..data`)."""
    try:
        facts = os.stat(path)
        return os.path.realpath(path), facts.st_ino, facts.st_mtime_ns, facts.st_size
    except OSError:
        return None
