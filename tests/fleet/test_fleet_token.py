"""The sidecars of an account make one token between them, and go on without Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from asrproxy.plugin import AudioFormat, Context, Credential, Host, Refused, Utterance
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from asrproxy_aliyun.provider import AliyunProvider
from asrproxy_aliyun.settings import AliyunSettings
from tests.fleet.serving import Server, Sidecar


@pytest.fixture
async def cloud() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


Three = Callable[[], Awaitable[list[AliyunProvider]]]


@pytest.fixture
async def three(redis: Server, cloud: Emulator) -> AsyncIterator[Three]:
    """Starts three sidecars' providers of one account."""
    async with AsyncExitStack() as stack:

        async def started() -> list[AliyunProvider]:
            settings = AliyunSettings.model_validate(
                {
                    "appkey": cloud.appkey, "gateway_url": cloud.gateway_url, "token_url": cloud.token_url,
                    "access_key_id": cloud.access_key_id, "access_key_secret": cloud.access_key_secret,
                }
            )  # fmt: skip
            providers = []
            for _ in range(3):
                sidecar = await stack.enter_async_context(Sidecar(redis.url, secret="shared by all", timeout=5.0))
                provider = AliyunProvider(settings, Host("aliyun", tokens=sidecar.fleet.tokens))
                stack.push_async_callback(provider.aclose)
                await provider.start()
                providers.append(provider)
            return providers

        yield started


async def text(provider: AliyunProvider) -> str:
    utterance = Utterance(memoryview(tones.synthesize("天地玄黄", 16_000)), AudioFormat(16_000))
    context = Context("request", asyncio.get_running_loop().time() + 30)
    return (await provider.recognize(utterance, context)).text


async def test_three_sidecars_start_with_one_token(three: Three, cloud: Emulator) -> None:
    assert await asyncio.gather(*(text(each) for each in await three())) == ["天地玄黄"] * 3
    assert cloud.tokens_created == 1


async def test_a_token_that_was_revoked_is_replaced_once_for_all(three: Three, cloud: Emulator) -> None:
    providers = await three()
    await asyncio.gather(*(text(each) for each in providers))
    cloud.expire_all_tokens()
    assert await asyncio.gather(*(text(each) for each in providers)) == ["天地玄黄"] * 3
    assert cloud.tokens_created == 2


@pytest.mark.parametrize("trouble", ["frozen", "stopped", "full"])
async def test_without_redis_each_makes_its_own(three: Three, cloud: Emulator, redis: Server, trouble: str) -> None:
    match trouble:
        case "frozen":
            redis.freeze()
        case "stopped":
            await redis.stop()
        case "full":
            await redis.command("CONFIG", "SET", "maxmemory", "1")
    assert await asyncio.gather(*(text(each) for each in await three())) == ["天地玄黄"] * 3
    assert cloud.tokens_created == 3


class Service:
    """Makes tokens that can be told apart; holds each back until `go`."""

    def __init__(self, *, seconds: float = 3600.0) -> None:
        self.made = 0
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self._seconds = seconds

    async def __call__(self) -> Credential:
        self.asked.set()
        await self.go.wait()
        self.made += 1
        return Credential(f"token-{self.made}-visible", seconds=self._seconds, expire_time=4e9)


def issue(sidecar: Sidecar, make: Callable[[], Awaitable[Credential]], **how: Any) -> asyncio.Task[Credential]:
    return asyncio.ensure_future(sidecar.fleet.tokens.issue("account", make, refused=how.get("refused"), within=how.get("within", 10.0)))


async def test_its_end_is_the_same_for_all(redis: Server) -> None:
    service = Service()
    async with Sidecar(redis.url) as one, Sidecar(redis.url) as other:
        made, read = await issue(one, service), await issue(other, service)
    assert (read.id, read.expire_time) == (made.id, made.expire_time)
    assert made.seconds - 60 < read.seconds <= made.seconds


async def test_one_in_the_last_third_of_its_life_is_not_passed_on(redis: Server) -> None:
    service = Service()
    async with Sidecar(redis.url) as one:
        await issue(one, service)
        [key] = [each.decode() for each in (await redis.command("KEYS", "*token*")).split(b"\r\n") if b"token" in each]
        await redis.command("PEXPIRE", key, 500_000)
        assert (await issue(one, service)).id == "token-2-visible"


async def test_a_full_redis_still_hands_out_what_it_has(redis: Server) -> None:
    service = Service()
    async with Sidecar(redis.url) as one, Sidecar(redis.url) as other:
        await issue(one, service)
        await redis.command("CONFIG", "SET", "maxmemory", "1")
        assert (await issue(other, service)).id == "token-1-visible"


async def test_with_a_secret_nobody_reads_the_token_in_redis(redis: Server) -> None:
    service = Service()
    async with Sidecar(redis.url, secret="of the fleet") as one:
        await issue(one, service)
        assert b"visible" not in await redis.everything()
        # Who has another secret neither reads nor overwrites it.
        async with Sidecar(redis.url, secret="of strangers") as stranger:
            assert (await issue(stranger, service)).id == "token-2-visible"
        assert (await issue(one, service)).id == "token-1-visible"
    async with Sidecar(redis.url) as clear:
        await issue(clear, service)
        assert b"token-3-visible" in await redis.everything()


async def test_a_damaged_value_is_replaced(redis: Server) -> None:
    service = Service()
    async with Sidecar(redis.url, secret="of the fleet") as one:
        await issue(one, service)
        [key] = [each.decode() for each in (await redis.command("KEYS", "*token*")).split(b"\r\n") if b"token" in each]
        await redis.command("HSET", key, "value", "damaged")
        assert (await issue(one, service)).id == "token-2-visible"
        assert (await issue(one, service)).id == "token-2-visible"


async def test_a_maker_that_is_cancelled_lets_the_next_one_make_it(redis: Server) -> None:
    service = Service()
    service.go.clear()
    async with Sidecar(redis.url) as one, Sidecar(redis.url) as other:
        first = issue(one, service, within=1000.0)
        await service.asked.wait()
        second = issue(other, service, within=1000.0)
        first.cancel()
        service.go.set()
        assert (await second).id == "token-1-visible"
        assert first.cancelled()


async def test_a_maker_that_died_is_waited_for_no_longer_than_a_token_takes(redis: Server) -> None:
    service = Service()
    held = Service()
    held.go.clear()
    async with Sidecar(redis.url) as one, Sidecar(redis.url) as other:
        dead = issue(one, held, within=0.1)
        await held.asked.wait()
        assert (await issue(other, service, within=0.1)).id == "token-1-visible"
        # The late one neither breaks the next one's lock nor loses what it made.
        held.go.set()
        assert (await dead).id == "token-1-visible"


async def test_a_refusal_is_the_makers_own(redis: Server) -> None:
    async def refused() -> Credential:
        raise Refused("wrong key")

    service = Service()
    async with Sidecar(redis.url) as one, Sidecar(redis.url) as other:
        with pytest.raises(Refused):
            await issue(one, refused, within=1000.0)
        assert (await issue(other, service, within=1000.0)).id == "token-1-visible"
