"""What these tests say aloud, and a started provider of the emulated account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from asrproxy.plugin import AudioFormat, Context, Event, Options, Utterance
from asrproxy.testing import tones
from asrproxy_aliyun.provider import AliyunProvider

RATE = 16_000


def utterance_of(text: str, *, rate: int = RATE) -> Utterance:
    return Utterance(memoryview(tones.synthesize(text, rate)), AudioFormat(rate))


def context_of(**options: Any) -> Context:
    return Context("request", asyncio.get_running_loop().time() + 30, Options(**options))


@dataclass
class Made:
    """A started provider and what it announced."""

    provider: AliyunProvider
    events: list[Event]

    async def text(self, text: str = "天地玄黄", **options: Any) -> str:
        return (await self.provider.recognize(utterance_of(text), context_of(**options))).text


Make = Callable[..., Awaitable[Made]]
