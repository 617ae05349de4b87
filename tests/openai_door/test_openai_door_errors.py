"""What the official Python client raises, and what it repeats by itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import openai
import pytest

from asrproxy.testing.sidecar import CONFIGURATION, RunningSidecar
from tests.openai_door.conftest import Start, one_by_one
from tests.openai_door.official import Official, official
from tests.openai_door.recordings import LONG, TEXT, WAV


@pytest.fixture(params=["sync", "async"])
def form(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def client(form: str, door: RunningSidecar) -> AsyncIterator[Official]:
    async with official(form, door.openai_url) as each:
        yield each


async def test_a_wrong_token_is_an_authentication_error_and_the_right_one_is_the_api_key(form: str, start: Start) -> None:
    door = start(CONFIGURATION + "server: {tokens: [right]}\n")
    async with official(form, door.openai_url, api_key="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.create()
        assert refused.value.code == "unauthorized"
        with pytest.raises(openai.AuthenticationError):
            await client.models()
    async with official(form, door.openai_url, api_key="right") as client:
        assert (await client.create()).text == TEXT


async def test_an_unknown_model_is_not_found_and_the_message_names_those_that_there_are(client: Official) -> None:
    with pytest.raises(openai.NotFoundError, match="default, vendor") as unknown:
        await client.create(model="no-such-model")
    assert (unknown.value.code, unknown.value.param, unknown.value.type) == ("unknown_route", "model", "invalid_request_error")
    with pytest.raises(openai.NotFoundError):
        await client.model("no-such-model")
    with pytest.raises(openai.NotFoundError):
        await client.events(model="no-such-model")


async def test_what_is_wrong_with_a_request_is_a_bad_request_that_names_it(client: Official) -> None:
    granular = {"response_format": "verbose_json", "timestamp_granularities": ["phrase"]}
    for asked, code, param in (
        ({"file": ("x.wav", b"not audio at all")}, "invalid_audio", None),
        ({"file": ("x.wav", b"")}, "invalid_audio", None),
        ({"language": "not a language"}, "invalid_parameter", "language"),
        ({"temperature": 7}, "invalid_parameter", "temperature"),
        ({"response_format": "diarized_json"}, "invalid_parameter", "response_format"),
        ({"timestamp_granularities": ["word"]}, "invalid_parameter", "timestamp_granularities[]"),
        (granular, "invalid_parameter", "timestamp_granularities[]"),
        ({"include": ["logprobs"]}, "unsupported_parameter", "include[]"),
        ({"chunking_strategy": {"type": "server_vad"}}, "unsupported_parameter", "chunking_strategy[type]"),
        ({"extra_body": {"known_speaker_names": ["Ann"]}}, "unsupported_parameter", "known_speaker_names[]"),
        ({"extra_body": {"langauge": "zh"}}, "invalid_parameter", "langauge"),
    ):
        with pytest.raises(openai.BadRequestError) as bad:
            await client.create(**asked)
        assert (bad.value.code, bad.value.param) == (code, param)
        assert bad.value.request_id


async def test_times_are_not_dropped_silently_from_a_stream(client: Official) -> None:
    for asked in ({"response_format": "srt"}, {"response_format": "verbose_json", "timestamp_granularities": ["segment"]}):
        with pytest.raises(openai.BadRequestError, match="leave out stream"):
            await client.events(**asked)


async def test_a_provider_without_what_is_asked_for_is_a_bad_request(form: str, start: Start) -> None:
    async with official(form, start(CONFIGURATION).openai_url) as client:
        with pytest.raises(openai.BadRequestError, match="can honour prompt") as bad:
            await client.create(prompt="names")
    assert (bad.value.code, bad.value.param) == ("unsupported_parameter", "prompt")


async def test_the_vendors_limit_is_a_rate_limit_error_with_the_time_to_wait(client: Official, door: RunningSidecar) -> None:
    door.vendor.fail("throttled", retry_after=7, times=2)
    for ask in (client.create, client.events):
        with pytest.raises(openai.RateLimitError) as limited:
            await ask()
        assert limited.value.response.headers["Retry-After"] == "7"
        assert (limited.value.code, limited.value.type) == ("rate_limited", "rate_limit_error")


async def test_an_outage_is_an_internal_server_error(client: Official, door: RunningSidecar) -> None:
    for error, status, code in (
        ("unavailable", 502, "provider_error"),
        ("unreachable", 502, "provider_error"),
        ("refused", 502, "provider_auth"),
        ("not_ready", 503, "overloaded"),
    ):
        door.vendor.go_down(error)
        for ask in (client.create, client.events):
            with pytest.raises(openai.InternalServerError) as failed:
                await ask()
            assert (failed.value.status_code, failed.value.code) == (status, code)


async def test_the_policys_deadline_is_an_internal_server_error(form: str, start: Start) -> None:
    door = start(CONFIGURATION.replace("policy:", "policy:\n  timeout: 300ms"))
    door.vendor.hold()
    async with official(form, door.openai_url) as client:
        with pytest.raises(openai.InternalServerError) as late:
            await client.create()
    assert (late.value.status_code, late.value.code) == (504, "deadline_exceeded")


async def test_a_draining_sidecar_is_an_internal_server_error_that_may_be_tried_elsewhere(client: Official, door: RunningSidecar) -> None:
    door.drain()
    with pytest.raises(openai.InternalServerError) as failed:
        await client.create()
    assert (failed.value.status_code, failed.value.code) == (503, "draining")


async def test_too_long_a_body_is_said(form: str, start: Start) -> None:
    async with official(form, start(CONFIGURATION + "server: {max_body: 1KiB}\n").openai_url) as client:
        with pytest.raises(openai.APIStatusError) as long:
            await client.create()
    assert (long.value.status_code, long.value.code) == (413, "body_too_large")


async def test_a_failure_in_the_middle_of_a_stream_is_an_api_error_after_what_was_heard(form: str, start: Start) -> None:
    door = start(one_by_one("{error: unavailable}"))
    async with official(form, door.openai_url) as client:
        with pytest.raises(openai.APIError) as broken:
            await client.events(file=("long.wav", LONG))
    assert not isinstance(broken.value, openai.APIStatusError)
    assert broken.value.code == "provider_error"


async def test_a_client_that_gives_up_frees_the_vendors_call(form: str, door: RunningSidecar) -> None:
    door.vendor.hold()
    async with official(form, door.openai_url, timeout=0.5) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.create()
    await asyncio.to_thread(door.vendor.idle)


async def test_no_sidecar_is_a_connection_error(form: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        async with official(form, f"http://127.0.0.1:{taken.getsockname()[1]}/v1") as client:
            with pytest.raises(openai.APIConnectionError):
                await client.create()


async def test_by_itself_the_client_repeats_what_may_succeed(form: str, door: RunningSidecar) -> None:
    door.vendor.fail("throttled", retry_after=0.5)
    async with official(form, door.openai_url, max_retries=2) as client:
        assert (await client.create()).text == TEXT
    assert [each.status for each in door.requests] == [429, 200]


async def test_by_itself_the_client_does_not_repeat_what_will_fail_again(form: str, door: RunningSidecar) -> None:
    door.vendor.go_down("refused")
    async with official(form, door.openai_url, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError) as failed:
            await client.create()
        assert failed.value.response.headers["X-Should-Retry"] == "false"
        with pytest.raises(openai.BadRequestError):
            await client.create(file=("x.wav", WAV[:30]))
    assert [each.status for each in door.requests] == [502, 400]
