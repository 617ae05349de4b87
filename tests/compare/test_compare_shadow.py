"""A shadow hears copies and is compared, and no caller ever notices it."""

from __future__ import annotations

import asyncio
from typing import Any

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.recognize.conftest import Client, Start

WAV = tones.to_wav(tones.synthesize("天地玄黄", 16_000), 16_000)
SHADOWED = """
server: {{listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"]}}
providers:
  a: {{type: fake, price: {{per_call: 0.002, currency: CNY}}}}
  b: {{type: fake, price: {{per_call: 0.001, currency: CNY}}, {other}}}
routes: {{default: {{providers: [a], shadow: {{provider: b, fraction: 1.0{more}}}}}}}
policy: {{retries: {{attempts: 1}}, circuit: {{failures: 1000}}}}
"""


async def shadow(client: Client, *, until: str, count: int) -> dict[str, Any]:
    while True:
        _, body = await client.get("/v1/status")
        found: dict[str, Any] = body["routes"]["default"]["shadow"]
        if found[until] == count:
            return found


async def test_texts_latency_and_cost_stand_side_by_side(start: Start) -> None:
    async with start(SHADOWED.format(other="script: [{times: 3, text: 天地玄皇}]", more="")) as client:
        for _ in range(4):
            answer, body = await client.post(WAV)
            assert (answer.status, body["text"], body["provider"]) == (200, "天地玄黄", "a")
            assert body["cost"] == {"CNY": 0.002}  # the copy is not the caller's to pay
        found = await shadow(client, until="compared", count=4)
        assert (found["tokens"], found["edits"], found["disagreement"]) == (16, 3, 0.1875)
        assert found["cost"] == {"route": {"CNY": 0.008}, "shadow": {"CNY": 0.004}}
        _, metrics = await client.get("/metrics", ops=True)
        assert 'asrproxy_shadow_disagreements_total{provider="b",route="default"} 3.0' in metrics
        assert 'asrproxy_shadow_tokens_total{provider="b",route="default"} 16.0' in metrics
        assert 'route="default.shadow"' in metrics  # what the copies cost is told apart


async def test_a_shadow_that_fails_or_hangs_reaches_no_caller(start: Start) -> None:
    async with start(
        SHADOWED.format(other="script: [{times: 2, error: unavailable}, {hang: true, times: always}]", more=", concurrency: 1")
    ) as client:
        for _ in range(2):
            assert (await client.post(WAV))[0].status == 200
            await shadow(client, until="under_way", count=0)
        assert (await shadow(client, until="failed", count=2))["compared"] == 0
        for _ in range(3):
            assert (await client.post(WAV))[0].status == 200
        found = await shadow(client, until="left_out", count=2)
        assert found["under_way"] == 1
    # Leaving the sidecar ended the copy that hung.
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "shadow"]


async def test_a_copy_is_sent_after_the_answer_and_not_at_all_for_an_error(start: Start) -> None:
    async with Emulator() as cloud:
        other = (
            f"type: aliyun, appkey: {cloud.appkey}, access_key_id: {cloud.access_key_id}, access_key_secret: {cloud.access_key_secret}, "
            f"gateway_url: '{cloud.gateway_url}', token_url: '{cloud.token_url}'"
        )
        text = (
            'server: {listen: ["127.0.0.1:0"], ops_listen: []}\n'
            f"providers: {{a: {{type: fake, script: [{{error: rejected}}]}}, b: {{{other}}}}}\n"
            "routes: {default: {providers: [a], shadow: {provider: b, fraction: 1.0}}}\n"
        )
        async with start(text) as client:
            assert (await client.post(WAV))[0].status == 502
            assert cloud.ledger.requests["rest"] == 0
            assert (await client.post(WAV))[0].status == 200
            found = await shadow(client, until="compared", count=1)
            assert (found["edits"], cloud.ledger.requests["rest"]) == (0, 1)


async def test_a_budget_of_its_own_ends_the_copies_and_not_the_route(start: Start) -> None:
    async with start(SHADOWED.format(other="latency: 0s", more=", budget: {day: 0.002}")) as client:
        for _ in range(2):
            await client.post(WAV)
            await shadow(client, until="under_way", count=0)
        for _ in range(3):
            assert (await client.post(WAV))[0].status == 200
        found = await shadow(client, until="failed", count=3)
        assert found["compared"] == 2
