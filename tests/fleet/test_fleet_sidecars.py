"""Whole sidecars' insides with `shared` set: configuration to calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from asrproxy.api.status import status_body
from asrproxy.config.models import Configuration
from asrproxy.discovery import provider_type
from asrproxy.errors import AsrError, ConfigError
from asrproxy.plugin import AudioFormat, Context, Unavailable, Utterance, ignore
from asrproxy.runtime import Runtime
from asrproxy.testing import tones
from tests.fleet.serving import Server


def configuration(url: str, **fake: Any) -> Configuration:
    settings = provider_type("fake").Settings.model_validate(fake)
    policy = {"circuit": {"failures": 5, "reset": "60s"}, "retries": {"attempts": 1}, "limits": {"rate": "200/s", "burst": 6}}
    return Configuration.model_validate(
        {"providers": {"tones": {"type": "fake", "settings": settings, "policy": policy}}, "shared": {"redis": url}}
    )


def runtime(url: str, **fake: Any) -> Runtime:
    return Runtime(configuration(url, **fake), provider_type=provider_type, observer=ignore)


async def call(sidecar: Runtime) -> str:
    context = Context("request", asyncio.get_running_loop().time() + 10)
    utterance = Utterance(memoryview(tones.synthesize("天地玄黄", 16_000)), AudioFormat(16_000))
    return (await sidecar.current.opened["tones"].stack.call(utterance, context)).text


async def test_sidecars_share_a_rate_by_their_configuration_alone(redis: Server) -> None:
    async with runtime(redis.url) as one, runtime(redis.url) as other:
        await call(other)
        while status_body(one)["fleet"] != {"redis": "here", "rates": {"tones": {"sidecars": 2, "local": False, "warned": 0}}}:
            assert await call(one) == "天地玄黄"


async def test_a_sidecar_with_shared_serves_without_redis(redis: Server) -> None:
    await redis.stop()
    async with runtime(redis.url) as sidecar:
        assert await asyncio.gather(*(call(sidecar) for _ in range(30))) == ["天地玄黄"] * 30
        assert status_body(sidecar)["fleet"]["redis"] == "away"


async def test_after_anothers_circuit_has_opened_one_failure_opens_ours(redis: Server) -> None:
    async with runtime(redis.url, failure_rate=1.0) as one:
        for _ in range(5):
            with pytest.raises(AsrError):
                await call(one)
        assert circuit(one) == "open"
        async with runtime(redis.url, failure_rate=1.0) as other:
            while not status_body(other)["fleet"]["rates"]["tones"]["warned"]:
                await asyncio.sleep(0.005)
            # A hint and no more: calls go out until one fails.
            assert circuit(other) == "closed"
            with pytest.raises(Unavailable):
                await call(other)
            assert circuit(other) == "open"


def circuit(sidecar: Runtime) -> str:
    return str(status_body(sidecar)["providers"]["tones"]["circuit"]["state"])


async def test_another_shared_needs_a_restart(redis: Server) -> None:
    async with runtime(redis.url) as sidecar:
        with pytest.raises(ConfigError, match="shared"):
            await sidecar.reload(configuration("redis://localhost:1/0"))


@pytest.mark.parametrize("url", ["redis://user:hush@localhost:port/0", "rediss://user:hush@localhost:99999"])
def test_what_is_no_address_is_refused_and_shows_no_password(url: str) -> None:
    with pytest.raises(ValidationError, match=r"shared\.redis") as caught:
        configuration(url)
    assert "hush" not in str(caught.value)
