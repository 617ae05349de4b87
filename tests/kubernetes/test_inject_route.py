"""`serve --route`, which `asrproxy.io/route` becomes: requests that name no route take that one."""

from __future__ import annotations

import aiohttp
import pytest

from asrproxy.api.sidecar import sidecar
from asrproxy.config.load import loads
from asrproxy.config.models import Configuration
from asrproxy.discovery import provider_type
from asrproxy.testing import tones
from tests.cli.running import Terminal

SERVER = "server: {listen: '127.0.0.1:0', ops_listen: []}\nproviders: {one: {type: fake}, two: {type: fake}}\n"
ROUTES = "routes: {default: {providers: [one]}, fast: {providers: [two]}}\n"


def configuration(text: str) -> Configuration:
    return loads(text, "asr.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)


async def answering(given: Configuration, route: str | None = None) -> str:
    recording = tones.to_wav(tones.synthesize("天地"), 16_000)
    async with sidecar(given) as running, aiohttp.ClientSession() as session:
        params = {} if route is None else {"route": route}
        async with session.post(f"{running.url}/v1/recognize", data=recording, params=params) as answer:
            return str((await answer.json())["provider"])


async def test_the_route_answers_what_names_none() -> None:
    given = configuration(SERVER + ROUTES)
    assert await answering(given) == "one"
    assert await answering(given.with_default("fast")) == "two"
    assert await answering(given.with_default("two")) == "two"  # a provider is a route by its own name
    assert await answering(given.with_default("fast"), "one") == "one"
    assert await answering(configuration(SERVER).with_default("two")) == "two"


def test_a_route_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no route 'fats'; the routes are default, fast, one, two"):
        configuration(SERVER + ROUTES).with_default("fats")


def test_serve_says_so_and_does_not_start(terminal: Terminal) -> None:
    terminal.write("asr.yaml", SERVER + ROUTES)
    said = terminal.run("serve", "-c", "asr.yaml", "--route", "fats")
    assert (said.status, said.err) == (2, "asr.yaml: no route 'fats'; the routes are default, fast, one, two\n")
