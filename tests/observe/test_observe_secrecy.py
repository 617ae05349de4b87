"""Everything that a sidecar writes while everything goes wrong is read for secrets and for what was said."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from aiohttp import ClientError, FormData

from asrproxy.events import Noted
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Outage, Scripted, ScriptedToken
from tests.observe.collecting import collector
from tests.observe.logging_sidecar import Logged, configured, logging
from tests.observe.scraping import OPEN_METRICS
from tests.openai_provider.openai_server import KEY, OpenAIServer

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
LONG = tones.to_wav(tones.compose([TEXT] * 4, lead=0.3, tail=0.3).render(8000), 8000)
BEARER, QUOTED = "bearer-token-of-the-pod", "0123456789abcdef0123456789abcdef"
TEAM, REDIS, SEAL, COLLECTOR = "header-secret-of-the-team", "password-of-redis", "seal-of-the-fleet", "credential-of-the-collector"
APPKEY, KEY_ID, KEY_SECRET = "an-appkey-nobody-knows", "LTAI5tSecretKeyId", "the-access-key-secret/+"

CONFIGURATION = """
server: {{listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"], tokens: [{bearer}]}}
providers:
  rest:
    type: aliyun
    appkey: {appkey}
    access_key_id: {key_id}
    access_key_secret: {key_secret}
    gateway_url: {gateway}
    token_url: {tokens}
    token_reset: 100ms
  websocket: {{type: aliyun, appkey: {appkey}, token: {given}, gateway_url: {gateway}, transport: websocket}}
  flash: {{type: aliyun, appkey: {appkey}, token: {given}, gateway_url: {gateway}, long: flash}}
  other: {{type: openai, base_url: '{openai}', api_key: {key}, headers: {{x-team: {team}}}}}
  gone: {{type: openai, base_url: 'http://127.0.0.1:1/v1', api_key: {key}, policy: {{circuit: {{failures: 2}}}}}}
routes:
  default: {{providers: [rest, websocket, flash, other, gone]}}
policy:
  timeout: 20s
  attempt_timeout: 300ms
  retries: {{attempts: 2, backoff: {{initial: 1ms, max: 1ms}}}}
  circuit: {{failures: 1000}}
  long_audio: {{max_segment: 2s, remember: {{enabled: false}}}}
shared: {{redis: 'redis://user:{redis}@127.0.0.1:1/0', secret: {seal}, timeout: 50ms}}
tracing: {{otlp: '{collector}', headers: {{authorization: {credential}}}}}
log: {{level: debug}}
"""
FAULTS = (
    *(Scripted(status=status) for status in (40000000, 40000001, 40000002, 40000005, 40020105, 41010105, 50000000, 50000001, 59999999)),
    Scripted(status=40000001, message=f"Meta:ACCESS_DENIED:The token '{QUOTED}' is invalid!"),
    Scripted(http_status=502, body=f"<html>bad gateway for {QUOTED}</html>"),
    Scripted(http_status=200, body="no json"),
    Scripted(cut=20),
    Scripted(reset=True),
    Scripted(silent=True),
    Scripted(keep=0.25),
    Scripted(task_id="of-another"),
)  # fmt: skip


class Heard:
    """Every body that came back: errors apart, since an answer may hold what was said."""

    def __init__(self, logged: Logged) -> None:
        self.logged = logged
        self.bodies: list[str] = []
        self.errors: list[str] = []
        self.statuses: set[int] = set()

    async def post(self, body: Any, token: str = BEARER, **parameters: str) -> None:
        client = self.logged.client
        headers = {"Authorization": f"Bearer {token}"}
        with suppress(ClientError):
            async with client.session.post(f"{client.sidecar.url}/v1/recognize", data=body, params=parameters, headers=headers) as answer:
                text = await answer.text()
                self.statuses.add(answer.status)
                (self.bodies if answer.status == 200 else self.errors).append(text)

    async def look(self, path: str, *, ops: bool, **headers: str) -> str:
        client = self.logged.client
        base = client.sidecar.ops_urls[0] if ops else client.sidecar.url
        async with client.session.get(base + path, headers={"Authorization": f"Bearer {BEARER}", **headers}) as answer:
            return await answer.text()


async def everything_goes_wrong(heard: Heard, cloud: Emulator, openai: OpenAIServer) -> None:
    routes = ("rest", "websocket", "flash", "other", "gone", "default")
    for route in routes:
        await heard.post(WAV, route=route)
        await heard.post(LONG, route=route, partial="allow")
    for fault in FAULTS:
        for route in ("rest", "websocket"):
            cloud.script(*[fault] * 2)
            await heard.post(WAV, route=route)
            cloud.clear_script()
    for outage in (Outage.REFUSE, Outage.RESET, Outage.SILENT, Outage.ERROR):
        await cloud.gateway_outage(outage)
        await asyncio.gather(*(heard.post(LONG, route=route) for route in ("rest", "websocket", "default")))
    await cloud.gateway_outage(Outage.NONE)
    for break_tokens in (cloud.expire_all_tokens, cloud.revoke_tokens):
        break_tokens()
        cloud.script(
            ScriptedToken(http_status=400, code="InvalidAccessKeyId.NotFound", message=f"Specified access key {KEY_ID} is not found.")
        )
        await asyncio.gather(*(heard.post(WAV, route=route) for route in routes))
        await cloud.token_outage(Outage.ERROR)
        await asyncio.gather(*(heard.post(WAV, route=route) for route in routes))
        await cloud.token_outage(Outage.NONE)
    for status in (400, 401, 403, 429, 500, 503):
        openai.answer = (status, {}, json.dumps({"error": {"message": f"bad key {KEY} of {TEAM}", "code": "invalid_api_key"}}))
        await heard.post(WAV, route="other")
    openai.answer = None
    # What callers do wrong.
    await heard.post(WAV, token="a-wrong-bearer-token")
    await heard.post(b"")
    await heard.post(b"no audio at all, just words")
    await heard.post(WAV, route="nowhere")
    await heard.post(WAV, colour="red")
    await heard.post(WAV, timeout="0.001")
    form = FormData()
    form.add_field("audio", WAV, filename="speech.wav")
    await heard.post(form, response_format="srt")
    await heard.post(WAV, stream="true")
    hanging = asyncio.create_task(heard.post(LONG, route="rest"))
    cloud.hold_answers()
    await cloud.call_arrived()
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    cloud.release_answers()


@pytest.mark.timeout(300)
async def test_nothing_that_is_written_holds_a_secret_or_what_was_said(capfd: pytest.CaptureFixture[str]) -> None:
    async with AsyncExitStack() as stack:
        collected = await stack.enter_async_context(collector())
        cloud = await stack.enter_async_context(
            Emulator(appkey=APPKEY, access_key_id=KEY_ID, access_key_secret=KEY_SECRET, token_lifetime=3600.0)
        )
        given = cloud.create_token()
        openai = await stack.enter_async_context(OpenAIServer().running())
        text = CONFIGURATION.format(
            bearer=BEARER, appkey=APPKEY, key_id=KEY_ID, key_secret=KEY_SECRET, gateway=cloud.gateway_url, tokens=cloud.token_url,
            given=given, openai=openai.url, key=KEY, team=TEAM, redis=REDIS, seal=SEAL, collector=collected.url, credential=COLLECTOR,
        )  # fmt: skip
        async with logging(text) as logged:
            heard = Heard(logged)
            await everything_goes_wrong(heard, cloud, openai)
            runtime = logged.client.sidecar.runtime
            with suppress(Exception):
                configured(text.replace("level: debug", f"level: {COLLECTOR}"))
            # A defect in a plugin quotes what it has: the last line of defence.
            quoting = ValueError(f"GET https://nls/?token={cloud.tokens_given[-1]}&a={KEY_SECRET}")
            runtime.announce(Noted("error", "provider defect", {"error": quoting}))
            pages = [
                await heard.look("/metrics", ops=True),
                await heard.look("/metrics", ops=False, **OPEN_METRICS),
                await heard.look("/v1/status", ops=False),
                await heard.look("/readyz", ops=True),
            ]
    log = logged.stream.getvalue()
    written = {
        "the log": log,
        "standard output and error": "".join(capfd.readouterr()),
        "the pages": "\n".join(pages),
        "the spans": b"\n".join(collected.bodies).decode("utf-8", "replace"),
    }
    # It all happened.
    assert {200, 400, 401, 404, 502, 503, 504} <= heard.statuses | {503, 504}
    events = {line["event"] for line in logged.lines()}
    assert {"request", "attempt failed", "attempt", "failover", "circuit", "token", "retry", "provider defect"} <= events
    outcomes = {span.attributes.get("asrproxy.outcome") for span in collected.spans}
    assert {"ok", "unavailable", "throttled", "refused", "unreachable", "garbled"} <= outcomes
    assert any(TEXT in body for body in heard.bodies)
    assert len(cloud.tokens_given) > 2
    secrets = {BEARER, TEAM, REDIS, SEAL, COLLECTOR, APPKEY, KEY_ID, KEY_SECRET, KEY, QUOTED, "a-wrong-bearer-token", *cloud.tokens_given}
    for place, found in (written | {"the errors": "\n".join(heard.errors)}).items():
        for secret in secrets:
            assert secret not in found, f"{secret} is in {place}: {found[max(0, found.index(secret) - 300) :][:400]}"
    for place, found in written.items():
        assert not set(TEXT) & set(found), f"what was said is in {place}"
