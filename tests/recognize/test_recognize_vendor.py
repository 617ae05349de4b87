"""A whole sidecar before the emulated vendor: hanging up, connections, tokens, failover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Outage
from tests.recognize.conftest import Client, Start

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
CONFIGURATION = """
server: {{listen: ["127.0.0.1:0"], ops_listen: []}}
providers:
  aliyun:
    type: aliyun
    appkey: {appkey}
    access_key_id: {key}
    access_key_secret: {secret}
    gateway_url: {gateway}
    token_url: {token}
    pool: {{size: 8, idle: 8s}}
  backup: {{type: fake}}
routes:
  default: {{providers: [aliyun]}}
  safe: {{providers: [aliyun, backup]}}
policy: {{retries: {{attempts: 2, backoff: {{initial: 1ms, max: 2ms}}}}, circuit: {{failures: 50}}}}
"""


@asynccontextmanager
async def before(start: Start, cloud: Emulator) -> AsyncIterator[Client]:
    text = CONFIGURATION.format(
        appkey=cloud.appkey, key=cloud.access_key_id, secret=cloud.access_key_secret, gateway=cloud.gateway_url, token=cloud.token_url
    )
    async with start(text) as client:
        yield client


async def test_a_caller_who_hangs_up_frees_the_vendors_connection(start: Start) -> None:
    async with Emulator() as cloud, before(start, cloud) as client:
        cloud.hold_answers()
        call = asyncio.create_task(client.post(WAV))
        await cloud.call_arrived()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await cloud.calls_in_flight(0)
        while client.sidecar.runtime.in_flight:
            await asyncio.sleep(0.01)
        _, status = await client.get("/v1/status")
        assert status["providers"]["aliyun"]["in_flight"] == 0


async def test_an_expired_token_is_replaced_without_the_caller_noticing(start: Start) -> None:
    async with Emulator() as cloud, before(start, cloud) as client:
        await client.post(WAV)
        cloud.expire_all_tokens()
        answers = await asyncio.gather(*(client.post(WAV) for _ in range(64)))
        assert {body["text"] for _, body in answers} == {TEXT}
        assert cloud.tokens_created == 2


async def test_connections_are_reused(start: Start) -> None:
    async with Emulator() as cloud, before(start, cloud) as client:
        for _ in range(30):
            answers = await asyncio.gather(*(client.post(WAV) for _ in range(8)))
            assert {body["text"] for _, body in answers} == {TEXT}
        assert cloud.connections_accepted <= 8 + 2  # the pool, and what the start opened for the token and the warming


async def test_an_outage_moves_on_to_the_next_provider(start: Start) -> None:
    async with Emulator() as cloud, before(start, cloud) as client:
        await cloud.gateway_outage(Outage.RESET)
        answer, body = await client.post(WAV, route="safe")
        assert (answer.status, body["text"], body["provider"]) == (200, TEXT, "backup")
        assert [record["provider"] for record in body["attempts"]][-1] == "backup"
        answer, body = await client.post(WAV)
        assert (answer.status, body["error"]["code"], body["error"]["provider"]) == (502, "provider_error", "aliyun")


async def test_a_silent_vendor_is_given_up_at_the_callers_timeout(start: Start) -> None:
    async with Emulator() as cloud, before(start, cloud) as client:
        cloud.hold_answers()
        answer, body = await client.post(WAV, timeout="0.5")
        assert (answer.status, body["error"]["code"]) == (504, "deadline_exceeded")
        await cloud.calls_in_flight(0)


async def test_refused_credentials_are_an_error_of_their_own_and_show_no_secret(start: Start) -> None:
    async with Emulator() as cloud:
        text = CONFIGURATION.format(
            appkey=cloud.appkey, key=cloud.access_key_id, secret="wr0ng-s3cret", gateway=cloud.gateway_url, token=cloud.token_url
        )
        async with start(text) as client:
            answer, body = await client.post(WAV)
            assert (answer.status, body["error"]["code"], body["error"]["retryable"]) == (502, "provider_auth", False)
            assert "wr0ng-s3cret" not in await answer.text()
