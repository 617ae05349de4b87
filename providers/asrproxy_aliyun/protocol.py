"""The message flow of one NLS task over a WebSocket, as a state machine that moves no bytes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from asrproxy.plugin import Garbled, ProviderError, Word
from asrproxy_aliyun.status import NO_SPEECH, SUCCESS, error_of_status


class Namespace(StrEnum):
    """RECOGNIZER: one sentence of up to 60 s. TRANSCRIBER: any length, sentence by sentence, with word times."""

    RECOGNIZER = "SpeechRecognizer"
    TRANSCRIBER = "SpeechTranscriber"


class State(StrEnum):
    """Where a task stands."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Started:
    """Audio may be sent."""


@dataclass(frozen=True, slots=True)
class Began:
    """A sentence began. Times here and below are seconds of the audio sent in this task; index counts from 0."""

    index: int
    start: float


@dataclass(frozen=True, slots=True)
class Changed:
    """What the current sentence looks like so far."""

    index: int
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A sentence is final."""

    index: int
    start: float
    end: float
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The task is over and the connection may be closed. text: of a RECOGNIZER task; a TRANSCRIBER's are in its sentences."""

    text: str


Happening: TypeAlias = Started | Began | Changed | Finished | Ended

_VERBS: Final = {Namespace.RECOGNIZER: "Recognition", Namespace.TRANSCRIBER: "Transcription"}
_CONTEXT: Final = {"sdk": {"name": "asrproxy", "version": "1", "language": "python"}}


def _new_id() -> str:
    return uuid.uuid4().hex


class Task:
    """One task. `begin` and `stop` give frames to send, `feed` takes frames that came and says what they mean.

    task_id: ours; None where another client makes it (the vendor's SDK): then the first event's is taken. A frame that is not of this
    protocol, or of another task, raises Garbled; a failed task raises its typed error. Both end the task.
    """

    def __init__(
        self, namespace: Namespace, appkey: str, payload: dict[str, Any], *, task_id: str | None = None, new_id: Callable[[], str] = _new_id
    ) -> None:
        self.namespace = namespace
        self.task_id = task_id
        self.state = State.NEW
        self._appkey = appkey
        self.payload = payload
        self._new_id = new_id

    def begin(self) -> str:
        """The frame that starts the task."""
        self._go(State.NEW, State.STARTING)
        if self.task_id is None:
            self.task_id = self._new_id()
        return json.dumps({"header": self._header("Start"), "payload": self.payload, "context": _CONTEXT})

    def stop(self) -> str:
        """The frame after the last audio."""
        self._go(State.RUNNING, State.STOPPING)
        return json.dumps({"header": self._header("Stop"), "context": _CONTEXT})

    def feed(self, frame: str) -> Happening | None:
        """What an event means; None: nothing to do for it."""
        try:
            return self._take(frame)
        except ProviderError:
            self.state = State.ENDED
            raise

    def _take(self, frame: str) -> Happening | None:
        header, payload = _opened(frame)
        name, code = header.get("name"), header.get("status", SUCCESS)
        if not isinstance(name, str) or not isinstance(code, int):
            raise Garbled("NLS sent an event without a name or a status")
        self._own(header.get("task_id"), failed=name == "TaskFailed")
        if name == "TaskFailed" or code != SUCCESS:
            return self._failed(code, str(header.get("status_text") or header.get("status_message") or ""))
        try:
            return self._meaning(name, payload)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Garbled(f"NLS sent a {name} without what belongs into it") from error

    def _meaning(self, name: str, payload: dict[str, Any]) -> Happening | None:
        verb = _VERBS[self.namespace]
        if name == f"{verb}Started":
            self.state = State.RUNNING
            return Started()
        if name == f"{verb}Completed":
            self.state = State.ENDED
            text = payload.get("result") or ""
            if not isinstance(text, str):
                raise TypeError(type(text).__name__)
            return Ended(text)
        if name == f"{verb}ResultChanged":
            return Changed(_index(payload), _seconds(payload.get("time") or payload.get("duration") or 0), str(payload["result"]))
        if name == "SentenceBegin":
            return Began(_index(payload), _seconds(payload.get("time") or 0))
        if name == "SentenceEnd":
            end = _seconds(payload["time"])
            return Finished(
                _index(payload), min(_seconds(payload.get("begin_time") or 0), end), end, str(payload.get("result") or ""), _words(payload)
            )
        return None  # an event that is newer than this

    def _failed(self, code: int, message: str) -> Ended:
        if code in NO_SPEECH:
            self.state = State.ENDED
            return Ended("")
        # A failure that says success contradicts itself.
        error = (
            error_of_status(code, message) if code != SUCCESS else Garbled("NLS failed a task with the status of success", vendor_code=code)
        )
        error.vendor_id = self.task_id
        raise error

    def _own(self, task_id: object, *, failed: bool) -> None:
        if failed and not task_id:
            return
        if self.task_id is None and isinstance(task_id, str):
            self.task_id = task_id
        if task_id != self.task_id:
            raise Garbled("NLS sent an event of another task")

    def _header(self, what: str) -> dict[str, Any]:
        return {
            "message_id": self._new_id(),
            "task_id": self.task_id,
            "namespace": self.namespace.value,
            "name": f"{what}{_VERBS[self.namespace]}",
            "appkey": self._appkey,
        }

    def _go(self, before: State, after: State) -> None:
        if self.state is not before:
            raise RuntimeError(f"a task that is {self.state} cannot be {after}")
        self.state = after


def _opened(frame: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        message = json.loads(frame)
        header, payload = message["header"], message.get("payload") or {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Garbled("NLS sent a frame that is not an event") from error
    if not isinstance(header, dict) or not isinstance(payload, dict):
        raise Garbled("NLS sent an event of an unknown shape")
    return header, payload


def _seconds(milliseconds: Any) -> float:
    return float(milliseconds) / 1000


def _index(payload: dict[str, Any]) -> int:
    return max(0, int(payload.get("index", 1)) - 1)


def _words(payload: dict[str, Any]) -> tuple[Word, ...]:
    return tuple(Word(str(word["text"]), _seconds(word["startTime"]), _seconds(word["endTime"])) for word in payload.get("words") or ())
