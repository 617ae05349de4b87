"""A sidecar of the command's own, behind a unix socket that nobody else can reach."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from asrproxy.cli.client import Sidecar, calling

if TYPE_CHECKING:
    from asrproxy.config.models import Configuration

READY: Final = 60.0
"""Seconds that a provider may take to load a model; after them calls are made all the same, and say what is wrong."""


def sidecar_of(configuration: Configuration | None, url: str, token: str | None) -> AbstractAsyncContextManager[Sidecar]:
    """One of the command's own where there is a configuration, else the one at `url`, which need not be there. Raises ConfigError."""
    return own_sidecar(configuration) if configuration is not None else calling(url, token)


@asynccontextmanager
async def own_sidecar(configuration: Configuration) -> AsyncIterator[Sidecar]:
    """The configuration at work, but for its addresses and tokens. Raises ConfigError: a provider cannot start."""
    from asrproxy.api.sidecar import sidecar

    with tempfile.TemporaryDirectory(prefix="asrproxy-") as folder:
        listening = {"listen": (f"unix:{folder}/api.sock",), "ops_listen": (), "tokens": ()}
        server = configuration.server.model_copy(update=listening)
        async with sidecar(configuration.model_copy(update={"server": server})) as running, calling(running.url, None) as caller:
            await caller.ready(READY)
            yield caller
