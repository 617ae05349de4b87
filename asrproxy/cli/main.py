"""The entry point of `asrproxy`."""

from __future__ import annotations

import os
import sys

from asrproxy.errors import ConfigError


def main() -> None:
    """Runs the command that the process was given, and ends the process: 0 good, 1 it failed, 2 the command or the file is wrong."""
    # aiohttp goes through such a list once a request; frozenlist's own extension for it brings the C++ library, 2 MB of a sidecar.
    os.environ.setdefault("FROZENLIST_NO_EXTENSIONS", "1")
    from asrproxy.cli.serving import plain, serving

    try:
        if (given := plain(sys.argv[1:])) is not None:
            sys.exit(serving(*given))
        from asrproxy.cli.commands import run

        run()
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
