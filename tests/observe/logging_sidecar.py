"""A sidecar in this process whose log a test reads."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession

from asrproxy.api.sidecar import sidecar
from asrproxy.config.load import loads
from asrproxy.config.models import Configuration
from asrproxy.discovery import provider_type
from asrproxy.events import Event
from asrproxy.ops.logs import Log
from asrproxy.secrecy import Secrets
from tests.recognize.conftest import Client


class Logged:
    """The sidecar's client, its log, and the lines in it."""

    def __init__(self, client: Client, log: Log, stream: io.StringIO) -> None:
        self.client, self.log, self.stream = client, log, stream

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        every = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in every if event in (None, line["event"])]

    async def until(self, holds: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
        while not holds(lines := self.lines()):
            await asyncio.sleep(0.01)
        return lines

    async def line(self, event: str, count: int = 1) -> dict[str, Any]:
        """The `count`th line of that event."""
        await self.until(lambda lines: sum(line["event"] == event for line in lines) >= count)
        return self.lines(event)[count - 1]


def configured(text: str) -> Configuration:
    return loads(text, "test.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)


@asynccontextmanager
async def logging(text: str) -> AsyncIterator[Logged]:
    configuration = configured(text)
    stream, events = io.StringIO(), list[Event]()
    with Log(configuration.log, Secrets(configuration), stream) as log:
        async with sidecar(configuration, [events.append], log=log) as running, ClientSession() as session:
            yield Logged(Client(running, session, events), log, stream)
