"""A worker: a sidecar in a process of its own, on the sockets that its supervisor hands it (`python -m asrproxy.api.worker ORDER`)."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from asrproxy.api.serve import Given, serve
from asrproxy.config.load import load
from asrproxy.config.models import Configuration
from asrproxy.discovery import provider_type
from asrproxy.errors import ConfigError
from asrproxy.here import Purpose
from asrproxy.place import Place

PR_SET_PDEATHSIG: Final = 1


def main() -> int:
    """One argument: the supervisor's order as JSON (see `supervisor.Worker.run`). Returns an exit status."""
    order = json.loads(sys.argv[1])
    _end_with(order["supervisor"])
    source = None if order["config"] is None else Path(order["config"])

    def configuration() -> Configuration:
        return load(source, environ=os.environ, provider_settings=lambda name: provider_type(name).Settings, purpose=Purpose.SERVE)

    place = Place(order["index"], order["of"], Path(order["folder"]))
    sockets = [(url, socket.socket(fileno=descriptor)) for url, descriptor in order["sockets"]]
    try:
        return serve(configuration(), source, configuration, Given(place, sockets, order["ready"]))
    except ConfigError as error:
        print(f"asrproxy: {error}", file=sys.stderr)
        return 2


def _end_with(supervisor: int) -> None:
    """A supervisor that was killed must not leave workers behind: they drain then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
