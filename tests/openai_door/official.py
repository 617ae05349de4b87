"""OpenAI's Python client in both its forms, behind one shape for the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import openai

from tests.openai_door.recordings import WAV


class Official(Protocol):
    """What the tests do with either form; `create` and `retrieve` take what the client's own methods take."""

    async def create(self, **options: Any) -> Any: ...
    async def events(self, **options: Any) -> list[Any]: ...
    async def models(self) -> list[str]: ...
    async def model(self, name: str) -> Any: ...


class Sync:
    """`openai.OpenAI`, in a thread."""

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client

    async def create(self, **options: Any) -> Any:
        return await asyncio.to_thread(self._client.audio.transcriptions.create, **filled(options))

    async def events(self, **options: Any) -> list[Any]:
        return await asyncio.to_thread(lambda: list(self._client.audio.transcriptions.create(**filled(options), stream=True)))

    async def models(self) -> list[str]:
        return await asyncio.to_thread(lambda: [each.id for each in self._client.models.list()])

    async def model(self, name: str) -> Any:
        return await asyncio.to_thread(self._client.models.retrieve, name)


class Async:
    """`openai.AsyncOpenAI`."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def create(self, **options: Any) -> Any:
        return await self._client.audio.transcriptions.create(**filled(options))

    async def events(self, **options: Any) -> list[Any]:
        return [each async for each in await self._client.audio.transcriptions.create(**filled(options), stream=True)]

    async def models(self) -> list[str]:
        return [each.id async for each in self._client.models.list()]

    async def model(self, name: str) -> Any:
        return await self._client.models.retrieve(name)


def filled(options: dict[str, Any]) -> dict[str, Any]:
    return {"model": "whisper-1", "file": ("speech.wav", WAV)} | options


@asynccontextmanager
async def official(form: str, url: str, **options: Any) -> AsyncIterator[Official]:
    """`sync` or `async`, with only its base URL changed. Does not repeat a request unless told."""
    options = {"api_key": "unused", "max_retries": 0} | options
    if form == "async":
        async with openai.AsyncOpenAI(base_url=url, **options) as client:
            yield Async(client)
    else:
        with openai.OpenAI(base_url=url, **options) as blocking:
            yield Sync(blocking)
