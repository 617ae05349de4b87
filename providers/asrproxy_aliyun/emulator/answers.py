"""What the cloud hears in a piece of sound: tones of the test alphabet, real speech through another provider, or a fixed text."""

from __future__ import annotations

import asyncio
import hashlib
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final, Protocol

from asrproxy.plugin import AudioFormat, Context, Host, NotReady, Options, Provider, ProviderError, Utterance

from .audio import Sound
from .codes import SERVER_ERROR, NlsFailure

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library's; from Python 3.13 on it is audioop-lts
    from audioop import ratecv

_REMEMBERED: Final = 1024
_PROVIDER_TIMEOUT: Final = 120.0


@dataclass(frozen=True, slots=True)
class HeardWord:
    """start, end: seconds from the beginning of the sound."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said; words where they are known."""

    text: str
    words: tuple[HeardWord, ...] = ()


class Answers(Protocol):
    """interval: seconds of audio between two intermediate results, by what one costs."""

    interval: float

    async def start(self) -> None: ...

    async def heard(self, sound: Sound) -> Heard: ...

    async def aclose(self) -> None: ...


def answers_of(text: str) -> Answers:
    """`tones`, `text:…` or the name of an installed provider type such as `local`. Raises ValueError: none has that name."""
    if text == "tones":
        return Remembered(ToneAnswers())
    if text.startswith("text:"):
        return FixedAnswers(text.removeprefix("text:"))
    points = list(entry_points(group="asrproxy.providers", name=text))
    if len(points) != 1:
        raise ValueError(f"answers {text!r}: expected tones, text:WORDS or an installed provider type such as local")
    found = points[0].load()
    return Remembered(ProviderAnswers(found(found.Settings(), Host(name="emulator"))))


class ToneAnswers:
    """Reads the tone alphabet: lost, doubled or cut audio shows in the text. Silence is an empty text."""

    interval = 0.2

    async def start(self) -> None:
        from asrproxy.testing import tones

        await asyncio.to_thread(tones.decode, bytes(320), 16_000)  # numpy, where there is one, is loaded before the first call, not in it

    async def heard(self, sound: Sound) -> Heard:
        return await asyncio.to_thread(self._decoded, sound)

    def _decoded(self, sound: Sound) -> Heard:
        from asrproxy.testing import tones

        symbols = tones.decode(sound.samples, sound.sample_rate)
        words = tuple(HeardWord(each.text, each.start, each.end) for each in tones.words_of(symbols))
        return Heard(tones.text_of(symbols), words)

    async def aclose(self) -> None:
        """Nothing was opened."""


class FixedAnswers:
    """The same words whatever is sent, spread evenly over the sound."""

    interval = 0.5

    def __init__(self, text: str) -> None:
        self._text = text

    async def start(self) -> None:
        """Nothing to open."""

    async def heard(self, sound: Sound) -> Heard:
        pieces = self._text.split() if " " in self._text.strip() else list(self._text)
        step = sound.seconds / max(1, len(pieces))
        return Heard(self._text, tuple(HeardWord(each, at * step, (at + 1) * step) for at, each in enumerate(pieces)))

    async def aclose(self) -> None:
        """Nothing was opened."""


class ProviderAnswers:
    """Real speech through a provider that needs no network."""

    interval = 2.0

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def start(self) -> None:
        await self._provider.start()

    async def heard(self, sound: Sound) -> Heard:
        capabilities = self._provider.capabilities
        wanted = next((each for each in capabilities.formats if each.sample_rate == sound.sample_rate), capabilities.formats[0])
        samples = sound.samples if wanted.sample_rate == sound.sample_rate else _resampled(sound, wanted.sample_rate)
        utterance = Utterance(samples, AudioFormat(wanted.sample_rate))
        deadline = asyncio.get_running_loop().time() + _PROVIDER_TIMEOUT
        context = Context(request_id="emulator", deadline=deadline, options=Options(words=capabilities.words))
        try:
            async with asyncio.timeout_at(deadline):
                return await self._once_ready(utterance, context)
        except (ProviderError, TimeoutError) as error:
            raise NlsFailure(SERVER_ERROR, f"Gateway:GRPC_ERROR:{error}") from error

    async def _once_ready(self, utterance: Utterance, context: Context) -> Heard:
        while True:
            try:
                recognition = await self._provider.recognize(utterance, context)
            except NotReady:
                await asyncio.sleep(0.1)  # a provider says whether it is ready, not when; the caller's deadline ends this
            else:
                return Heard(recognition.text, tuple(HeardWord(each.text, each.start, each.end) for each in recognition.words or ()))

    async def aclose(self) -> None:
        await self._provider.aclose()


class Remembered:
    """The same sound is listened to once, also when it comes many times at once: a benchmark must not measure our ears."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.interval = answers.interval
        self._known: OrderedDict[bytes, asyncio.Task[Heard]] = OrderedDict()

    async def start(self) -> None:
        await self._answers.start()

    async def heard(self, sound: Sound) -> Heard:
        key = hashlib.blake2b(sound.samples, digest_size=16, salt=str(sound.sample_rate).encode()).digest()
        task = self._known.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._known[key] = asyncio.create_task(self._answers.heard(sound))
            self._forget()
        self._known.move_to_end(key)
        return await asyncio.shield(task)  # a caller who hangs up must not take the answer from the others

    def _forget(self) -> None:
        for key in list(self._known)[: max(0, len(self._known) - _REMEMBERED)]:
            if self._known[key].done():
                del self._known[key]

    async def aclose(self) -> None:
        for task in self._known.values():
            task.cancel()
        await asyncio.gather(*self._known.values(), return_exceptions=True)
        self._known.clear()
        await self._answers.aclose()


def _resampled(sound: Sound, sample_rate: int) -> bytes:
    """By straight lines between samples: enough for speech that comes at 8 kHz."""
    resampled: bytes = ratecv(sound.samples, 2, 1, sound.sample_rate, sample_rate, None)[0]
    return resampled
