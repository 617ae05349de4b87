"""The provider `fake`: answers with the tone alphabet's symbols that it hears, and fails as its script says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import ClassVar, Final

from asrproxy.plugin import (
    AudioFormat,
    Capabilities,
    ConfigError,
    Context,
    Host,
    Provider,
    ProviderSettings,
    Recognition,
    Rejected,
    StreamEvent,
    Throttled,
    UnsupportedParameter,
    Utterance,
    Word,
)
from asrproxy.testing.tones import CHARACTERS, Symbol, decode, text_of, words_of
from asrproxy_fake.listening import Listening
from asrproxy_fake.script import Fate, Script, WatchedFile
from asrproxy_fake.settings import ClaimedCapabilities, FakeSettings

_SENTENCE: Final = 0.8  # s of silence that end one
_LONG: Final = 2.0  # s; above it, decoding takes long enough to be felt on the event loop
Witness = Callable[[Utterance, Context], None]
"""Sees each call that arrives, whatever becomes of it; of a live stream, all of its audio once it has ended."""
_MARKS: Final = {True: ("，", "。"), False: (",", ".")}


class FakeProvider(Provider):
    """Hears the tone alphabet of `asrproxy.testing.tones`; `script` is how a test in the same process makes it fail."""

    Settings: ClassVar[type[ProviderSettings]] = FakeSettings
    summary = "for tests: hears the tone alphabet of asrproxy.testing, fails as its script says"
    capabilities: Capabilities = ClaimedCapabilities().claimed()

    def __init__(self, settings: FakeSettings, host: Host) -> None:
        super().__init__(settings, host)
        self.capabilities = settings.capabilities.claimed()
        self.script = Script(settings, clock=time.monotonic, chance=Random(settings.seed))
        self.witness: Witness | None = None
        self._file: WatchedFile | None = None
        self._settings = settings

    async def start(self) -> None:
        self.script.behave(self._settings)
        if self._settings.script_file:
            self._file = WatchedFile(self._settings.script_file)
            await self._read(self._file)

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        self._refuse_what_is_not_claimed(context)
        most = max(self.capabilities.longest, self.capabilities.whole or 0.0)
        if utterance.duration > most + 0.001:
            raise Rejected(f"an utterance of {utterance.duration:.2f} s is longer than the {most:g} s that it takes")
        self._refuse_format(utterance.format)
        await self._look_at_file()
        self._refuse_crowd()
        if self.witness:
            self.witness(utterance, context)
        async with self.script.call() as fate:
            recognition = _answer(symbols := await _heard(utterance), fate, context, self.script.unheard)
            if utterance.duration > self.capabilities.longest and fate.text is None:
                recognition = replace(recognition, sentences=_sentences(symbols[: int(len(symbols) * fate.kept)]))
            return recognition

    async def stream(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> AsyncIterator[StreamEvent]:
        if not self.capabilities.streaming:
            raise UnsupportedParameter(f"provider {self.host.name!r} has no streaming", param="stream")
        self._refuse_what_is_not_claimed(context)
        self._refuse_format(format)
        await self._look_at_file()
        self._refuse_crowd()
        heard = bytearray()
        try:
            async with self.script.call():
                listening = Listening(format.sample_rate, words=context.options.words)
                async for piece in audio:
                    if self.witness:
                        heard += piece
                    for event in listening.hear(piece):
                        yield event
                for event in listening.end():
                    yield event
        finally:
            if self.witness:
                self.witness(Utterance(bytes(heard), format), context)

    def status(self) -> Mapping[str, object]:
        return {"calls": self.script.calls, "in_flight": self.script.in_flight, "steps_left": self.script.steps_left}

    def _refuse_what_is_not_claimed(self, context: Context) -> None:
        for name in context.options.asked():
            if name not in self.capabilities.options:
                raise UnsupportedParameter(f"provider {self.host.name!r} has no {name}", param=name)
        if not self.capabilities.speaks(context.options.language):
            raise UnsupportedParameter(f"provider {self.host.name!r} does not recognise {context.options.language}", param="language")

    def _refuse_format(self, format: AudioFormat) -> None:
        if format not in self.capabilities.formats:
            raise Rejected(f"{format.sample_rate} Hz with {format.channels} channels is not among the formats that it takes")

    def _refuse_crowd(self) -> None:
        most = self.capabilities.concurrency
        if most is not None and self.script.in_flight >= most:
            raise Throttled(f"more than {most} calls at once")

    async def _look_at_file(self) -> None:
        if self._file:
            try:
                await self._read(self._file)
            except ConfigError as error:
                raise Rejected(str(error)) from error

    async def _read(self, file: WatchedFile) -> None:
        if behaviour := await asyncio.to_thread(file.changed):
            self.script.behave(behaviour)


async def _heard(utterance: Utterance) -> Sequence[Symbol]:
    if utterance.duration > _LONG:
        return await asyncio.to_thread(decode, utterance.pcm, utterance.format.sample_rate)
    return decode(utterance.pcm, utterance.format.sample_rate)


def _answer(symbols: Sequence[Symbol], fate: Fate, context: Context, unheard: str) -> Recognition:
    if fate.text is not None or not symbols:
        text = unheard if fate.text is None else fate.text
        return Recognition(_kept(text, fate), words=() if context.options.words else None, language=context.options.language)
    symbols = symbols[: int(len(symbols) * fate.kept)]
    return Recognition(
        _punctuated(symbols) if context.options.punctuation else text_of(symbols),
        words=tuple(Word(each.text, each.start, each.end) for each in words_of(symbols)) if context.options.words else None,
        language=context.options.language or _language(symbols),
    )


def _sentences(symbols: Sequence[Symbol]) -> tuple[Word, ...]:
    """What lies between two pauses of `_SENTENCE` seconds."""
    edges = [place for place in range(1, len(symbols)) if symbols[place].start - symbols[place - 1].end >= _SENTENCE]
    each = [symbols[first:last] for first, last in pairwise([0, *edges, len(symbols)])]
    return tuple(Word(text_of(said), said[0].start, said[-1].end) for said in each if said)


def _kept(text: str, fate: Fate) -> str:
    return text[: int(len(text) * fate.kept)]


def _language(symbols: Sequence[Symbol]) -> str | None:
    if not symbols:
        return None
    return "zh-CN" if any(each.text in CHARACTERS for each in symbols) else "en-US"


def _punctuated(symbols: Sequence[Symbol], pause: float = 0.25) -> str:
    """A comma at each pause and a full stop at the end, as the script of the neighbouring symbol writes them."""
    text = ""
    phrase: list[Symbol] = []
    for each, following in zip(symbols, (*symbols[1:], None), strict=True):
        phrase.append(each)
        if following is None or following.start - each.end >= pause:
            comma, stop = _MARKS[each.text in CHARACTERS]
            text += text_of(phrase) + (comma if following else stop)
            text += " " if following and comma == "," else ""
            phrase = []
    return text
