"""The live door and its clients: those that break the rules, go away, read slowly, send fast, or come from a web page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, UnixConnector, WSMsgType, WSServerHandshakeError

from asrproxy.api.intake import LARGEST
from asrproxy.events import RequestEnded
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.live.speaking import Speaker, aliyun, server, speaking, symbols
from tests.recognize.conftest import Client, Start, start

__all__ = ["start"]

STREAMS = "providers: {tones: {type: fake}}"
SHORT = tones.synthesize("天地玄黄")


async def all_free(client: Client) -> None:
    """Returns when nothing is left of any session."""
    while client.sidecar.runtime.in_flight or any(task.get_name().startswith("live-") for task in asyncio.all_tasks()):
        await asyncio.sleep(0.01)
    _, status = await client.get("/v1/status")
    assert {name: each["in_flight"] for name, each in status["providers"].items()} == dict.fromkeys(status["providers"], 0)


# Those that break the rules.

FIRST = {
    "stop before start": ('{"type": "stop"}', "type"),
    "audio before start": (bytes(3200), None),
    "no JSON": ("start", "start"),
    "no object": ("[1]", "start"),
    "a rate that no telephone has": ('{"type": "start", "sample_rate": 4000}', "sample_rate"),
    "a rate above any": ('{"type": "start", "sample_rate": 96000}', "sample_rate"),
    "an unknown encoding": ('{"type": "start", "sample_rate": 16000, "encoding": "opus"}', "encoding"),
}


@pytest.mark.parametrize("case", FIRST)
async def test_a_first_message_that_is_no_start_is_told_so(start: Start, case: str) -> None:
    first, param = FIRST[case]
    async with start(server() + STREAMS) as client:
        async with client.session.ws_connect(client.sidecar.url + "/v1/stream") as socket:
            await (socket.send_str(first) if isinstance(first, str) else socket.send_bytes(first))
            told = (await socket.receive()).json()
            assert (told["type"], told["error"]["code"], told["error"]["param"]) == ("error", "invalid_parameter", param)
            assert (await socket.receive()).type is WSMsgType.CLOSE
            assert socket.close_code == 1008
        await all_free(client)


@pytest.mark.parametrize("text", ['{"type": "start", "sample_rate": 16000}', "stop", '{"type": "pause"}', '"stop"'])
async def test_text_in_the_middle_of_audio_is_told_so(start: Start, text: str) -> None:
    async with start(server() + STREAMS) as client:
        async with speaking(client) as speaker:
            await speaker.say(SHORT)
            await speaker.socket.send_str(text)
            error = (await speaker.rest())[-1]["error"]
            assert (error["code"], error["retryable"]) == ("invalid_parameter", False)
            assert '{"type": "stop"}' in error["message"]
        await all_free(client)


async def test_what_comes_after_stop_changes_nothing(start: Start) -> None:
    async with start(server() + STREAMS) as client, speaking(client) as speaker:
        await speaker.say(SHORT)
        await speaker.stop()
        await speaker.say(SHORT)
        await speaker.stop()
        await speaker.socket.send_str("and so on")
        assert symbols((await speaker.rest())[-1]["text"]) == "天地玄黄"


async def test_frames_of_nothing_and_of_odd_bytes(start: Start) -> None:
    async with start(server() + STREAMS) as client, speaking(client) as speaker:
        await speaker.socket.send_bytes(b"")
        for at in range(0, len(SHORT), 2001):
            await speaker.socket.send_bytes(SHORT[at : at + 2001])
            await speaker.socket.send_bytes(b"")
        await speaker.stop()
        told = await speaker.rest()
    assert symbols(told[-1]["text"]) == "天地玄黄"
    assert told[-1]["duration"] == pytest.approx(len(SHORT) / 32_000, abs=0.001)


async def test_an_empty_session_is_done(start: Start) -> None:
    async with start(server() + STREAMS) as client, speaking(client) as speaker:
        await speaker.stop()
        assert (await speaker.rest())[-1] == {"type": "done", "text": "", "duration": 0.0}


async def test_a_frame_of_minutes_is_taken_and_a_larger_one_told_so(start: Start) -> None:
    async with start(server() + STREAMS) as client:
        async with speaking(client) as speaker:
            whole = bytes(LARGEST - len(SHORT)) + SHORT
            await speaker.say(whole, len(whole))
            await speaker.stop()
            assert symbols((await speaker.rest())[-1]["text"]) == "天地玄黄"
        async with speaking(client) as speaker:
            await speaker.say(whole + bytes(2), LARGEST + 2)
            error = (await speaker.rest())[-1]["error"]
            assert (error["code"], "8 MiB" in error["message"]) == ("body_too_large", True)
        await all_free(client)


async def test_a_session_that_is_too_long_ends_with_its_sentences_and_an_error(start: Start) -> None:
    async with start(server(max_audio="1s") + STREAMS) as client, speaking(client) as speaker:
        await speaker.say(SHORT + bytes(64_000))
        told = await speaker.rest()
    assert symbols(speaker.finals[-1]["text"]) == "天地玄黄"
    assert (told[-1]["type"], told[-1]["error"]["code"]) == ("error", "audio_too_long")
    assert "1 s" in told[-1]["error"]["message"]


# Those that go away.


async def test_an_idle_client_gets_its_sentences_and_is_let_go(start: Start) -> None:
    async with start(server(body_timeout="300ms") + STREAMS) as client:
        async with speaking(client) as speaker:
            await speaker.say(tones.synthesize("天地玄黄", tail=0.0))
            told = await speaker.rest()
            assert symbols(speaker.finals[-1]["text"]) == "天地玄黄"
            assert told[-1]["error"]["code"] == "request_timeout"
        await all_free(client)


async def close(socket: ClientWebSocketResponse) -> None:
    await socket.close()


async def reset(socket: ClientWebSocketResponse) -> None:
    """As a process that is killed."""
    if (connection := socket._response.connection) is not None and connection.transport is not None:
        connection.transport.abort()


@pytest.mark.parametrize("way", [close, reset])
@pytest.mark.parametrize("when", ["before stop", "after stop"])
async def test_a_client_that_goes_frees_the_vendors_connection(start: Start, way: Callable[..., Any], when: str) -> None:
    async with Emulator() as cloud, start(server() + f"providers: {{a: {aliyun(cloud)}}}") as client:
        cloud.hold_answers()
        async with speaking(client) as speaker:
            await speaker.say(SHORT)
            await cloud.calls_in_flight(1)
            if when == "after stop":
                await speaker.stop()
            await speaker.hear("interim")
            await way(speaker.socket)
            await cloud.all_connections_free()
            await all_free(client)
        while cloud.connections_open:
            await asyncio.sleep(0.01)


async def test_a_client_that_goes_while_it_is_not_read_frees_everything(start: Start, tmp_path: Path) -> None:
    """The vendor takes nothing, so we read nothing, and do not see the connection end."""
    text = server(listen=f"['unix:{tmp_path}/api.sock']", body_timeout="200ms") + STREAMS
    async with start(text) as client, ClientSession(connector=UnixConnector(f"{tmp_path}/api.sock")) as session:
        client.sidecar.runtime.current.opened["tones"].provider.script.hold()  # type: ignore[attr-defined]
        socket = await session.ws_connect("http://localhost/v1/stream")
        await socket.send_json({"type": "start", "sample_rate": 16_000})
        sending = asyncio.create_task(Speaker(socket).say(bytes(2**21)))
        await stuck(sending.done)
        assert not sending.done()
        await reset(socket)
        await asyncio.gather(sending, return_exceptions=True)
        while client.sidecar.runtime.in_flight:
            await asyncio.sleep(0.01)
        line = [event for event in client.events if type(event).__name__ == "RequestEnded"][-1]
        assert line.code == "client_closed"  # type: ignore[attr-defined]


# Those that are faster or slower than the other end.


async def stuck(sign: Callable[[], object]) -> None:
    """Returns when something has not got on for many turns of the loop."""
    before, turns = None, 0
    while turns < 300:
        await asyncio.sleep(0.0005)
        now = sign()
        before, turns = now, turns + 1 if now == before else 0


async def test_a_client_that_sends_fast_is_held_up_and_nothing_is_lost(start: Start, tmp_path: Path) -> None:
    text = server(listen=f"['unix:{tmp_path}/api.sock']") + STREAMS
    audio = SHORT + bytes(2**21) + SHORT
    taken = 0

    async def send(speaker: Speaker) -> None:
        nonlocal taken
        for at in range(0, len(audio), 3200):
            await speaker.socket.send_bytes(audio[at : at + 3200])
            taken = at
        await speaker.stop()

    async with start(text) as client, ClientSession(connector=UnixConnector(f"{tmp_path}/api.sock")) as session:
        script = client.sidecar.runtime.current.opened["tones"].provider.script  # type: ignore[attr-defined]
        script.hold()
        async with session.ws_connect("http://localhost/v1/stream") as socket:
            speaker = Speaker(socket)
            await speaker.begin()
            sending = asyncio.create_task(send(speaker))
            await stuck(lambda: taken)
            assert 0 < taken < len(audio) / 2
            script.release()
            await speaker.hear("done")
            await sending
    assert symbols(speaker.told[-1]["text"]) == "天地玄黄天地玄黄"
    assert speaker.told[-1]["duration"] == pytest.approx(len(audio) / 32_000, abs=0.01)


MUCH = f"{'长' * 40_000} {'长' * 20_000}"
SENTENCES = tones.compose(["天", 1.0] * 12).render()


def talkative(cloud: Emulator, folder: Path, **more: object) -> str:
    return server(listen=f"['unix:{folder}/api.sock']", **more) + f"providers: {{a: {aliyun(cloud)}}}"


async def test_a_client_that_reads_slowly_misses_nothing(start: Start, tmp_path: Path) -> None:
    async with (
        Emulator(answers=f"text:{MUCH}") as cloud,
        start(talkative(cloud, tmp_path)) as client,
        ClientSession(connector=UnixConnector(f"{tmp_path}/api.sock")) as session,
        session.ws_connect("http://localhost/v1/stream", max_msg_size=2**24) as socket,
    ):
        speaker = Speaker(socket)
        await speaker.begin()
        connection = socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.pause_reading()  # type: ignore[attr-defined]
        sending = asyncio.create_task(speaker.say(SENTENCES * 3))
        while not cloud.calls:
            await asyncio.sleep(0.01)
        await stuck(lambda: cloud.calls[0].audio_seconds)
        assert 0 < cloud.calls[0].audio_seconds < len(SENTENCES) * 3 / 32_000
        assert client.sidecar.runtime.in_flight == 1
        connection.transport.resume_reading()  # type: ignore[attr-defined]
        await sending
        await speaker.stop()
        await speaker.rest()
    assert [each["text"] for each in speaker.finals] == [MUCH] * 36
    assert speaker.told[-1]["type"] == "done"


async def test_a_client_that_reads_nothing_is_let_go(start: Start, tmp_path: Path) -> None:
    async with (
        Emulator(answers=f"text:{MUCH}") as cloud,
        start(talkative(cloud, tmp_path, body_timeout="300ms")) as client,
        ClientSession(connector=UnixConnector(f"{tmp_path}/api.sock")) as session,
    ):
        socket = await session.ws_connect("http://localhost/v1/stream", max_msg_size=2**24)
        await socket.send_json({"type": "start", "sample_rate": 16_000})
        connection = socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.pause_reading()  # type: ignore[attr-defined]
        sending = asyncio.create_task(Speaker(socket).say(SENTENCES * 4))
        await cloud.calls_in_flight(1)
        await cloud.all_connections_free()
        while client.sidecar.runtime.in_flight:
            await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await reset(socket)


# Limits, and those who may not call.


async def test_one_session_more_than_the_limit_is_told_when_to_come_back(start: Start) -> None:
    text = server() + STREAMS + "\npolicy: {limits: {concurrency: 1, queue_timeout: 50ms}}"
    async with start(text) as client, speaking(client) as first:
        await first.say(SHORT)
        await first.hear("interim")
        async with speaking(client) as second:
            error = (await second.rest())[-1]["error"]
            assert (error["code"], error["retryable"]) == ("rate_limited", True)
        await first.stop()
        assert symbols((await first.rest())[-1]["text"]) == "天地玄黄"


@pytest.mark.parametrize(
    ("keys", "headers", "status"),
    [
        ({}, {"Origin": "https://evil.example"}, 403),
        ({}, {"Origin": "http://localhost:1"}, 403),
        ({"origins": "['https://app.example']"}, {"Origin": "https://app.example"}, None),
        ({"tokens": "[secret]"}, {}, 401),
        ({"tokens": "[secret]"}, {"Authorization": "Bearer secret"}, None),
    ],
)
async def test_who_may_open_a_session(start: Start, keys: dict[str, str], headers: dict[str, str], status: int | None) -> None:
    async with start(server(**keys) + STREAMS) as client:
        opening = client.session.ws_connect(client.sidecar.url + "/v1/stream", headers=headers)
        if status is None:
            async with opening as socket:
                assert not socket.closed
        else:
            with pytest.raises(WSServerHandshakeError) as refused:
                await opening
            assert refused.value.status == status


async def test_a_page_of_our_own_may(start: Start) -> None:
    async with (
        start(server() + STREAMS) as client,
        client.session.ws_connect(client.sidecar.url + "/v1/stream", headers={"Origin": client.sidecar.url}) as socket,
    ):
        assert not socket.closed


async def test_without_an_upgrade_it_is_told_so(start: Start) -> None:
    async with start(server() + STREAMS) as client:
        answer, body = await client.get("/v1/stream")
        assert (answer.status, body["error"]["code"]) == (400, "invalid_parameter")
        assert "WebSocket" in json.dumps(body)


@pytest.mark.parametrize("provider", ["{type: fake}", "{type: fake, script: [{times: 100, error: unavailable}]}"], ids=["done", "error"])
async def test_a_session_that_was_told_its_end_is_counted_so_though_the_client_hangs_up_without_a_close(
    start: Start, provider: str
) -> None:
    async with start(server() + f"providers: {{tones: {provider}}}") as client:
        async with ClientSession() as caller:
            socket = await caller.ws_connect(client.sidecar.url + "/v1/stream")
            await socket.send_json({"type": "start", "sample_rate": 16_000})
            await socket.send_bytes(SHORT)
            await socket.send_json({"type": "stop"})
            while (await socket.receive_json())["type"] not in ("done", "error"):
                pass
            assert caller.connector is not None
            await caller.connector.close()  # the connection is gone; no close frame was sent
        async with asyncio.timeout(20):
            while not (ended := [each for each in client.events if isinstance(each, RequestEnded)]):
                await asyncio.sleep(0.01)
    assert [each.status for each in ended] == [101]
