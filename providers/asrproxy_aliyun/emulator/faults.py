"""What a tester makes the cloud do while it runs: be slow, fail, hold its answers, say a scripted thing, be out of service."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from .codes import NlsFailure
from .settings import EmulatorSettings


class Outage(StrEnum):
    """REFUSE: nothing listens. RESET: connections are taken and reset. SILENT: requests are taken and never answered. ERROR: HTTP 5xx."""

    NONE = "none"
    REFUSE = "refuse"
    RESET = "reset"
    SILENT = "silent"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """How the next recognition call is answered, in the order of arrival; what is None stays as it would have been.

    text: said instead of what was heard. keep: the share of the text, from its beginning, that is said. status, message: the NLS status.
    http_status, body, content_type: a whole HTTP answer as it is (a WebSocket's handshake is refused with it where `http_status` is given,
    else `body` is sent as a frame in place of the last message). cut: bytes of the answer that are sent before the connection is reset.
    task_id: put in the answer in place of the right one. reset: the connection is reset instead of an answer. silent: no answer ever
    comes. latency: seconds, in place of the configured one.
    """

    text: str | None = None
    keep: float | None = None
    status: int | None = None
    message: str | None = None
    http_status: int | None = None
    body: str | None = None
    content_type: str = "text/html"
    cut: int | None = None
    task_id: str | None = None
    reset: bool = False
    silent: bool = False
    latency: float | None = None

    def failure(self) -> NlsFailure | None:
        """The NLS failure that is scripted, if any."""
        return None if self.status is None else NlsFailure(self.status, self.message)

    def said(self, text: str) -> str:
        """What is said where `text` was heard."""
        text = text if self.text is None else self.text
        return text if self.keep is None else text[: int(len(text) * self.keep)]


NOTHING_SCRIPTED = Scripted()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedToken:
    """How the next CreateToken is answered: an error body of the vendor's form, or `body` as it is."""

    http_status: int = 503
    code: str = "ServiceUnavailable"
    message: str = "The request has failed due to a temporary failure of the server."
    body: str | None = None


class Service:
    """One of the cloud's two services, and what is wrong with it."""

    def __init__(self) -> None:
        self.outage = Outage.NONE
        self.http_status = 503
        self._over = asyncio.Event()
        self._over.set()

    def set(self, outage: Outage, http_status: int) -> None:
        self.outage, self.http_status = outage, http_status
        if outage is Outage.SILENT:
            self._over.clear()
        else:
            self._over.set()

    async def speaking(self) -> None:
        """Waits while the service is silent."""
        await self._over.wait()


class Faults:
    """Changed by the tester, read by whoever answers. failure_rate: share of recognition calls that end with `failure_status`."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self.latency = settings.latency
        self.latency_jitter = settings.latency_jitter
        self.failure_rate = settings.failure_rate
        self.failure_status = settings.failure_status
        self.gateway = Service()
        self.token = Service()
        self._random = Random(settings.seed)
        self._scripts: deque[Scripted] = deque()
        self._token_scripts: deque[ScriptedToken] = deque()
        self._released = asyncio.Event()
        self._released.set()

    def script(self, answers: Iterable[Scripted | ScriptedToken]) -> None:
        """Each is used once, in order."""
        for each in answers:
            if isinstance(each, Scripted):
                self._scripts.append(each)
            else:
                self._token_scripts.append(each)

    def clear_script(self) -> None:
        """Forgets what was not used."""
        self._scripts.clear()
        self._token_scripts.clear()

    def next_call(self) -> Scripted:
        """What is to become of the call that arrives now."""
        if self._scripts:
            return self._scripts.popleft()
        if self.failure_rate and self._random.random() < self.failure_rate:
            return Scripted(status=self.failure_status)
        return NOTHING_SCRIPTED

    def next_handshake(self) -> Scripted | None:
        """A scripted refusal of a WebSocket's handshake, if that is what comes next."""
        if self._scripts and self._scripts[0].http_status is not None:
            return self._scripts.popleft()
        return None

    def next_token(self) -> ScriptedToken | None:
        """What is to become of the CreateToken that arrives now, where it is scripted."""
        return self._token_scripts.popleft() if self._token_scripts else None

    def hold_answers(self) -> None:
        """Recognition calls are taken, and wait before their answer."""
        self._released.clear()

    def release_answers(self) -> None:
        """Those that wait are answered, and no more wait."""
        self._released.set()

    @property
    def holding(self) -> bool:
        return not self._released.is_set()

    async def before_answer(self, script: Scripted) -> None:
        """The pause that the vendor's work takes; never ends for a call that is to get no answer."""
        if script.silent:
            await asyncio.Event().wait()
        latency = self.latency if script.latency is None else script.latency
        if seconds := latency + self._random.uniform(0.0, self.latency_jitter):
            await asyncio.sleep(seconds)
        await self._released.wait()
        await self.gateway.speaking()
