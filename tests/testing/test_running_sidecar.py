"""A sidecar in a test's hands: it answers, fails and remembers as it was told, for callers that block and for those that do not."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from asrproxy.errors import ConfigError
from asrproxy.testing.sidecar import CONFIGURATION, RunningSidecar, running_sidecar
from asrproxy.testing.tones import compose, synthesize, to_wav
from tests.live.test_live_stream import send

PCM = synthesize("天地玄黄")
WAV = to_wav(PCM, 16_000)
SPEECH = Path(__file__).parents[1] / "data" / "speech" / "en-librivox-sense-0930.flac"


@pytest.fixture
def running() -> Iterator[RunningSidecar]:
    with running_sidecar() as sidecar:
        yield sidecar


def post(sidecar: RunningSidecar, body: bytes = WAV, query: str = "") -> tuple[int, Any, Any]:
    """Status, headers and body, in a client that blocks."""
    request = urllib.request.Request(f"{sidecar.url}/v1/recognize{query}", data=body, headers={"Content-Type": "audio/wav"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.load(error)


def texts(sidecar: RunningSidecar, times: int) -> list[str]:
    return [post(sidecar)[2]["text"] for _ in range(times)]


def test_answers_are_given_one_by_one_and_then_what_is_heard(running: RunningSidecar) -> None:
    running.vendor.answer("one", "two")
    assert texts(running, 3) == ["one", "two", "天地玄黄"]
    running.vendor.answer("three", "always", always=True)
    assert texts(running, 3) == ["three", "always", "always"]


def test_failures_are_met_in_their_turn(running: RunningSidecar) -> None:
    running.vendor.answer("one")
    running.vendor.fail("throttled", retry_after=7, vendor_code=40000005)
    running.vendor.fail("refused")
    assert post(running)[0] == 200
    status, headers, body = post(running)
    assert (status, headers["Retry-After"]) == (429, "7")
    assert (body["error"]["code"], body["error"]["provider_status"]) == ("rate_limited", 40000005)
    assert post(running)[2]["error"]["code"] == "provider_auth"
    assert post(running)[0] == 200
    with pytest.raises(ValueError, match="error"):
        running.vendor.fail("no such error")


def test_an_outage_lasts_until_it_is_over_and_no_circuit_opens_behind_the_back(running: RunningSidecar) -> None:
    running.vendor.go_down()
    assert {post(running)[2]["error"]["code"] for _ in range(20)} == {"provider_error"}
    running.vendor.recover()
    assert texts(running, 1) == ["天地玄黄"]


def test_what_was_asked_is_remembered_on_both_sides(running: RunningSidecar) -> None:
    running.vendor.fail("unavailable")
    post(running, query="?language=zh-CN&words=true")
    post(running, b"not audio at all")
    (asked,) = running.vendor.asked
    assert asked.pcm == PCM
    assert (asked.sample_rate, asked.options.language, asked.options.words, asked.attempt) == (16_000, "zh-CN", True, 1)
    assert [(each.status, each.code) for each in running.requests] == [(502, "provider_error"), (400, "invalid_audio")]
    assert running.requests[0].request_id == asked.request_id


def test_a_call_is_held_until_it_is_let_go(running: RunningSidecar) -> None:
    running.vendor.hold()
    found: list[Any] = []
    callers = [threading.Thread(target=lambda: found.append(post(running)[0])) for _ in range(2)]
    for each in callers:
        each.start()
    running.vendor.arrived(2)
    with pytest.raises(TimeoutError, match="3 calls were not under way within"):
        running.vendor.arrived(3, within=0.01)
    assert not found
    running.vendor.release()
    running.vendor.idle()
    for each in callers:
        each.join(30)
    assert found == [200, 200]


async def test_a_test_on_an_event_loop_uses_it_beside_its_own_clients(running: RunningSidecar) -> None:
    running.vendor.hold()
    async with aiohttp.ClientSession() as session:
        call = asyncio.create_task(session.post(f"{running.url}/v1/recognize", data=WAV))
        await asyncio.to_thread(running.vendor.arrived)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.to_thread(running.vendor.idle)
        running.vendor.release()
        async with session.post(f"{running.url}/v1/recognize", data=WAV) as answer:
            assert (await answer.json())["text"] == "天地玄黄"


async def test_live_audio_is_remembered_too(running: RunningSidecar) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{running.url}/v1/stream") as live:
        await live.send_json({"type": "start", "sample_rate": 16_000, "language": "zh-CN"})
        sending = asyncio.create_task(send(live, PCM, 3200))
        told = [message.json() async for message in live]
        await sending
    assert told[-1]["text"] == "天地玄黄"
    assert "".join(each.options.language or "" for each in running.vendor.asked) == "zh-CN"
    assert running.vendor.asked[0].pcm.startswith(PCM[:32_000])


def test_compressed_audio_is_decoded(running: RunningSidecar) -> None:
    running.vendor.answer("He might even have been made amiable himself.")
    assert post(running, SPEECH.read_bytes())[2]["text"].startswith("He might")
    assert running.vendor.asked[0].seconds == pytest.approx(3.29, abs=0.01)


def test_a_long_recording_is_several_calls(running: RunningSidecar) -> None:
    running.vendor.answer("one", "two")
    recording = to_wav(compose(["天地玄黄", 58.5, "宇宙洪荒"]).render(8_000), 8_000)
    assert post(running, recording)[2]["text"] == "one two"
    assert [each.segment for each in running.vendor.asked] == [0, 1]


def test_a_configuration_of_ones_own_with_several_vendors(tmp_path: Path) -> None:
    file = tmp_path / "asrproxy.yaml"
    file.write_text("""
server: {listen: 127.0.0.1:1, ops_listen: 127.0.0.1:2, tokens: ["${TOKEN:-}sesame"]}
providers: {first: {type: fake}, second: {type: fake}}
policy: {retries: {attempts: 1}}
""")
    with running_sidecar(file, environ={"TOKEN": "open "}) as running:
        assert list(running.vendors) == ["first", "second"]
        running.vendor.go_down()
        running.vendors["second"].answer("the second")
        assert post(running)[0] == 401
        request = urllib.request.Request(f"{running.url}/v1/recognize", data=WAV, headers={"Authorization": "Bearer open sesame"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["text"] == "the second"
        with urllib.request.urlopen(f"{running.ops_url}/livez", timeout=30) as answer:
            assert answer.status == 200


def test_two_at_once_have_nothing_in_common() -> None:
    with running_sidecar() as one, running_sidecar() as other:
        one.vendor.answer("of the one")
        assert (texts(other, 1), texts(one, 1)) == (["天地玄黄"], ["of the one"])
        assert (len(one.requests), len(other.requests)) == (1, 1)


def test_a_mistake_in_the_configuration_is_raised_where_it_was_given() -> None:
    with pytest.raises(ConfigError, match="asrproxy_configuration:1: providers: is needed"), running_sidecar("server: {}"):
        pass
    with (
        pytest.raises(ConfigError, match="holds no recordings"),
        running_sidecar("providers: {tape: {type: replay, folder: /no/such/folder}}"),
    ):
        pass


def test_without_a_scripted_vendor_it_says_so(tmp_path: Path) -> None:
    record = f"providers: {{tape: {{type: replay, mode: record, folder: {tmp_path}, provider: {{type: fake}}}}}}"
    with running_sidecar(record) as running, pytest.raises(LookupError, match="takes a script"):
        running.vendor.answer("one")


def test_draining_is_seen_by_callers_and_probes(running: RunningSidecar) -> None:
    running.drain()
    assert post(running)[2]["error"]["code"] == "draining"
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"{running.ops_url}/readyz", timeout=30)


def test_the_end_lets_a_forgotten_call_go_and_leaves_nothing() -> None:
    found: list[int] = []
    with running_sidecar(CONFIGURATION) as running:
        running.vendor.hold()
        caller = threading.Thread(target=lambda: found.append(post(running)[0]))
        caller.start()
        running.vendor.arrived()
        address = urlsplit(running.url)
    caller.join(30)
    assert found == [200]
    assert not [each for each in threading.enumerate() if each.name == "asrproxy"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname or "", address.port or 0), timeout=5)
