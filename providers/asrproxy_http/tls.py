"""Whom a vendor's certificate has to come from."""

from __future__ import annotations

import ssl
from pathlib import Path

from asrproxy.plugin import ConfigError


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The system's certification authorities, or those of `ca_file` alone. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"ca_file {ca_file}: {error.strerror or 'not a PEM file of certificates'}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the system's own configuration of OpenSSL allows
    return context
