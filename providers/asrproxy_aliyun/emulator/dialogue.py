"""The message flow of one WebSocket connection: a pure state machine, text in and text out."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from .codes import DIRECTIVE_INVALID, MESSAGE_INVALID, PATH_ILLEGAL, SUCCESS, TASK_STATE, NlsFailure
from .ledger import Kind

_ID: Final = re.compile(r"[0-9a-fA-F]{32}")


class State(StrEnum):
    """Of the task that the connection is at."""

    INIT = "INIT"
    STARTED = "STARTED"
    STOPPING = "STOPPING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Namespace:
    """The names of one kind of task. controls: with which its options are changed on the way."""

    name: str
    kind: Kind
    start: str
    stop: str
    controls: tuple[str, ...]
    started: str
    completed: str


NAMESPACES: Final[Mapping[str, Namespace]] = MappingProxyType(
    {
        each.name: each
        for each in (
            Namespace(
                "SpeechRecognizer", Kind.RECOGNIZER, "StartRecognition", "StopRecognition", (),
                "RecognitionStarted", "RecognitionCompleted",
            ),
            Namespace(
                "SpeechTranscriber", Kind.TRANSCRIBER, "StartTranscription", "StopTranscription",
                # The page and the Node client write the first, the Python client 1.0.2 the second.
                ("ControlTranscription", "ControlTranscriber"),
                "TranscriptionStarted", "TranscriptionCompleted",
            ),
        )
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Start:
    """A task begins."""

    task_id: str
    namespace: Namespace
    appkey: object
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Stop:
    """All audio has been sent."""


@dataclass(frozen=True, slots=True)
class Control:
    """Options that change from here on."""

    options: Mapping[str, object]


class Dialogue:
    """What the client may say next, and how the server writes what it says.

    INIT or COMPLETED --start--> STARTED --stop--> STOPPING --completed--> COMPLETED; anything out of turn fails the task, for good.
    """

    def __init__(self) -> None:
        self.state = State.INIT
        self._task_id = ""
        self._namespace = "Default"

    def text(self, raw: str) -> Start | Stop | Control:
        """A text frame of the client's. Raises NlsFailure: it is malformed or out of turn."""
        header, payload = _parsed(raw)
        if self.state is State.FAILED:
            raise self._out_of_turn()
        task_id = _checked_id(header, "task")
        _checked_id(header, "message")
        namespace = NAMESPACES.get(str(header.get("namespace")))
        if namespace is None:
            raise NlsFailure(PATH_ILLEGAL, f"Gateway:NAMESPACE_NOT_FOUND:{header.get('namespace')}")
        name = header.get("name")
        if name == namespace.start:
            return self._start(Start(task_id, namespace, header.get("appkey"), payload))
        if name != namespace.stop and name not in namespace.controls:
            raise NlsFailure(DIRECTIVE_INVALID, f"Gateway:DIRECTIVE_INVALID:[{name}]")
        if self.state is State.STOPPING and name == namespace.stop:
            raise NlsFailure(TASK_STATE)
        if self.state is not State.STARTED or namespace.name != self._namespace:
            raise self._out_of_turn()
        if task_id != self._task_id:
            raise NlsFailure(MESSAGE_INVALID, f"Gateway:MESSAGE_INVALID:Invalid task id '{task_id}'!")
        if name != namespace.stop:
            return Control(payload)
        self.state = State.STOPPING
        return Stop()

    def audio(self) -> bool:
        """A binary frame: whether it is to be listened to. Raises NlsFailure: there is no task for it."""
        if self.state is State.INIT:
            raise self._out_of_turn()
        return self.state is State.STARTED

    def event(self, name: str, payload: Mapping[str, object] | None = None) -> str:
        """A message of the server's on the task under way."""
        return self._written(name, SUCCESS, "Gateway:SUCCESS:Success.", payload)

    def completed(self, name: str, payload: Mapping[str, object] | None = None) -> str:
        """The last message of a task that went well."""
        self.state = State.COMPLETED
        return self.event(name, payload)

    def failed(self, failure: NlsFailure) -> str:
        """The last message of a task, and the end of what this connection is good for."""
        self.state = State.FAILED
        return self._written("TaskFailed", failure.status, failure.text, None)

    def _start(self, start: Start) -> Start:
        if self.state not in (State.INIT, State.COMPLETED):
            raise self._out_of_turn()
        self.state, self._task_id, self._namespace = State.STARTED, start.task_id, start.namespace.name
        return start

    def _written(self, name: str, status: int, text: str, payload: Mapping[str, object] | None) -> str:
        header = {
            "namespace": self._namespace if name != "TaskFailed" else "Default",
            "name": name,
            "status": status,
            "message_id": uuid.uuid4().hex,
            "task_id": self._task_id,
            "status_text": text,
        }
        return json.dumps({"header": header} if payload is None else {"header": header, "payload": payload}, ensure_ascii=False)

    def _out_of_turn(self) -> NlsFailure:
        return NlsFailure(MESSAGE_INVALID, f"Gateway:MESSAGE_INVALID:Can't process message in state'{self.state}'!")


def _parsed(raw: str) -> tuple[dict[str, object], dict[str, object]]:
    try:
        message = json.loads(raw)
    except ValueError:
        raise NlsFailure(MESSAGE_INVALID, "Gateway:MESSAGE_INVALID:Message is not JSON!") from None
    header = message.get("header") if isinstance(message, dict) else None
    if not isinstance(header, dict):
        raise NlsFailure(MESSAGE_INVALID, "Gateway:MESSAGE_INVALID:Message has no header!")
    payload = message.get("payload")
    return header, payload if isinstance(payload, dict) else {}


def _checked_id(header: Mapping[str, object], which: str) -> str:
    found = header.get(f"{which}_id")
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise NlsFailure(MESSAGE_INVALID, f"Gateway:MESSAGE_INVALID:Invalid {which} id '{'null' if found is None else found}'!")
    return found
