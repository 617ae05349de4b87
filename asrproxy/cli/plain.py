"""A plain connection to a sidecar on this machine, for a question that is not worth an event loop."""

from __future__ import annotations

import socket
from http.client import HTTPConnection
from urllib.parse import urlsplit


def connection(address: str, timeout: float) -> HTTPConnection:
    """To `http://HOST:PORT` or `unix:PATH`. timeout: seconds. Raises ValueError: it is neither.

    To the address itself: what the environment says of proxies is for calls that leave the machine.
    """
    if address.startswith("unix:"):
        return _Unix(address.removeprefix("unix:"), timeout)
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("expected http://HOST:PORT or unix:PATH")
    return HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)


class _Unix(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
