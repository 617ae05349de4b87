"""A request can be followed through the sidecar to the vendor, and watching it neither slows nor fails it."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.config.models import TracingSettings
from asrproxy.events import Event, Noted, RequestEnded
from asrproxy.ops.tracing import QUEUE, Tracing
from asrproxy.testing import tones
from asrproxy.trace import Span, Traces, caller_of
from asrproxy_aliyun.emulator import Emulator, Scripted
from tests.fleet.serving import free_port
from tests.observe.collecting import Received, collector
from tests.observe.scraping import scraped_until
from tests.openai_provider.openai_server import KEY, OpenAIServer
from tests.recognize.conftest import Start

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
SERVER = 'server: {listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"]}\n'
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEPT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=value"}


HEX = "0123456789abcdef"
SLOW = "providers: {tones: {type: fake, latency: 20ms}}\n"


def tracing(url: str, more: str = "") -> str:
    return f"tracing: {{otlp: '{url}'{more}}}\n"


def of(spans: list[Received], name: str) -> Received:
    (found,) = [span for span in spans if span.name == name]
    return found


def whole(trace_id: str):  # type: ignore[no-untyped-def]
    """The request's span is made last."""
    return lambda spans: any(span.trace_id == trace_id and span.name.startswith("POST") for span in spans)


async def test_a_request_is_followed_from_its_caller_to_the_vendor(start: Start) -> None:
    async with collector() as collected, OpenAIServer().running() as vendor:
        text = SERVER + tracing(collected.url) + f"providers: {{other: {{type: openai, base_url: '{vendor.url}', api_key: {KEY}}}}}\n"
        async with start(text) as client:
            answer, body = await client.post(WAV, headers=KEPT)
            assert (answer.status, body["text"]) == (200, TEXT)
            spans = await collected.until(whole(TRACE))
    request, attempt = of(spans, "POST /v1/recognize"), of(spans, "attempt other")
    assert {span.trace_id for span in spans} == {TRACE}
    assert request.parent_id == PARENT
    assert {span.parent_id for span in spans if span is not request} == {request.span_id}
    assert {"receive", "decode", "recognize"} <= {span.name for span in spans}
    assert all(request.start <= span.start <= span.end <= request.end for span in spans)
    assert request.attributes | {
        "http.request.method": "POST", "http.route": "/v1/recognize", "http.response.status_code": 200,
        "asrproxy.request_id": body["request_id"], "asrproxy.route": "default", "asrproxy.provider": "other", "asrproxy.attempts": 1,
    } == request.attributes  # fmt: skip
    assert attempt.attributes["asrproxy.outcome"] == "ok"
    assert request.resource["service.name"] == "asrproxy"
    sent = vendor.headers[-1]
    assert sent["traceparent"] == f"00-{TRACE}-{attempt.span_id}-01"
    assert sent["tracestate"] == KEPT["tracestate"]


async def test_every_attempt_has_its_span_with_the_vendors_name_for_it(start: Start) -> None:
    async with collector() as collected, Emulator() as cloud:
        text = SERVER + tracing(collected.url) + (
            f"providers: {{aliyun: {{type: aliyun, appkey: {cloud.appkey}, access_key_id: {cloud.access_key_id}, access_key_secret: "
            f"{cloud.access_key_secret}, gateway_url: '{cloud.gateway_url}', token_url: '{cloud.token_url}', price: {{per_call: 0.5, "
            "currency: CNY}}, backup: {type: fake}}\n"
            "policy: {retries: {attempts: 2, backoff: {initial: 1ms, max: 1ms}}}\n"
        )  # fmt: skip
        async with start(text) as client:
            await scraped_until(client, lambda each: each("asrproxy_provider_ready", provider="aliyun"))
            cloud.script(Scripted(status=50000000), Scripted(status=50000000))
            _, body = await client.post(WAV)
            assert body["provider"] == "backup"
            await client.post(WAV)
            spans = await collected.until(lambda spans: sum(span.name.startswith("POST") for span in spans) == 2)
            ids = [call.task_id for call in cloud.calls]
    requests = [span for span in spans if span.name.startswith("POST")]
    assert requests[0].parent_id == requests[1].parent_id == ""
    assert requests[0].trace_id != requests[1].trace_id
    first = [span for span in spans if span.trace_id == requests[0].trace_id and span.name.startswith("attempt")]
    assert [(span.name, span.failed, span.attributes["asrproxy.attempt"]) for span in first] == [
        ("attempt aliyun", True, 1), ("attempt aliyun", True, 2), ("attempt backup", False, 1),
    ]  # fmt: skip
    assert [span.attributes["asrproxy.vendor_id"] for span in spans if span.name == "attempt aliyun"] == ids
    assert first[0].attributes["error.type"] == "unavailable"
    assert first[0].attributes["asrproxy.vendor_code"] == 50000000
    assert requests[0].events["failover"] == {"asrproxy.before": "aliyun", "asrproxy.after": "backup"}
    assert requests[0].events["retry"]["asrproxy.attempt"] == 1
    assert requests[1].attributes["asrproxy.cost.CNY"] == 0.5


async def test_a_long_recordings_segments_are_told_apart(start: Start) -> None:
    rest = "policy: {long_audio: {max_segment: 2s, remember: {enabled: false}}, limits: {concurrency: 1}}\n"
    async with collector() as collected, start(SERVER + tracing(collected.url) + SLOW + rest) as client:
        await client.post(tones.to_wav(tones.compose(["天地玄黄", "宇宙洪荒", "日月盈昃"]).render(8000), 8000), headers=KEPT)
        spans = await collected.until(whole(TRACE))
    attempts = [span for span in spans if span.name == "attempt tones"]
    assert sorted(span.attributes["asrproxy.segment"] for span in attempts) == list(range(len(attempts)))
    assert len(attempts) > 1
    assert {"segment", "stitch", "limit wait"} <= {span.name for span in spans}


@pytest.mark.parametrize(("sample", "flags", "traced"), [(0, "01", True), (0, None, False), (1, "00", False), (1, None, True)])
async def test_the_callers_decision_goes_before_the_sidecars(start: Start, sample: int, flags: str | None, traced: bool) -> None:
    async with collector() as collected, OpenAIServer().running() as vendor:
        providers = f"providers: {{other: {{type: openai, base_url: '{vendor.url}', api_key: {KEY}}}}}\n"
        async with start(SERVER + tracing(collected.url, f", sample: {sample}") + providers) as client:
            await client.post(WAV, headers={} if flags is None else {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"})
        assert bool(collected.spans) is traced  # the end sends what there is
        sent = vendor.headers[-1].get("traceparent")
        assert sent is not None
        assert sent.endswith("-01" if traced else "-00")
        if flags is not None:
            assert sent.split("-")[1] == TRACE


async def test_without_tracing_a_callers_trace_is_passed_on(start: Start) -> None:
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(OpenAIServer().running())
        text = SERVER + f"providers: {{other: {{type: openai, base_url: '{vendor.url}', api_key: {KEY}}}}}\n"
        client = await stack.enter_async_context(start(text))
        await client.post(WAV, headers=KEPT)
        await client.post(WAV, headers={"traceparent": "nonsense"})
    assert vendor.headers[0]["traceparent"] == KEPT["traceparent"]
    assert "traceparent" not in vendor.headers[1]


@pytest.mark.parametrize("broken", ["hang", 503, 400, "gone"])
async def test_a_broken_collector_costs_spans_and_nothing_else(start: Start, broken: str | int) -> None:
    async with collector() as collected:
        collected.broken = broken
        url = collected.url
        if broken == "gone":
            url = f"http://127.0.0.1:{free_port()}"
        async with start(SERVER + tracing(url, ", timeout: 200ms") + "providers: {tones: {type: fake}}\n") as client:
            for _ in range(3):
                answer, _ = await client.post(WAV)
                assert answer.status == 200
                found = await scraped_until(client, lambda each: each("asrproxy_spans_total", outcome="failed"))
            notes = [event.event for event in client.events if isinstance(event, Noted)]
            assert notes.count("traces: the collector does not take them") == 1
            assert found("asrproxy_spans_total", outcome="exported") == 0
            if broken == 503:
                collected.broken = None
                await client.post(WAV)
                await collected.until(lambda spans: spans)


async def test_what_waits_for_a_stuck_collector_is_bounded() -> None:
    heard: list[Event] = []
    async with collector() as collected:
        collected.broken = "hang"
        settings = TracingSettings(otlp=collected.url, timeout=0.5)
        span = Span(TRACE, PARENT, None, sampled=True, recorded=True)
        async with Tracing(settings, announce=heard.append) as traces:
            for number in range(4 * QUEUE):
                traces(RequestEnded(str(number), "POST", "/v1/recognize", "default", "other", 200, None, 0.1, 1.0, 10, trace=span))
                if number % 500 == 0:
                    await asyncio.sleep(0)
            assert traces.figures().dropped >= QUEUE


async def test_the_last_spans_are_sent_when_the_sidecar_is_told_to_end(tmp_path: Path) -> None:
    async with collector() as collected:
        file = tmp_path / "asrproxy.yaml"
        file.write_text(
            f"server: {{listen: ['unix:{tmp_path}/api.sock'], ops_listen: []}}\nproviders: {{tones: {{type: fake}}}}\n"
            f"tracing: {{otlp: '{collected.url}', headers: {{x-team: speech}}}}\nlog: {{level: info}}\n"
        )
        program = str(Path(sys.executable).parent / "asrproxy")
        process = await asyncio.create_subprocess_exec(program, "serve", "-c", str(file), stderr=asyncio.subprocess.PIPE)
        try:
            assert process.stderr is not None
            while b'"listening"' not in await process.stderr.readline():
                assert process.returncode is None
            async with ClientSession("http://localhost", connector=UnixConnector(str(tmp_path / "api.sock"))) as session:
                async with session.post("/v1/recognize", data=WAV, headers=KEPT) as answer:
                    assert answer.status == 200
                process.send_signal(signal.SIGTERM)
            await process.communicate()
            assert process.returncode == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert whole(TRACE)(collected.spans)
        assert collected.headers[0]["x-team"] == "speech"


async def test_nothing_of_opentelemetry_is_loaded_without_tracing() -> None:
    program = (
        "import sys, asrproxy.api.serve, asrproxy.cli.commands; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().strip() == "[]"


@settings(deadline=None)
@given(st.text(alphabet="0123456789abcdef-fF", max_size=60))
def test_a_header_that_is_none_names_no_trace(header: str) -> None:
    found = caller_of(header)
    assert found is None or header.strip().startswith(f"{header.strip()[:2]}-{found.trace_id}-{found.span_id}-")


@settings(deadline=None)
@given(
    trace_id=st.text(HEX, min_size=32, max_size=32),
    span_id=st.text(HEX, min_size=16, max_size=16),
    flags=st.sampled_from(["00", "01", "03", "ff"]),
    rest=st.sampled_from(["", "-later"]),
    version=st.sampled_from(["00", "01", "ff"]),
)
def test_headers_are_read_as_the_standard_says(trace_id: str, span_id: str, flags: str, rest: str, version: str) -> None:
    found = caller_of(f"{version}-{trace_id}-{span_id}-{flags}{rest}")
    sound = int(trace_id, 16) and int(span_id, 16) and version != "ff" and not (version == "00" and rest)
    assert (found is not None) == bool(sound)
    if found is not None:
        assert (found.trace_id, found.span_id, found.sampled) == (trace_id, span_id, int(flags, 16) & 1 == 1)
        begun = Traces(1.0).begin(f"{version}-{trace_id}-{span_id}-{flags}{rest}", None)
        assert begun is not None
        assert (begun.trace_id, begun.parent_id, begun.recorded) == (trace_id, span_id, found.sampled)
        child = begun.child()
        assert child.parent_id == begun.span_id if begun.recorded else child == begun
        assert caller_of(begun.traceparent) is not None
