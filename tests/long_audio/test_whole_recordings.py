"""Recordings sent whole where a provider has a way for that: one call, the same answer, and the usual way where that one fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import ClientSession

from asrproxy.api.sidecar import sidecar
from asrproxy.config.load import loads
from asrproxy.discovery import provider_type
from asrproxy.events import AttemptEnded, Event
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Scripted
from tests.long_audio.long_proxy import SHORT_TALK, TALK, Proxy, Start, events_of, in_order, wav, words_are_those_of

LECTURE = tones.dictation(150, seed=11, pauses=(0.35, 1.6))
QUICK = {"retries": {"attempts": 1}}


@asynccontextmanager
async def before(cloud: Emulator, **policy: Any) -> AsyncIterator[Proxy]:
    """A sidecar whose default route is aliyun with `long: flash`, then a provider that takes no more than a minute."""
    keys = {"access_key_id": cloud.access_key_id, "access_key_secret": cloud.access_key_secret, "appkey": cloud.appkey}
    written = {
        "server": {"listen": ["127.0.0.1:0"], "ops_listen": []},
        "providers": {
            "aliyun": {"type": "aliyun", "gateway_url": cloud.gateway_url, "token_url": cloud.token_url, "long": "flash", **keys},
            "backup": {"type": "fake"},
        },
        "routes": {"default": {"providers": ["aliyun", "backup"]}},
        "policy": {**QUICK, **policy},
    }
    configuration = loads(json.dumps(written), "test.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)
    events: list[Event] = []
    async with sidecar(configuration, [events.append]) as running, ClientSession() as session:
        yield Proxy(running, session, events)


async def test_flash_gets_a_long_recording_whole_and_short_ones_go_the_usual_way() -> None:
    async with Emulator() as cloud, before(cloud) as running:
        answer = await running.ask(wav(LECTURE), words="true")
        assert [call.kind for call in cloud.calls] == ["flash"]
        short = await running.ask(wav(tones.compose(["天地玄黄"])))
        assert [call.kind for call in cloud.calls] == ["flash", "rest"]
    assert short["text"] == "天地玄黄"
    assert answer["text"] == LECTURE.text
    assert (answer["provider"], answer["complete"]) == ("aliyun", True)
    assert answer["duration"] == pytest.approx(LECTURE.duration, abs=0.01)
    assert "".join(segment["text"] for segment in answer["segments"]) == answer["text"]
    assert len(answer["segments"]) > 3  # what the vendor calls sentences
    in_order(answer)
    assert all(set(segment) == set(answer["segments"][0]) for segment in answer["segments"])
    words_are_those_of(LECTURE, answer["segments"], close=0.05)


async def test_subtitles_come_from_the_vendors_sentences() -> None:
    async with Emulator() as cloud, before(cloud) as running:
        text = await running.ask(wav(LECTURE), response_format="srt")
    assert "".join(line for line in text.splitlines() if line and not line[0].isdigit()) == LECTURE.text


async def test_where_flash_fails_the_recording_is_cut() -> None:
    async with Emulator() as cloud, before(cloud) as running:
        cloud.script(Scripted(status=40000004, message="no result within 50 s"))
        answer = await running.ask(wav(LECTURE))
        assert [call.kind for call in cloud.calls] == ["flash", "rest", "rest", "rest"]
    assert answer["text"] == LECTURE.text
    assert len(answer["segments"]) == 3
    in_order(answer)


async def test_a_vendor_that_is_gone_leaves_the_recording_to_the_next_provider() -> None:
    async with Emulator() as cloud, before(cloud) as running:
        await cloud.gateway_outage("error", 503)
        answer = await running.ask(wav(LECTURE))
    assert answer["text"] == LECTURE.text
    assert answer["provider"] == "backup"


async def test_a_stretch_of_speech_in_which_there_is_no_sentence_is_cut_and_asked_for_again(proxy: Start) -> None:
    async with proxy(longest=20, whole=600, script=[{"truncate": 0.5}]) as running:
        answer = await running.ask(wav(LECTURE), words="true")
        sent = [event.audio_seconds for event in running.events if isinstance(event, AttemptEnded)]
    assert answer["text"] == LECTURE.text
    words_are_those_of(LECTURE, answer["segments"])
    in_order(answer)
    assert sent[0] == pytest.approx(LECTURE.duration, abs=0.01)
    assert sum(sent[1:]) == pytest.approx(LECTURE.duration / 2, abs=5)
    assert not any(segment.get("suspect") for segment in answer["segments"])


@pytest.mark.parametrize("again", [{"error": "rejected", "times": "always"}, {"text": "", "times": "always"}])
async def test_speech_that_stays_without_words_is_flagged(proxy: Start, again: Any) -> None:
    async with proxy(longest=20, whole=600, policy=QUICK, script=[{"truncate": 0.5}, again]) as running:
        answer = await running.ask(wav(LECTURE))
    assert LECTURE.text.startswith(answer["text"])
    flagged = [segment for segment in answer["segments"] if segment.get("suspect")]
    assert flagged
    assert all(segment["text"] == "" and segment["start"] > 60 for segment in flagged)


async def test_longer_than_one_call_takes_is_several(proxy: Start) -> None:
    async with proxy(longest=20, whole=100) as running:
        answer = await running.ask(wav(TALK), words="true")
        assert running.calls == 4
    assert answer["text"] == TALK.text
    words_are_those_of(TALK, answer["segments"])
    in_order(answer)


async def test_what_was_answered_is_remembered(proxy: Start) -> None:
    async with proxy(longest=12, whole=600) as running:
        first = await running.ask(wav(SHORT_TALK), words="true")
        again = await running.ask(wav(SHORT_TALK), words="true")
        assert running.calls == 1
    assert all(segment["cached"] and segment["attempts"] == 0 for segment in again["segments"])
    assert [(each["start"], each["text"]) for each in again["segments"]] == [(each["start"], each["text"]) for each in first["segments"]]


async def test_silence_is_not_sent(proxy: Start) -> None:
    async with proxy(whole=600) as running:
        answer = await running.ask(tones.to_wav(bytes(90 * 32_000), 16_000))
        assert running.calls == 0
    assert answer["text"] == ""
    assert [(segment["start"], segment["end"]) for segment in answer["segments"]] == [(0.0, 90.0)]


async def test_an_error_holds_what_was_finished_before_it(proxy: Start) -> None:
    policy = {**QUICK, "long_audio": {"concurrency": 1}}
    script = [{}, {"error": "unavailable"}, {}, {"error": "unavailable", "times": "always"}]  # whole, whole, a piece, the next piece
    async with proxy(longest=20, whole=100, policy=policy, script=script) as running:
        error = (await running.ask(wav(TALK), status=502))["error"]
    assert error["code"] == "provider_error"
    segments = error["segments"]
    assert TALK.text.startswith("".join(segment["text"] for segment in segments))
    assert 90 < segments[-1]["end"] < 125  # the first call's sentences and a piece of the second's stretch
    assert [segment["index"] for segment in segments] == list(range(len(segments)))
    assert all(earlier["end"] <= later["start"] for earlier, later in pairwise(segments))


async def test_when_the_time_is_over_what_was_finished_is_in_the_error(proxy: Start) -> None:
    policy = {**QUICK, "long_audio": {"concurrency": 1}}
    async with proxy(longest=20, whole=100, policy=policy, script=[{}, {"error": "unavailable", "times": 2}, {"hang": True}]) as running:
        await running.ask(wav(TALK), status=502)  # the first call's answer is remembered: the next request has it, however busy the machine
        error = (await running.ask(wav(TALK), status=504, timeout="5"))["error"]
        await running.vendor.script.idle()
    assert error["code"] == "deadline_exceeded"
    assert TALK.text.startswith("".join(segment["text"] for segment in error["segments"]))
    assert 80 < error["segments"][-1]["end"] <= 100


async def test_segments_are_told_in_order_the_result_last(proxy: Start) -> None:
    async with proxy(longest=12, whole=600, script=[{"truncate": 0.5}]) as running:
        events = events_of(await running.ask(wav(SHORT_TALK), stream="true"))
    *earlier, (last, result) = events
    assert last == "result"
    assert [data for name, data in earlier if name == "segment"] == result["segments"]
    assert result["text"] == SHORT_TALK.text
    progress = [data for name, data in earlier if name == "progress"]
    assert progress[-1]["seconds_done"] == progress[-1]["seconds_total"] == result["duration"]


async def test_a_caller_who_hangs_up_leaves_no_call_behind(proxy: Start) -> None:
    async with proxy(longest=12, whole=600, script=[{"hang": True}]) as running:
        asking = asyncio.create_task(running.ask(wav(SHORT_TALK)))
        await running.vendor.script.arrived()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await running.vendor.script.idle()
