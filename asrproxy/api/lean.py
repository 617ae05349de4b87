"""aiohttp without the certificates that it never looks at: 0.8 MB of a process that rests at 60. To be imported before the rest."""

from __future__ import annotations

import ssl

from aiohttp import connector

_READY_MADE = "_SSL_CONTEXT_UNVERIFIED"


def _without_certificates() -> None:
    """aiohttp makes two TLS contexts when it is imported, and both load the system's certificates; the one for `ssl=False` checks none."""
    made = getattr(connector, _READY_MADE, None)
    if isinstance(made, ssl.SSLContext) and made.verify_mode is ssl.CERT_NONE:
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.check_hostname = False
        bare.verify_mode = ssl.CERT_NONE
        bare.options = made.options
        bare.set_alpn_protocols(("http/1.1",))
        setattr(connector, _READY_MADE, bare)


_without_certificates()
