"""A sidecar with one fake provider, what is sent to it, and what its caller may expect of the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from aiohttp import ClientSession

from asrproxy.api.sidecar import Sidecar
from asrproxy.config.load import loads
from asrproxy.config.models import Configuration
from asrproxy.discovery import provider_type
from asrproxy.events import Event
from asrproxy.testing import tones
from asrproxy.testing.tones import Score

CLOSE = 0.02  # seconds that a word's time may be off
TALK = tones.dictation(300, seed=4)
SHORT_TALK = tones.dictation(50, seed=5)  # five segments of 12 s


@dataclass
class Proxy:
    """A running sidecar with one fake provider, and what its caller sees."""

    sidecar: Sidecar
    session: ClientSession
    events: list[Event]

    @property
    def vendor(self) -> Any:
        return self.sidecar.runtime.current.opened["tones"].provider

    @property
    def calls(self) -> int:
        return int(self.vendor.script.calls)

    async def ask(self, body: Any, *, status: int = 200, request_id: str = "", **parameters: str) -> Any:
        headers = {"X-Request-Id": request_id} if request_id else {}
        async with self.session.post(self.sidecar.url + "/v1/recognize", data=body, params=parameters, headers=headers) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else await answer.text()

    async def queued(self, traffic: str) -> int:
        async with self.session.get(self.sidecar.url + "/v1/status") as answer:
            return int((await answer.json())["providers"]["tones"]["limiter"]["queued"][traffic])


Start = Callable[..., AbstractAsyncContextManager[Proxy]]


def configured(*, longest: float = 60, whole: float | None = None, policy: dict[str, Any] | None = None, **fake: Any) -> Configuration:
    written = {
        "server": {"listen": ["127.0.0.1:0"], "ops_listen": ["127.0.0.1:0"]},
        "providers": {"tones": {"type": "fake", "capabilities": {"longest": longest, "whole": whole}, **fake}},
        "policy": policy or {},
    }
    return loads(json.dumps(written), "test.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)


ONE_BY_ONE = {"long_audio": {"concurrency": 1}, "retries": {"attempts": 1}}


@lru_cache
def wav(score: Score, rate: int = 16_000) -> bytes:
    return tones.to_wav(score.render(rate), rate)


def words_are_those_of(score: Score, segments: Sequence[Any], close: float = CLOSE) -> None:
    """Every symbol once, in order, when it sounds."""
    words = [word for segment in segments for word in segment["words"]]
    assert "".join(word["text"] for word in words) == "".join(symbol.text for symbol in score.symbols)
    for word, symbol in zip(words, score.symbols, strict=True):
        assert abs(word["start"] - symbol.start) <= close, (word, symbol)
        assert abs(word["end"] - symbol.end) <= close, (word, symbol)


def in_order(answer: Any) -> None:
    """Segments follow each other in time and by number, none reaches into the next."""
    segments = answer["segments"]
    assert [segment["index"] for segment in segments] == list(range(len(segments)))
    assert all(segment["start"] < segment["end"] for segment in segments)
    assert all(before["end"] <= after["start"] for before, after in pairwise(segments))
    assert segments[-1]["end"] <= answer["duration"] + 0.001


def events_of(stream: str) -> list[tuple[str, Any]]:
    return [(name, json.loads(data)) for name, data in re.findall(r"^event: (\w+)\ndata: (.*)$", stream, re.MULTILINE)]
