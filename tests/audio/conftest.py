"""Pools of decoders, one of each kind for a module's tests."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

import pytest
import pytest_asyncio

from asrproxy.audio.decode import Block, Decoders, RawFormat
from asrproxy.audio.spool import Spool
from asrproxy.model import AudioFormat

MIB = 2**20


def pool(decoder: Any = "av", **settings: Any) -> Decoders:
    if decoder == "pydub" and shutil.which("ffmpeg") is None:
        pytest.skip("the ffmpeg program is not installed")
    return Decoders(decoder=decoder, **{"workers": 1, "idle": 30.0, "timeout": 20.0, "memory": 512 * MIB} | settings)


@pytest_asyncio.fixture(params=["av", "pydub"], scope="module", loop_scope="module")
async def decoders(request: pytest.FixtureRequest) -> AsyncIterator[Decoders]:
    made = pool(request.param)
    yield made
    await made.aclose()


@pytest.fixture
def make_pool() -> Callable[..., Decoders]:
    return pool


async def decoded(
    decoders: Decoders, data: bytes, rate: int = 16_000, *, raw: RawFormat | None = None, whole: float = 60.0, longest: float = inf
) -> list[Block]:
    """All blocks of a body that is there."""
    body = Spool.of(data)
    try:
        async with decoders.decode(body, AudioFormat(rate), raw=raw, whole=whole, longest=longest) as blocks:
            return [block async for block in blocks]
    finally:
        body.close()


@pytest.fixture
def decode() -> Callable[..., Any]:
    return decoded
