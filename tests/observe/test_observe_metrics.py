"""What an operator reads in the metrics is what happened."""

from __future__ import annotations

import asyncio
import time

import pytest

from asrproxy.config.load import loads
from asrproxy.discovery import provider_type
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.observe.scraping import scrape, scrape_open, scraped_until
from tests.recognize.conftest import Client, Start

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
SECONDS = len(WAV[44:]) / 32_000
SERVER = 'server: {listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"], callers: [web, batch]}\n'
QUICK = "policy: {retries: {attempts: 2, backoff: {initial: 1ms, max: 1ms}}}\n"


async def test_a_request_is_counted_with_its_audio_its_bytes_and_its_time_in_every_stage(client: Client) -> None:
    await client.post(WAV)
    found = await scrape(client)
    assert found("asrproxy_requests_total", route="default", status="200", code="ok") == 1
    assert found("asrproxy_request_duration_seconds_count", route="default") == 1
    assert found("asrproxy_received_audio_seconds_total", route="default") == pytest.approx(SECONDS)
    assert found("asrproxy_received_bytes_total", route="default") == len(WAV)
    assert found("asrproxy_real_time_factor_count", route="default") == 1
    assert found("asrproxy_attempts_total", provider="tones", outcome="ok") == 1
    for kind in ("sent", "billed"):
        assert found(f"asrproxy_{kind}_audio_seconds_total", provider="tones") == pytest.approx(SECONDS)
    assert found("asrproxy_sent_bytes_total", provider="tones") == len(WAV) - 44
    parts = {stage: found("asrproxy_request_stage_duration_seconds_sum", stage=stage) for stage in ("receive", "decode", "recognize")}
    assert min(parts.values()) > 0
    assert sum(parts.values()) <= found("asrproxy_request_duration_seconds_sum")


async def test_a_long_recording_shows_where_its_time_went(start: Start) -> None:
    quick = "policy: {long_audio: {max_segment: 2s, concurrency: 4, remember: {enabled: false}}, limits: {concurrency: 1}}\n"
    async with start(SERVER + "providers: {tones: {type: fake, latency: 20ms}}\n" + quick) as client:
        answer, _ = await client.post(tones.to_wav(tones.compose(["天地玄黄", "宇宙洪荒", "日月盈昃"]).render(8000), 8000))
        assert answer.status == 200
        found = await scrape(client)
    spent = {
        stage: found("asrproxy_request_stage_duration_seconds_sum", stage=stage)
        for stage in ("receive", "queue", "decode", "segment", "recognize", "limit_wait", "attempt", "stitch")
    }
    assert min(spent.values()) > 0, spent
    attempts = found("asrproxy_attempts_total", provider="tones")
    assert attempts > 1
    assert spent["attempt"] == pytest.approx(found("asrproxy_attempt_duration_seconds_sum", provider="tones"))
    assert found("asrproxy_limit_wait_duration_seconds_count", provider="tones", traffic="long") == attempts - 1


async def test_what_went_wrong_is_counted_by_its_cause(start: Start) -> None:
    text = SERVER + QUICK + (
        "providers:\n"
        "  broken: {type: fake, script: [{times: always, error: unavailable}], policy: {circuit: {failures: 2, reset: 600s}}}\n"
        "  flaky: {type: fake, script: [{error: throttled}]}\n"
        "routes: {default: {providers: [broken, flaky]}}\n"
    )  # fmt: skip
    async with start(text) as client:
        answer, _ = await client.post(WAV)
        assert answer.status == 200
        await client.post(WAV, route="broken")
        await client.post(b"")
        found = await scrape(client)
    assert found("asrproxy_attempts_total", provider="broken", outcome="unavailable") == 2
    assert found("asrproxy_attempts_total", provider="flaky", outcome="throttled") == 1
    assert found("asrproxy_attempts_total", provider="flaky", outcome="ok") == 1
    assert found("asrproxy_retries_total", provider="broken") == found("asrproxy_retries_total", provider="flaky") == 1
    assert found("asrproxy_failovers_total", route="default", before="broken", after="flaky") == 1
    assert found("asrproxy_circuit_changes_total", circuit="broken", state="open") == 1
    assert found("asrproxy_circuit_state", circuit="broken", state="open") == 1
    assert found("asrproxy_circuit_state", circuit="broken") == 1
    assert found("asrproxy_circuit_state", circuit="flaky", state="closed") == 1
    assert found("asrproxy_provider_ready", provider="broken") == 0
    assert found("asrproxy_requests_total", route="broken", status="503", code="circuit_open") == 1
    assert found("asrproxy_requests_total", route="default", status="400", code="invalid_audio") == 1


async def test_limits_and_their_queue_are_seen_while_they_are_full(start: Start) -> None:
    limits = "policy: {limits: {concurrency: 2, queue: 1, rate: 50/s}}\n"
    async with start(SERVER + "providers: {tones: {type: fake, latency: 600s}}\n" + limits) as client:
        calls = [asyncio.create_task(client.post(WAV)) for _ in range(4)]
        found = await scraped_until(client, lambda each: each("asrproxy_requests_total", code="rate_limited"))
        assert found("asrproxy_requests_in_flight") == 3
        assert found("asrproxy_attempts_in_flight", provider="tones") == found("asrproxy_concurrency_limit", provider="tones") == 2
        assert found("asrproxy_queued_calls", provider="tones", traffic="short") == found("asrproxy_queue_limit", provider="tones") == 1
        assert found("asrproxy_rate_limit", provider="tones") == pytest.approx(50)
        assert found("asrproxy_limit_refusals_total", provider="tones", limit="concurrency") == 1
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        found = await scraped_until(client, lambda each: each("asrproxy_requests_total", status="499", code="client_closed") == 3)
        assert found("asrproxy_attempts_total", provider="tones", outcome="cancelled") == 2


async def test_hedges_and_live_sessions_are_counted_apart(start: Start) -> None:
    text = SERVER + (
        "providers:\n  slow: {type: fake, script: [{latency: 600s}]}\n  quick: {type: fake}\n"
        "routes: {default: {providers: [slow, quick], hedge: {after: 1ms, budget: 1}}}\n"
    )
    async with start(text) as client:
        await client.post(WAV)
        async with client.session.ws_connect(client.sidecar.url + "/v1/stream") as socket:
            await socket.send_json({"type": "start", "sample_rate": 16_000, "route": "quick"})
            await socket.receive_json()
            assert (await scrape(client))("asrproxy_live_sessions") == 1
            await socket.send_bytes(WAV[44:])
            await socket.send_json({"type": "stop"})
            while (await socket.receive_json())["type"] != "done":
                pass
            await socket.close()
        found = await scraped_until(client, lambda each: each("asrproxy_live_session_duration_seconds_count", route="quick"))
    assert found("asrproxy_live_sessions") == 0
    assert found("asrproxy_request_duration_seconds_count") == 1
    assert found("asrproxy_hedges_total", route="default", outcome="won") == 1
    assert found("asrproxy_requests_total", route="quick", status="101", code="ok") == 1
    assert found("asrproxy_attempts_total", provider="quick", outcome="ok") == 2
    assert found("asrproxy_sent_audio_seconds_total", provider="quick") == pytest.approx(2 * SECONDS, abs=0.1)
    assert found("asrproxy_attempt_duration_seconds_count", provider="quick") == 1


async def test_connections_and_the_token_of_a_vendor(start: Start) -> None:
    async with Emulator() as cloud:
        text = SERVER + (
            f"providers: {{aliyun: {{type: aliyun, appkey: {cloud.appkey}, access_key_id: {cloud.access_key_id}, access_key_secret: "
            f"{cloud.access_key_secret}, gateway_url: '{cloud.gateway_url}', token_url: '{cloud.token_url}', pool: {{warm: 0}}}}}}\n"
        )
        async with start(text) as client:
            for _ in range(3):
                await client.post(WAV)
            found = await scrape(client)
            assert found("asrproxy_pool_connections", provider="aliyun", state="idle") == 1
            assert found("asrproxy_pool_connections", provider="aliyun", state="busy") == 0
            assert found("asrproxy_pool_connections_opened_total", provider="aliyun") == cloud.connections_accepted == 1
            assert found("asrproxy_pool_connections_reused_total", provider="aliyun") == 2
            assert found("asrproxy_token_refreshes_total", provider="aliyun", outcome="ok") == cloud.tokens_created == 1
            assert found("asrproxy_circuit_state", circuit="aliyun.token", state="closed") == 1
            left = found("asrproxy_token_remaining_seconds", provider="aliyun")
            assert left + found("asrproxy_token_age_seconds", provider="aliyun") == pytest.approx(24 * 3600, rel=0.6)
            assert left > 0


async def test_nothing_that_callers_send_becomes_a_label(client: Client, start: Start) -> None:
    async with start(SERVER + "providers: {tones: {type: fake}}\n") as client:
        for number in range(20):
            odd = f"odd-{number}"
            await client.post(WAV, route=odd, headers={"X-Caller": odd})
            await client.post(WAV, path=f"/v1/{odd}")
            await client.get(f"/{odd}")
        await client.post(WAV, headers={"X-Caller": "web"})
        found = await scrape(client)
        assert found.values("route") == {"none", "default"}
        assert found.values("caller") == {"other", "web"}
        assert found("asrproxy_requests_total", route="none", code="unknown_route") == 20
        assert found("asrproxy_requests_total", caller="web", code="ok") == 1


async def test_what_a_reload_takes_away_leaves_no_series(start: Start) -> None:
    async def configured(client: Client, name: str, latency: str = "0s") -> None:
        text = SERVER + f"providers: {{{name}: {{type: fake, latency: {latency}}}, kept: {{type: fake}}}}\n"
        await client.sidecar.runtime.reload(
            loads(text, "test.yaml", environ={}, provider_settings=lambda kind: provider_type(kind).Settings)
        )

    async with start(SERVER + "providers: {first: {type: fake}, kept: {type: fake}}\n") as client:
        await client.post(WAV, route="first")
        await client.post(WAV, route="kept")
        assert (await scrape(client)).values("provider") == {"first", "kept"}
        await configured(client, "second", latency="600s")
        found = await scrape(client)
        assert found.values("provider") == {"second", "kept"}
        assert found.values("circuit") == {"second", "kept"}
        assert found.values("route") == {"kept"}
        assert found("asrproxy_attempts_total", provider="kept") == 1
        assert found("asrproxy_config_generation") == 2

        call = asyncio.create_task(client.post(WAV, route="second"))
        await scraped_until(client, lambda each: each("asrproxy_attempts_in_flight", provider="second"))
        await configured(client, "third")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        found = await scraped_until(client, lambda each: each("asrproxy_requests_total", route="none", code="client_closed"))
        assert found("asrproxy_attempts_total", provider="removed", outcome="cancelled") == 1
        assert found.values("provider") == {"third", "kept", "removed"}


async def test_samples_lead_to_the_trace_that_the_caller_keeps(start: Start) -> None:
    kept, dropped = "4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4737"
    async with start(SERVER + "providers: {tones: {type: fake}}\n") as client:
        for trace, flags in ((kept, "01"), (dropped, "00")):
            await client.post(WAV, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-{flags}"})
        found = await scrape_open(client)
        _, plain = await client.get("/metrics", ops=True)
    exemplars = {
        family.name: sample.exemplar.labels for family in found.families for sample in family.samples if sample.exemplar is not None
    }
    assert {"asrproxy_requests", "asrproxy_request_duration_seconds", "asrproxy_attempts", "asrproxy_attempt_duration_seconds"} <= set(
        exemplars
    )
    assert all(labels == {"trace_id": kept} for labels in exemplars.values())
    assert kept not in plain
    assert dropped not in plain


async def test_a_held_up_event_loop_shows(client: Client) -> None:
    def slow(found) -> float:  # type: ignore[no-untyped-def]
        every = found("asrproxy_event_loop_lag_seconds_count")
        return every - found("asrproxy_event_loop_lag_seconds_bucket", le="0.25")

    time.sleep(1.0)
    await scraped_until(client, slow)
