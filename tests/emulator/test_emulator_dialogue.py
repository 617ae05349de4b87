"""Whatever a client says in whatever order, the message flow keeps its laws."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from asrproxy.testing import tones
from asrproxy_aliyun.emulator.codes import NlsFailure
from asrproxy_aliyun.emulator.dialogue import Dialogue, Start, State
from asrproxy_aliyun.emulator.intake import Intake, Recording
from asrproxy_aliyun.emulator.sentences import Ended, SentenceFinder, sentences


def message(name: object, task_id: object, namespace: object = "SpeechTranscriber") -> str:
    return json.dumps({"header": {"name": name, "task_id": task_id, "message_id": "0" * 32, "namespace": namespace, "appkey": "a"}})


NAMES = ["StopTranscription", "StopRecognition", "ControlTranscription", "Sing", None, 3]


class Talk(RuleBasedStateMachine):
    """A client that says anything; the model knows only what must never happen."""

    def __init__(self) -> None:
        super().__init__()
        self.dialogue = Dialogue()
        self.dead = False
        self.running: str | None = None

    def say(self, raw: str) -> object:
        try:
            return self.dialogue.text(raw)
        except NlsFailure as failure:
            answer = json.loads(self.dialogue.failed(failure))
        self.dead, self.running = True, None
        assert answer["header"]["name"] == "TaskFailed"
        assert answer["header"]["status"] >= 40000000
        return None

    @rule(task=st.sampled_from("ab"), namespace=st.sampled_from(["SpeechTranscriber", "SpeechRecognizer"]))
    def start(self, task: str, namespace: str) -> None:
        was_dead, was_running = self.dead, self.running
        verb = "StartTranscription" if namespace == "SpeechTranscriber" else "StartRecognition"
        if isinstance(self.say(message(verb, task * 32, namespace)), Start):
            assert not was_dead
            assert was_running is None
            self.running = task

    @rule(task=st.sampled_from("ab"), name=st.sampled_from(NAMES))
    def something_else(self, task: str, name: object) -> None:
        was_running = self.running
        if self.say(message(name, task * 32)) is not None:
            assert was_running == task

    @rule(raw=st.one_of(st.text(), st.sampled_from(["[]", "1", "null", '{"header": 1}', '{"header": {}}'])))
    def nonsense(self, raw: str) -> None:
        assert self.say(raw) is None

    @rule()
    def audio(self) -> None:
        try:
            wanted = self.dialogue.audio()
        except NlsFailure:
            assert self.dialogue.state is State.INIT
        else:
            assert not (wanted and self.running is None)

    @rule()
    def complete(self) -> None:
        if self.dialogue.state is State.STOPPING:
            assert json.loads(self.dialogue.completed("TranscriptionCompleted"))["header"]["task_id"] == (self.running or "") * 32
            self.running = None

    @invariant()
    def a_failed_task_stays_failed(self) -> None:
        assert (self.dialogue.state is State.FAILED) == self.dead


TestTalk = Talk.TestCase
TestTalk.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)

SPEECH = tones.compose(["天地", 1.0, "玄黄", 0.4, "宇宙"]).render(8000)


@settings(deadline=None)
@given(st.lists(st.integers(1, len(SPEECH)), max_size=12))
def test_sentences_do_not_depend_on_how_the_stream_is_cut(cuts: list[int]) -> None:
    finder = SentenceFinder(8000, 0.8)
    places = [0, *sorted(cuts), len(SPEECH)]
    found = [each for start, end in pairwise(places) for each in finder.feed(SPEECH[start:end])]
    assert [each for each in found if isinstance(each, Ended)] + finder.finish() == sentences(SPEECH, 8000, 0.8)


@settings(deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12), st.sampled_from(["pcm", "wav"]))
async def test_an_intake_loses_no_sample(sizes: list[int], format: str) -> None:
    samples = bytes(range(256)) * 40
    data = tones.to_wav(samples, 8000) if format == "wav" else samples
    intake, got, at = Intake(format, 8000), b"", 0
    for size in [*sizes, len(data)]:
        got += intake.take(data[at : at + size])
        at += size
    assert got + await intake.finish() == samples


def test_what_is_not_wav_is_found_out_at_once() -> None:
    with pytest.raises(NlsFailure, match="wav"):
        Intake("wav", 8000).take(b"ID3")


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1)), max_size=10))
def test_a_recording_that_forgets_still_knows_the_places(steps: list[tuple[int, float]]) -> None:
    recording, everything, forgotten = Recording(100), b"", 0.0
    for count, share in steps:
        data = bytes((len(everything) + each) % 251 for each in range(2 * count))
        recording.append(data)
        everything += data
        forgotten = max(forgotten, round(share * recording.seconds, 2))
        recording.forget(forgotten)
        assert recording.seconds == len(everything) / 200
        assert recording.part(forgotten, recording.seconds) == everything[2 * round(forgotten * 100) :]
