"""Long recordings through a whole sidecar: nothing lost, nothing doubled, nothing paid twice."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from asrproxy.config.models import MemorySettings
from asrproxy.events import AttemptEnded
from asrproxy.model import Recognition, Word
from asrproxy.remember import SegmentMemory
from asrproxy.testing import tones
from asrproxy.testing.tones import Score
from tests.long_audio.long_proxy import (
    ONE_BY_ONE,
    SHORT_TALK,
    TALK,
    Proxy,
    Start,
    configured,
    events_of,
    in_order,
    wav,
    words_are_those_of,
)


def encoded(score: Score, container: str, codec: str, rate: int, layout: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout=layout)
        channels = len(av.AudioLayout(layout).channels)
        samples = np.repeat(np.frombuffer(score.render(rate), "<i2"), channels).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.sample_rate = rate
        for each in (frame, None):
            file.mux(stream.encode(each))
    return out.getvalue()


FORMS = {
    "wav": lambda: wav(TALK),
    "mp3": lambda: encoded(TALK, "mp3", "libmp3lame", 16_000, "stereo"),
    "opus": lambda: encoded(TALK, "ogg", "libopus", 16_000, "mono"),
}


async def test_pauses_that_cost_no_call_are_taken_so_a_text_that_repeats_itself_has_no_seam_in_doubt(proxy: Start) -> None:
    verse = tones.compose(["天地玄黄", 0.5, "宇宙洪荒", 0.5, "日月盈昃", 0.5] * 12)
    async with proxy(policy={"long_audio": {"max_segment": "8s"}}) as running:
        answer = await running.ask(wav(verse))
        assert answer["text"] == verse.text
        assert not any("suspect" in segment for segment in answer["segments"])
        assert len(answer["segments"]) == 6  # the fewest that hold 42 s; forced cuts with their overlaps had made 7


@pytest.mark.parametrize("form", FORMS)
async def test_five_minutes_come_back_whole_in_order_and_on_time(proxy: Start, form: str) -> None:
    async with proxy() as running:
        answer = await running.ask(FORMS[form](), words="true")
        assert answer["text"] == TALK.text
        assert answer["complete"] is True
        assert answer["provider"] == "tones"
        assert answer["duration"] == pytest.approx(TALK.duration, abs=0.15)
        assert "".join(segment["text"] for segment in answer["segments"]) == answer["text"]
        words_are_those_of(TALK, answer["segments"])
        in_order(answer)
        assert all(before["end"] == after["start"] for before, after in pairwise(answer["segments"]))
        assert running.calls == len(answer["segments"]) == 6  # the fewest that hold five minutes


@pytest.mark.parametrize("words", ["true", "false"])
@pytest.mark.parametrize("longest", [60, 12])
async def test_where_nobody_pauses_nothing_is_lost_or_doubled(proxy: Start, words: str, longest: int) -> None:
    breathless = tones.dictation(150, seed=6, pauses=None)
    async with proxy(longest=longest) as running:
        answer = await running.ask(wav(breathless), words=words)
    assert answer["text"] == breathless.text
    assert not any(segment.get("suspect") for segment in answer["segments"])
    in_order(answer)
    if words == "true":
        words_are_those_of(breathless, answer["segments"])
    else:
        assert "words" not in answer["segments"][0]


async def test_where_a_seam_is_in_doubt_both_readings_stay_and_are_flagged(proxy: Start) -> None:
    monotonous = tones.compose(["天" * 150])
    async with proxy(longest=12) as running:
        answer = await running.ask(wav(monotonous))
    assert answer["text"].count("天") >= len(monotonous.symbols)
    assert any(segment.get("suspect") for segment in answer["segments"])


async def test_long_silences_are_not_sent_and_times_stay_the_callers(proxy: Start) -> None:
    score = tones.compose([25.0, "天地玄黄", 20.0, "宇宙洪荒", 40.0, "日月盈昃"], lead=0.1, tail=30.0)
    async with proxy() as running:
        answer = await running.ask(wav(score), words="true")
        sent = sum(event.audio_seconds for event in running.events if isinstance(event, AttemptEnded))
    assert answer["text"] == score.text
    assert answer["duration"] == pytest.approx(score.duration, abs=0.01)
    words_are_those_of(score, answer["segments"])
    in_order(answer)
    assert sent < 10


async def test_all_of_it_is_sent_where_silence_is_not_to_be_skipped(proxy: Start) -> None:
    score = tones.compose(["天地玄黄", 70.0, "宇宙洪荒"])
    async with proxy(policy={"long_audio": {"skip_silence": 0, "recheck": False}}) as running:
        answer = await running.ask(wav(score))
        sent = sum(event.audio_seconds for event in running.events if isinstance(event, AttemptEnded))
    assert answer["text"] == score.text
    assert score.duration - 0.05 <= sent <= score.duration + 2.05  # level silence is a stretch without a pause: its halves overlap


async def test_a_long_silence_is_one_segment_without_text_and_costs_nothing(proxy: Start) -> None:
    async with proxy() as running:
        answer = await running.ask(tones.to_wav(bytes(90 * 32_000), 16_000))
        assert answer["text"] == ""
        assert answer["complete"] is True
        (segment,) = answer["segments"]
        assert (segment["start"], segment["end"], segment["text"]) == (0.0, 90.0, "")
        assert running.calls == 0


async def test_refused_with_what_was_finished_then_only_the_missing_is_paid_for(proxy: Start) -> None:
    script = [{"times": 2}, {"error": "unavailable", "vendor_code": 50000000}]
    async with proxy(longest=12, policy=ONE_BY_ONE, script=script) as running:
        refusal = (await running.ask(wav(SHORT_TALK), status=502))["error"]
        assert (refusal["code"], refusal["provider"], refusal["provider_status"]) == ("provider_error", "tones", 50000000)
        assert [segment["index"] for segment in refusal["segments"]] == [0, 1]
        assert SHORT_TALK.text.startswith("".join(segment["text"] for segment in refusal["segments"]))
        assert running.calls == 3

        answer = await running.ask(wav(SHORT_TALK))
        assert answer["text"] == SHORT_TALK.text
        assert [segment.get("cached", False) for segment in answer["segments"]] == [True, True, False, False, False]
        assert [segment["attempts"] for segment in answer["segments"]] == [0, 0, 1, 1, 1]
        assert running.calls == 3 + 3


async def test_when_the_time_is_over_what_was_finished_is_in_the_error(proxy: Start) -> None:
    script = [{"times": 2}, {"error": "unavailable"}, {"hang": True, "times": "always"}]
    async with proxy(longest=12, policy=ONE_BY_ONE, script=script) as running:
        await running.ask(wav(SHORT_TALK), status=502)  # two are remembered: the next request has them at once, however busy the machine
        late = (await running.ask(wav(SHORT_TALK), status=504, timeout="4"))["error"]
        await running.vendor.script.idle()  # the call that would never have ended was given up
    assert (late["code"], late["retryable"]) == ("deadline_exceeded", True)
    assert [(segment["index"], segment.get("cached")) for segment in late["segments"]] == [(0, True), (1, True)]
    assert SHORT_TALK.text.startswith("".join(segment["text"] for segment in late["segments"]))
    assert all(segment["start"] < segment["end"] for segment in late["segments"])


async def test_a_hole_keeps_its_place_where_the_caller_allows_it(proxy: Start) -> None:
    script = [{"times": 2}, {"error": "unavailable", "vendor_code": 50000000}]
    async with proxy(longest=12, policy=ONE_BY_ONE, script=script) as running:
        holed = await running.ask(wav(SHORT_TALK), partial="allow")
        whole = await running.ask(wav(SHORT_TALK), partial="allow")
        calls = running.calls
    assert holed["complete"] is False
    hole = holed["segments"].pop(2)
    assert (hole["index"], hole["text"], hole["error"]["provider_status"]) == (2, "", 50000000)
    assert holed["text"] == "".join(segment["text"] for segment in holed["segments"])
    assert [segment["index"] for segment in holed["segments"]] == [0, 1, 3, 4]

    assert whole["complete"] is True
    assert whole["text"] == SHORT_TALK.text
    assert [segment.get("cached", False) for segment in whole["segments"]] == [True, True, False, True, True]
    assert calls == 5 + 1


async def test_other_options_are_another_question(proxy: Start) -> None:
    async with proxy(longest=12) as running:
        await running.ask(wav(SHORT_TALK))
        answer = await running.ask(wav(SHORT_TALK), words="true")
        assert not any(segment.get("cached") for segment in answer["segments"])
        words_are_those_of(SHORT_TALK, answer["segments"])


async def test_nothing_is_remembered_where_that_is_off(proxy: Start) -> None:
    async with proxy(longest=12, policy={"long_audio": {"remember": {"enabled": False}}}) as running:
        await running.ask(wav(SHORT_TALK))
        answer = await running.ask(wav(SHORT_TALK))
        assert not any(segment.get("cached") for segment in answer["segments"])
        assert running.calls == 10


async def test_a_reload_changes_how_much_is_remembered_and_keeps_what_is(proxy: Start) -> None:
    async def cached_after(running: Proxy, **remember: Any) -> list[bool]:
        await running.sidecar.runtime.reload(configured(longest=12, policy={"long_audio": {"remember": remember}}))
        answer = await running.ask(wav(SHORT_TALK))
        assert answer["text"] == SHORT_TALK.text
        return [segment.get("cached", False) for segment in answer["segments"]]

    async with proxy(longest=12) as running:
        await running.ask(wav(SHORT_TALK))
        assert await cached_after(running, ttl="2h") == [True] * 5
        assert sum(await cached_after(running, entries=2)) <= 2
        assert await cached_after(running, enabled=False) == [False] * 5
        assert await cached_after(running, enabled=True) == [False] * 5


async def test_a_folder_remembers_across_restarts_and_a_broken_file_is_asked_for_again(proxy: Start, tmp_path: Path) -> None:
    policy = {"long_audio": {"remember": {"folder": str(tmp_path / "kept")}}}
    async with proxy(longest=12, policy=policy) as running:
        await running.ask(wav(SHORT_TALK), words="true")
    files = sorted((tmp_path / "kept").iterdir())
    assert len(files) == 5
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    files[0].write_bytes(b"half of i")
    async with proxy(longest=12, policy=policy) as running:
        answer = await running.ask(wav(SHORT_TALK), words="true")
        assert running.calls == 1
    assert sum(segment.get("cached", False) for segment in answer["segments"]) == 4
    assert answer["text"] == SHORT_TALK.text
    words_are_those_of(SHORT_TALK, answer["segments"])


async def test_no_more_is_remembered_than_allowed_and_no_longer() -> None:
    now = [1_000_000.0]
    memory = SegmentMemory(MemorySettings(entries=2, ttl=60), clock=lambda: now[0])
    said = {key: Recognition(key, (Word(key, 0.5, 1.0),), "zh-CN", provider="tones") for key in "abc"}
    for key, recognition in said.items():
        await memory.keep(key, recognition)
    assert [await memory.recall(key) for key in "abc"] == [None, said["b"], said["c"]]
    now[0] += 61
    assert [await memory.recall(key) for key in "abc"] == [None, None, None]


async def test_a_folder_does_not_grow_without_end(tmp_path: Path) -> None:
    now = [1_000_000.0]

    def memory() -> SegmentMemory:
        return SegmentMemory(MemorySettings(entries=70, ttl=60, folder=tmp_path), clock=lambda: now[0])

    first = memory()
    for number in range(200):
        now[0] += 0.01
        await first.keep(f"{number:064}", Recognition(str(number)))
    assert len(list(tmp_path.iterdir())) <= 70 + 64
    now[0] += 61
    later = memory()
    assert await later.recall(f"{199:064}") is None
    await later.keep("new", Recognition("new"))
    assert [file.stem for file in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize(("again", "text", "suspect"), [([{"times": 2}], SHORT_TALK.text, False), ([{"text": "", "times": 2}], None, True)])
async def test_speech_without_words_is_asked_for_once_more_then_flagged(
    proxy: Start, again: list[Any], text: str | None, suspect: bool
) -> None:
    async with proxy(longest=12, policy=ONE_BY_ONE, script=[{}, {"text": ""}, *again]) as running:
        answer = await running.ask(wav(SHORT_TALK))
        calls = running.calls
    segment = answer["segments"][1]
    assert segment["attempts"] == 3
    assert segment.get("suspect", False) is suspect
    assert answer["text"] == (text or "".join(each["text"] for each in answer["segments"] if each["index"] != 1))
    assert calls == 5 + 2


@pytest.mark.parametrize(("again", "suspect"), [({}, False), ({"text": ""}, True), ({"error": "rejected"}, True)])
async def test_a_stretch_of_speech_without_words_is_asked_for_by_itself_then_flagged(proxy: Start, again: Any, suspect: bool) -> None:
    async with proxy(longest=12, policy=ONE_BY_ONE, script=[{}, {"truncate": 0.5}, again]) as running:
        answer = await running.ask(wav(SHORT_TALK), words="true")
        calls = running.calls
        sent = [event.audio_seconds for event in running.events if isinstance(event, AttemptEnded)]
    segment = answer["segments"][1]
    assert calls == 5 + 1
    assert segment["attempts"] == 2
    assert segment.get("suspect", False) is suspect
    assert 3 < sent[2] < sent[1] - 3  # only what was missing
    if not suspect:
        assert answer["text"] == SHORT_TALK.text
        words_are_those_of(SHORT_TALK, answer["segments"])
    else:
        assert segment["text"]
        assert len(answer["text"]) < len(SHORT_TALK.text)


async def test_what_is_said_over_and_over_without_a_pause_is_never_lost(proxy: Start) -> None:
    counting = tones.compose(["天地玄黄宇宙洪荒" * 60])
    async with proxy(longest=12) as running:
        answer = await running.ask(wav(counting))
    told = iter(answer["text"])
    assert all(symbol.text in told for symbol in counting.symbols)  # in this order
    assert any(segment.get("suspect") for segment in answer["segments"])


async def test_what_is_suspect_is_not_remembered(proxy: Start) -> None:
    async with proxy(longest=12, policy=ONE_BY_ONE, script=[{}, {"text": "", "times": 3}]) as running:
        await running.ask(wav(SHORT_TALK))
        answer = await running.ask(wav(SHORT_TALK))
    assert answer["text"] == SHORT_TALK.text
    assert [segment.get("cached", False) for segment in answer["segments"]] == [True, False, True, True, True]


async def test_progress_and_segments_are_told_in_order_the_result_last(proxy: Start) -> None:
    async with proxy(longest=12, jitter="30ms") as running:
        events = events_of(await running.ask(wav(SHORT_TALK), stream="true"))
    *before, (last, result) = events
    assert last == "result"
    told = [data for name, data in before if name == "segment"]
    assert told == result["segments"]
    assert len(told) == 5
    assert result["text"] == SHORT_TALK.text
    progress = [data for name, data in before if name == "progress"]
    assert all(earlier["done"] <= later["done"] and earlier["total"] <= later["total"] for earlier, later in pairwise(progress))
    assert all(0 <= each["seconds_done"] <= each["seconds_total"] for each in progress)
    assert all(earlier != later for earlier, later in pairwise(progress))
    seconds = result["duration"]
    assert progress[-1] == {"done": 5, "total": 5, "seconds_done": seconds, "seconds_total": seconds}


async def test_a_streaming_caller_gets_finished_segments_then_the_error(proxy: Start) -> None:
    script = [{"times": 2}, {"error": "unavailable"}]
    async with proxy(longest=12, policy=ONE_BY_ONE, script=script) as running:
        events = events_of(await running.ask(wav(SHORT_TALK), stream="true"))
    assert [data["index"] for name, data in events if name == "segment"] == [0, 1]
    name, data = events[-1]
    assert (name, data["error"]["code"]) == ("error", "provider_error")
    assert [segment["index"] for segment in data["error"]["segments"]] == [0, 1]


async def test_recognition_begins_before_the_upload_is_over(proxy: Start) -> None:
    recording = wav(TALK)
    async with proxy() as running:
        half_way = asyncio.Event()

        async def sending() -> AsyncIterator[bytes]:
            yield recording[: len(recording) // 2]
            await running.vendor.script.arrived()
            half_way.set()
            running.vendor.script.release()
            yield recording[len(recording) // 2 :]

        running.vendor.script.hold()
        answer = await running.ask(sending())
    assert half_way.is_set()
    assert answer["text"] == TALK.text


async def test_a_short_request_goes_before_the_rest_of_a_long_one(proxy: Start) -> None:
    async with proxy(longest=12, policy={"limits": {"concurrency": 1}}) as running:
        running.vendor.script.hold()
        long = asyncio.create_task(running.ask(wav(SHORT_TALK), request_id="long"))
        while await running.queued("long") < 4:  # the first is at the vendor
            pass
        short = asyncio.create_task(running.ask(wav(tones.compose(["天地玄黄"])), request_id="short"))
        while await running.queued("short") < 1:
            pass
        running.vendor.script.release()
        assert (await short)["text"] == "天地玄黄"
        assert (await long)["text"] == SHORT_TALK.text
        order = [event.request_id for event in running.events if isinstance(event, AttemptEnded)]
    assert order == ["long", "short", "long", "long", "long", "long"]


async def test_a_caller_who_hangs_up_leaves_no_call_behind_and_what_was_finished_is_kept(proxy: Start) -> None:
    async with proxy(longest=12, policy=ONE_BY_ONE, script=[{"times": 2}, {"hang": True}]) as running:
        where = running.sidecar.url + "/v1/recognize"
        async with running.session.post(where, data=wav(SHORT_TALK), params={"stream": "true"}) as answering:
            told = b""
            while told.count(b"event: segment") < 2:
                told += await answering.content.readany()
            await running.vendor.script.arrived()  # the third call, which never ends by itself
        await running.vendor.script.idle()
        answer = await running.ask(wav(SHORT_TALK))
    assert [segment.get("cached", False) for segment in answer["segments"]] == [True, True, False, False, False]


def cue_times(text: str) -> list[tuple[float, float]]:
    def seconds(clock: str) -> float:
        hours, minutes, rest = clock.replace(",", ".").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(rest)

    stamps = re.findall(r"^([\d:.,]+) --> ([\d:.,]+)$", text, re.MULTILINE)
    return [(seconds(start), seconds(end)) for start, end in stamps]


@pytest.mark.parametrize("form", ["srt", "vtt"])
@pytest.mark.parametrize("words", ["true", "false"])
async def test_subtitles_of_a_long_recording_hold_all_of_it_in_cues_to_read(proxy: Start, form: str, words: str) -> None:
    breathless = tones.dictation(100, seed=8, pauses=None)
    async with proxy(longest=12) as running:
        text = await running.ask(wav(breathless), response_format=form, words=words)
    times = cue_times(text)
    assert all(start < end <= start + 7.001 for start, end in times)
    assert all(before[1] <= after[0] for before, after in pairwise(times))
    shown = "".join(line for line in text.splitlines() if line and not re.match(r"\d|WEBVTT", line))
    assert shown == breathless.text
