"""A request that failed is freed at once: nothing of it waits for the garbage collector, which at rest does not come."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from asrproxy.api.request import Account
from asrproxy.events import RequestEnded
from asrproxy.testing import tones
from tests.recognize.conftest import Client, Start, start

__all__ = ["start"]

SERVER = 'server: {listen: ["127.0.0.1:0"], ops_listen: []}\n'
QUICK = "policy: {retries: {attempts: 2, backoff: {initial: 1ms, max: 1ms}}, circuit: {failures: 3}}\n"
BROKEN = SERVER + QUICK + "providers: {tones: {type: fake, script: [{times: 1000, error: unavailable}]}}\n"
SLOW = SERVER + "providers: {tones: {type: fake, latency: 600s}}\n"
WAV = tones.to_wav(tones.synthesize("天地玄黄"), 16_000)
MANY = 12
FEW = 4
"""A connection holds its last request, and the fake provider the errors that it has raised: three until the circuit opens."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left(since: float) -> int:
    """Requests of this test's own, which came after that moment, of which something is still held."""
    return sum(isinstance(each, Account) and each.received >= since for each in gc.get_objects())


async def freed(client: Client, since: float) -> None:
    """Returns when all but a few are; the test's time limit fails it where they are not."""
    while sum(isinstance(each, RequestEnded) for each in client.events) < MANY or left(since) > FEW:
        await asyncio.sleep(0.01)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("body", [WAV, b"no audio" * 100], ids=["provider", "audio"])
async def test_after_an_error(start: Start, body: bytes) -> None:
    async with start(BROKEN) as client:
        since = asyncio.get_running_loop().time()
        statuses = {(await client.post(body))[0].status for _ in range(MANY)}
        assert min(statuses) >= 400
        await freed(client, since)


@pytest.mark.timeout(30)
async def test_after_the_caller_has_hung_up(start: Start) -> None:
    async with start(SLOW) as client:
        since = asyncio.get_running_loop().time()
        calls = [asyncio.create_task(client.post(WAV)) for _ in range(MANY)]
        while client.sidecar.runtime.in_flight < MANY:
            await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await freed(client, since)
