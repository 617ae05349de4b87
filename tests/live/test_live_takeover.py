"""When a provider fails in the middle of a session, the next goes on: nothing lost, nothing doubled, times and numbers as before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asrproxy.events import FailedOver
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Outage
from tests.live.speaking import Speaker, aliyun, awake, server, speaking, symbols
from tests.recognize.conftest import Client, Start, start

__all__ = ["start"]

SCORE = tones.compose(["天地玄黄", 1.2, "宇宙洪荒日月盈昃", 1.2, "辰宿列张"], lead=0.4, tail=0.3)
PCM = SCORE.render()
MIDDLE = int((SCORE.symbols[7].end + 0.02) * 16_000) * 2
SENTENCES = ["天地玄黄", "宇宙洪荒日月盈昃", "辰宿列张"]
FIRST = [SCORE.symbols[0], SCORE.symbols[4], SCORE.symbols[12]]


def configuration(cloud: Emulator, second: str) -> str:
    first = aliyun(cloud, websocket="{reconnects: 0}")
    return server() + (
        f"providers:\n  first: {first}\n  second: {second}\n"
        "policy: {retries: {attempts: 1}}\nroutes: {default: {providers: [first, second]}}"
    )


def check(speaker: Speaker) -> None:
    assert [symbols(each["text"]) for each in speaker.finals] == SENTENCES
    assert [each["index"] for each in speaker.finals] == [0, 1, 2]
    for told, symbol in zip(speaker.finals, FIRST, strict=True):
        assert told["start"] == pytest.approx(symbol.start, abs=0.35)
    assert symbols(speaker.told[-1]["text"]) == "".join(SENTENCES)
    assert speaker.told[-1]["duration"] == pytest.approx(SCORE.duration, abs=0.01)
    interims = [each for each in speaker.told if each["type"] == "interim"]
    assert all(SENTENCES[each["index"]].startswith(symbols(each["text"])) for each in interims)


def moves(client: Client) -> list[tuple[str, str]]:
    return [(event.before, event.after) for event in client.events if isinstance(event, FailedOver)]


async def whose(client: Client) -> str | None:
    """The provider of the last session, as those who look at a sidecar are told it."""
    sessions: list[dict[str, Any]] = []
    while not sessions:  # its end is told to the client first
        sessions = [each for each in (await client.get("/v1/recent"))[1]["requests"] if each["endpoint"] == "/v1/stream"]
    provider: str | None = sessions[-1]["provider"]
    return provider


SECONDS = {"streaming": "{type: fake}", "one-shot": "{type: fake, capabilities: {streaming: false}}"}


@pytest.mark.parametrize("second", SECONDS)
async def test_the_next_provider_goes_on_where_the_last_sentence_ended(start: Start, second: str) -> None:
    async with Emulator() as cloud, start(configuration(cloud, SECONDS[second])) as client:
        await awake(client, "first")
        async with speaking(client) as speaker:
            await speaker.say(PCM[:MIDDLE])
            while (await speaker.hear("interim"))["index"] == 0:
                pass
            await cloud.gateway_outage(Outage.REFUSE)  # in the middle of the second sentence
            await speaker.say(PCM[MIDDLE:])
            await speaker.stop()
            await speaker.rest()
        assert await whose(client) is None
    check(speaker)
    assert moves(client) == [("first", "second")]


async def test_audio_that_came_in_one_frame_is_not_said_twice(start: Start) -> None:
    async with Emulator() as cloud, start(configuration(cloud, SECONDS["streaming"])) as client:
        await awake(client, "first")
        async with speaking(client) as speaker:
            await speaker.say(PCM, len(PCM))
            await speaker.hear("final")
            await speaker.hear("final")
            await cloud.gateway_outage(Outage.REFUSE)
            await speaker.stop()
            await speaker.rest()
    check(speaker)
    assert moves(client) == [("first", "second")]


async def test_after_one_shot_calls_failed_a_provider_that_streams_goes_on(start: Start) -> None:
    text = server() + (
        "providers:\n  first: {type: fake, capabilities: {streaming: false}}\n  second: {type: fake}\n"
        "policy: {retries: {attempts: 1}}\nroutes: {default: {providers: [first, second]}}"
    )
    async with start(text) as client, speaking(client) as speaker:
        await speaker.say(PCM[:MIDDLE])
        await speaker.hear("final")
        client.sidecar.runtime.current.opened["first"].provider.script.go_down()  # type: ignore[attr-defined]
        await speaker.say(PCM[MIDDLE:])
        await speaker.stop()
        await speaker.rest()
        assert {name: each["calls"] for name, each in (await client.get("/v1/status"))[1]["providers"].items()} == {"first": 2, "second": 1}
    check(speaker)
    assert moves(client) == [("first", "second")]


async def test_the_routes_order_holds_for_live_audio_too(start: Start) -> None:
    text = server() + (
        "providers: {first: {type: fake, capabilities: {streaming: false}}, second: {type: fake}}\n"
        "routes: {default: {providers: [first, second]}}"
    )
    async with start(text) as client, speaking(client) as speaker:
        await speaker.say(PCM)
        await speaker.stop()
        await speaker.rest()
        assert (await client.get("/v1/status"))[1]["providers"]["second"]["calls"] == 0
        assert await whose(client) == "first"
    check(speaker)


async def test_one_that_cannot_answer_now_is_passed_over(start: Start) -> None:
    text = server() + (
        "providers: {first: {type: fake}, second: {type: fake}}\nroutes: {default: {providers: [first, second]}}\n"
        "policy: {circuit: {failures: 1}, retries: {attempts: 1}}"
    )
    async with start(text) as client:
        script = client.sidecar.runtime.current.opened["first"].provider.script  # type: ignore[attr-defined]
        script.go_down()
        for _ in range(2):
            async with speaking(client) as speaker:
                await speaker.say(PCM)
                await speaker.stop()
                await speaker.rest()
            check(speaker)
        assert script.calls == 1  # then its circuit was open
        assert await whose(client) == "second"
    assert moves(client) == [("first", "second")]


async def test_when_all_have_failed_the_error_tells_of_each(start: Start) -> None:
    text = server() + (
        "providers: {first: {type: fake, outages: [{error: unavailable}]}, second: {type: fake, outages: [{error: refused}]}}\n"
        "routes: {default: {providers: [first, second]}}\npolicy: {retries: {attempts: 1}}"
    )
    async with start(text) as client, speaking(client) as speaker:
        await speaker.say(PCM)
        error = (await speaker.rest())[-1]["error"]
    assert (error["code"], error["provider"]) == ("provider_error", "first")
    assert "first: " in error["message"]
    assert "second: " in error["message"]


async def test_a_sentence_is_told_while_the_speaker_is_silent(start: Start) -> None:
    """One-shot: no audio at all comes after the sentence, as when a microphone is switched off; then the speaker goes on."""
    text = server() + "providers: {tones: {type: fake, capabilities: {streaming: false}}}"
    async with start(text) as client, speaking(client) as speaker:
        await speaker.say(tones.synthesize("天地玄黄", tail=0.0))
        assert symbols((await speaker.hear("final"))["text"]) == "天地玄黄"
        await speaker.say(tones.synthesize("宇宙", lead=0.0))
        await speaker.stop()
        told = await speaker.rest()
    assert symbols(told[-1]["text"]) == "天地玄黄宇宙"
    assert speaker.finals[1]["start"] >= speaker.finals[0]["end"]


async def test_a_vendor_that_falls_silent_while_somebody_speaks_is_called_anew(start: Start) -> None:
    """The line stands and pings are answered, but nothing is said any more: no error would ever come."""
    async with Emulator() as cloud:
        text = server() + f"providers: {{only: {aliyun(cloud, websocket='{stalled: 400ms}')}}}"
        async with start(text) as client, speaking(client) as speaker:
            await speaker.say(PCM[:MIDDLE])
            await speaker.hear("final")
            lines = cloud.connections_accepted
            await cloud.gateway_outage(Outage.SILENT)
            await speaker.say(PCM[MIDDLE:])
            while cloud.connections_accepted == lines:
                await asyncio.sleep(0.01)
            await cloud.gateway_outage(Outage.NONE)
            await speaker.stop()
            await speaker.rest()
    check(speaker)


async def test_no_task_outlives_a_session(start: Start) -> None:
    text = server() + "providers: {first: {type: fake, capabilities: {streaming: false}}, second: {type: fake}}"
    async with start(text) as client:
        async with speaking(client) as speaker:
            await speaker.say(PCM)
            await speaker.hear("final")
        while any(task.get_name().startswith("live-") for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)
