"""`/v1/status` shows each layer of the policy as it stands."""

from __future__ import annotations

from typing import Any

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Outage, Scripted
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
    policy: {{limits: {{concurrency: auto}}, circuit: {{failures: 3}}, retries: {{attempts: 2, backoff: {{initial: 1ms}}}}}}
  backup: {{type: fake}}
routes: {{default: {{providers: [aliyun, backup], hedge: {{after: 200ms, budget: 1}}}}, alone: {{providers: [aliyun]}}}}
"""


async def shown(client: Client) -> tuple[dict[str, Any], dict[str, Any]]:
    _, status = await client.get("/v1/status")
    return status["providers"]["aliyun"], status["routes"]


async def test_every_layer_is_there_and_moves(start: Start) -> None:
    async with Emulator() as cloud:
        keys = {"appkey": cloud.appkey, "key": cloud.access_key_id, "secret": cloud.access_key_secret}
        async with start(CONFIGURATION.format(**keys, gateway=cloud.gateway_url, token=cloud.token_url)) as client:
            await client.post(WAV, route="alone")
            provider, routes = await shown(client)
            assert provider["circuit"] == {
                "state": "closed", "failures": 0, "recent": {"calls": 1, "failed": 0}, "warned": False, "retry_after": None,
            }  # fmt: skip
            assert provider["limiter"]["limit"]["kind"] == "auto"
            assert list(provider["limiter"]["limit"]["calm"]) == ["1s"]
            assert (provider["limiter"]["rate"], provider["limiter"]["queued"]) == (150, {"live": 0, "short": 0, "long": 0})
            assert (provider["in_flight"], provider["attempt_timeout"], provider["retry_budget"]) == (0, 15, {"left": 10})
            assert (provider["token"]["valid"], provider["token"]["circuit"]) == (True, "closed")
            assert routes["default"]["hedge"] == {"after": 0.2, "started": 0, "won": 0, "budget": {"left": 1}}
            assert routes["default"]["providers"] == ["aliyun", "backup"]
            assert routes["alone"] == {"providers": ["aliyun"], "hedge": None, "budget": None, "split": None, "shadow": None}

            cloud.script(Scripted(status=50000000))
            assert (await client.post(WAV, route="alone"))[1]["text"] == TEXT
            assert (await shown(client))[0]["circuit"]["recent"] == {"calls": 3, "failed": 1}

            cloud.script(Scripted(silent=True))
            assert (await client.post(WAV))[1]["provider"] == "backup"
            assert (await shown(client))[1]["default"]["hedge"] == {
                "after": 0.2, "started": 1, "won": 1, "budget": {"left": 0},
            }  # fmt: skip

            await cloud.gateway_outage(Outage.RESET)
            for _ in range(6):
                await client.post(WAV, route="alone")
            provider, _ = await shown(client)
            assert provider["circuit"]["state"] == "open"
            assert 0 < provider["circuit"]["retry_after"] <= 60
            assert provider["retry_budget"]["left"] < 10
