"""The message flow of a task and what keeps live audio in place, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.plugin import Garbled, ProviderError, Unavailable, Word
from asrproxy_aliyun.backlog import Backlog
from asrproxy_aliyun.protocol import Began, Changed, Ended, Finished, Namespace, Started, State, Task
from asrproxy_aliyun.timeline import Timeline


def _event(task: Task, name: str, payload: dict[str, Any] | None = None, **header: Any) -> str:
    whole = {"name": name, "status": 20000000, "task_id": task.task_id, "namespace": task.namespace, **header}
    return json.dumps({"header": whole, "payload": payload})


def _transcriber() -> Task:
    task = Task(Namespace.TRANSCRIBER, "key", {"format": "pcm"})
    task.begin()
    return task


def test_a_task_says_what_the_vendor_wants_to_hear() -> None:
    task = Task(Namespace.RECOGNIZER, "key", {"format": "pcm"})
    start = json.loads(task.begin())
    assert start["payload"] == {"format": "pcm"}
    assert isinstance(task.feed(_event(task, "RecognitionStarted")), Started)
    stop = json.loads(task.stop())
    assert "payload" not in stop
    for message, name in ((start, "StartRecognition"), (stop, "StopRecognition")):
        header = message["header"]
        assert (header["namespace"], header["name"], header["appkey"]) == ("SpeechRecognizer", name, "key")
        assert len(header["message_id"]) == len(header["task_id"]) == 32
    assert start["header"]["task_id"] == stop["header"]["task_id"]
    assert start["header"]["message_id"] != stop["header"]["message_id"]
    assert task.feed(_event(task, "RecognitionCompleted", {"result": "天地"})) == Ended("天地")


def test_sentences_come_in_seconds() -> None:
    task = _transcriber()
    task.feed(_event(task, "TranscriptionStarted"))
    assert task.feed(_event(task, "SentenceBegin", {"index": 2, "time": 1500})) == Began(1, 1.5)
    assert task.feed(_event(task, "TranscriptionResultChanged", {"index": 2, "time": 1800, "result": "天"})) == Changed(1, 1.8, "天")
    words = [{"text": "天", "startTime": 1500, "endTime": "1620"}]
    ended = {"index": 2, "time": 2000, "begin_time": 1500, "result": "天。", "words": words}
    assert task.feed(_event(task, "SentenceEnd", ended)) == Finished(1, 1.5, 2.0, "天。", (Word("天", 1.5, 1.62),))
    assert task.feed(_event(task, "SomethingNew", {})) is None
    assert task.feed(_event(task, "TranscriptionCompleted")) == Ended("")
    assert task.state is State.ENDED


def test_stopping_before_the_start_is_our_own_defect() -> None:
    with pytest.raises(RuntimeError):
        _transcriber().stop()


def test_a_failure_that_names_no_task_is_ours() -> None:
    task = _transcriber()
    with pytest.raises(Unavailable) as caught:
        task.feed(_event(task, "TaskFailed", status=40000004, status_text="Gateway:IDLE_TIMEOUT:", task_id="", namespace="Default"))
    assert caught.value.vendor_code == 40000004


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner), max_leaves=6)
NAMES = st.sampled_from(
    ["TranscriptionStarted", "SentenceBegin", "SentenceEnd", "TranscriptionResultChanged", "TranscriptionCompleted", "TaskFailed", "New"]
)


@settings(deadline=None)
@given(st.text(max_size=30) | JSON.map(json.dumps))
def test_anything_that_is_no_event_is_garbled(frame: str) -> None:
    with pytest.raises(Garbled):
        _transcriber().feed(frame)


@settings(deadline=None)
@given(NAMES, st.dictionaries(st.sampled_from(["index", "time", "begin_time", "result", "words"]), JSON), JSON)
def test_no_payload_breaks_the_flow(name: str, payload: dict[str, Any], status: Any) -> None:
    task = _transcriber()
    for each in (20000000, status):
        try:
            task.feed(_event(task, name, payload, status=each))
        except ProviderError:
            assert task.state is State.ENDED


@settings(deadline=None)
@given(st.floats(0, 1e4), st.lists(st.tuples(st.floats(0.01, 60), st.floats(0.01, 1))), st.floats(0, 1))
def test_times_of_the_stream_are_found_again(start: float, pieces: list[tuple[float, float]], share: float) -> None:
    """Each piece of audio is followed by a filled silence; a moment within a piece is mapped to where the caller had it."""
    timeline, vendor, stream = Timeline(start), 0.0, start
    for audio, silence in pieces:
        timeline.filled(vendor + audio, silence)
        vendor, stream = vendor + audio + silence, stream + audio
    vendor = 0.0
    stream = start
    for audio, silence in pieces:
        assert timeline(vendor + share * audio) == pytest.approx(stream + share * audio, abs=1e-6)
        assert timeline(vendor + audio + share * silence) == pytest.approx(stream + audio, abs=1e-6)
        vendor, stream = vendor + audio + silence, stream + audio


async def _from(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=30), st.lists(st.tuples(st.integers(2, 40), st.floats(0, 1)), max_size=12))
def test_what_was_not_settled_is_given_again_and_nothing_else(pieces: list[bytes], tasks: list[tuple[int, float]]) -> None:
    """Each task takes some pieces and settles up to a share of what it was given; then the next begins from there."""
    whole = b"".join(pieces)
    whole = whole[: len(whole) // 2 * 2]

    async def run() -> None:
        backlog = Backlog(2000)
        filling = asyncio.create_task(backlog.fill(_from(pieces)))
        for size, share in [*tasks, (1000, 1.0)]:
            begin = round(backlog.rewind() * 2000)
            given_out = bytearray()
            while not backlog.exhausted and (piece := await backlog.take(size, 1.0)):
                given_out += piece
            assert bytes(given_out) == whole[begin:]
            settled = begin + int(len(given_out) * share)
            backlog.settled(settled / 2000)
            assert round(backlog.rewind() * 2000) in (settled // 2 * 2, max(begin, settled // 2 * 2 - 2))
        await filling

    asyncio.run(run())


async def test_a_caller_is_not_read_further_ahead_than_ten_seconds() -> None:
    backlog, read = Backlog(100), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 100
            yield bytes(100)

    filling = asyncio.create_task(backlog.fill(endless()))
    for taken in range(1, 30):
        assert await backlog.take(100, 1.0) == bytes(100)
        assert read <= 100 * (taken + 11)
        backlog.given(speaking=False)
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)
