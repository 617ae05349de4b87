"""The fault table, Redis: down, slow, restarted, full. Nothing fails because of it, and what was shared is shared again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asrproxy_aliyun.emulator import Emulator
from tests.faults.proxy import FaultProxy
from tests.faults.world import TEXT, Held, World, world
from tests.fleet.serving import Server, free_port, redis_server

CALLERS = 8
LIMITS = {"limits": {"rate": "300/s", "burst": 8}, "timeout": "20s", "attempt_timeout": "8s"}


class Redis:
    """A server and the way to it. url: of the way."""

    def __init__(self, server: Server, proxy: FaultProxy) -> None:
        self.server, self.proxy = server, proxy
        self.url = f"redis://127.0.0.1:{proxy.port}/0"


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    port = free_port()
    async with redis_server("--port", str(port)) as server, FaultProxy(f"http://127.0.0.1:{port}") as proxy:
        yield Redis(server, proxy)


async def down(redis: Redis) -> None:
    await redis.server.stop()


async def frozen(redis: Redis) -> None:
    redis.server.freeze()


async def slow(redis: Redis) -> None:
    redis.proxy.drip = 1.0


async def restarted(redis: Redis) -> None:
    await redis.server.stop()
    await redis.server.start()


async def full(redis: Redis) -> None:
    await redis.server.command("CONFIG", "SET", "maxmemory", "1")


async def mend(redis: Redis, fault: Any) -> None:
    redis.proxy.mend()
    if fault is down:
        await redis.server.start()
    elif fault is frozen:
        redis.server.thaw()
    elif fault is full:
        await redis.server.command("CONFIG", "SET", "maxmemory", "0")


FAULTS = [down, frozen, slow, restarted, full]


def fleet(running: World) -> Any:
    assert running.running.runtime.fleet is not None
    return running.running.runtime.fleet.status()


async def all_are_answered(running: World) -> None:
    assert [each.body.get("text", each.body) for each in await running.ask_many(CALLERS)] == [TEXT] * CALLERS


async def at_rest(running: World) -> Held:
    """What is held with the connection to Redis, which a busy machine may lose for a moment."""
    while True:
        await shared_again(running)
        held = await running.rests()
        if fleet(running)["redis"] == "here":
            return held


async def shared_again(running: World) -> None:
    while fleet(running)["redis"] != "here" or fleet(running)["rates"]["aliyun"]["local"]:
        assert (await running.ask()).outcome == "ok"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_a_redis_that_fails_later_costs_no_caller_anything(tmp_path: Path, redis: Redis, fault: Any) -> None:
    async with Emulator() as cloud, world(cloud, tmp_path / "spool", shared={"redis": redis.url}, policy=LIMITS) as running:
        await all_are_answered(running)
        before = await at_rest(running)
        await fault(redis)
        for _ in range(3):
            await all_are_answered(running)
        if fault is not restarted:
            while fleet(running)["redis"] != "away":
                assert (await running.ask()).outcome == "ok"
        await all_are_answered(running)
        assert running.status()["circuit"]["failures"] == 0
        await mend(redis, fault)
        await shared_again(running)
        await all_are_answered(running)
        await running.rests(before)


@pytest.mark.parametrize("fault", [down, frozen, full], ids=lambda fault: fault.__name__)
async def test_a_redis_that_fails_from_the_start_keeps_nobody_from_a_token(tmp_path: Path, redis: Redis, fault: Any) -> None:
    await fault(redis)
    keys = {"keys": True, "token_timeout": "7s"}
    async with Emulator() as cloud, world(cloud, tmp_path / "spool", shared={"redis": redis.url}, policy=LIMITS, aliyun=keys) as running:
        await all_are_answered(running)
        assert cloud.tokens_created == 1
        await mend(redis, fault)
        await shared_again(running)
