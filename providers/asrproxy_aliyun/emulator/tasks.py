"""What the two kinds of WebSocket task say about the audio they are given; knows no socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from .answers import Answers, Heard
from .audio import Sound
from .codes import PARAMETER_INVALID, NlsFailure
from .faults import Scripted
from .intake import Intake, Recording
from .sentences import Begun, Ended, SentenceFinder

_SILENCE_MS = 800
_SILENCE_RANGE_MS = (200, 6000)


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the server's: its name and payload."""

    name: str
    payload: Mapping[str, object]


class Task(Protocol):
    """seconds: of audio taken in. text: what has been said so far."""

    @property
    def seconds(self) -> float: ...

    @property
    def text(self) -> str: ...

    def control(self, options: Mapping[str, object]) -> None: ...

    async def listen(self, data: bytes) -> list[Said]: ...

    async def finish(self) -> list[Said]: ...

    def closing(self) -> Mapping[str, object] | None: ...


class RecognizerTask:
    """One sentence: the whole text at the end, and on the way the text so far where that was asked for."""

    def __init__(
        self,
        answers: Answers,
        script: Scripted,
        intake: Intake,
        sample_rate: int,
        options: Mapping[str, object],
        longest: tuple[float, int],
    ) -> None:
        """longest: seconds of audio, and the status of more."""
        self._answers = answers
        self._script = script
        self._intake = intake
        self._rate = sample_rate
        self._longest = longest
        self._intermediate = switched_on(options, "enable_intermediate_result")
        self._samples = bytearray()
        self._looked = 0.0
        self.text = ""

    @property
    def seconds(self) -> float:
        return len(self._samples) / (2 * self._rate)

    def control(self, options: Mapping[str, object]) -> None:
        """There is no such message for one sentence."""

    async def listen(self, data: bytes) -> list[Said]:
        self._append(self._intake.take(data))
        if not self._intermediate or self.seconds - self._looked < self._answers.interval:
            return []
        self._looked = self.seconds
        text = (await self._heard()).text
        if not text or text == self.text:
            return []
        self.text = text
        return [Said("RecognitionResultChanged", self._result())]

    async def finish(self) -> list[Said]:
        self._append(await self._intake.finish())
        self.text = self._script.said((await self._heard()).text)
        return []

    def closing(self) -> Mapping[str, object]:
        return self._result()

    def _append(self, samples: bytes) -> None:
        self._samples += samples
        longest, status = self._longest
        if self.seconds > longest:
            raise NlsFailure(status)

    async def _heard(self) -> Heard:
        return await self._answers.heard(Sound(bytes(self._samples[: len(self._samples) & ~1]), self._rate)) if self._samples else Heard("")

    def _result(self) -> dict[str, object]:
        return {"result": self.text, "duration": round(self.seconds * 1000)}


class TranscriberTask:
    """A stream of sentences, ended by silences that are counted in audio time."""

    def __init__(self, answers: Answers, script: Scripted, intake: Intake, sample_rate: int, options: Mapping[str, object]) -> None:
        self._answers = answers
        self._script = script
        self._intake = intake
        self._rate = sample_rate
        self._options = dict(options)
        self._recording = Recording(sample_rate)
        self._finder = SentenceFinder(sample_rate, _silence(options))
        self._index = 0
        self._looked = 0.0
        self._so_far = ""
        self._sentences: list[str] = []

    @property
    def seconds(self) -> float:
        return self._recording.seconds

    @property
    def text(self) -> str:
        return "".join(self._sentences)

    def control(self, options: Mapping[str, object]) -> None:
        self._options |= options
        self._finder.max_silence = _silence(self._options)

    async def listen(self, data: bytes) -> list[Said]:
        return await self._hear(self._intake.take(data))

    async def finish(self) -> list[Said]:
        said = await self._hear(await self._intake.finish())
        for ended in self._finder.finish():
            said.append(await self._sentence(ended))
        return said

    def closing(self) -> None:
        """The last message carries nothing."""

    async def _hear(self, samples: bytes) -> list[Said]:
        self._recording.append(samples)
        said: list[Said] = []
        for found in self._finder.feed(samples):
            if isinstance(found, Begun):
                self._index += 1
                self._looked, self._so_far = found.start, ""
                said.append(Said("SentenceBegin", {"index": self._index, "time": _ms(found.start)}))
            else:
                said.append(await self._sentence(found))
        said += await self._intermediate()
        if self._finder.start is None:
            self._recording.forget(self._finder.time - 1.0)
        return said

    async def _intermediate(self) -> list[Said]:
        start, now = self._finder.start, self._finder.time
        if start is None or not switched_on(self._options, "enable_intermediate_result") or now - self._looked < self._answers.interval:
            return []
        self._looked = now
        heard = await self._heard(start, now)
        if not heard.text or heard.text == self._so_far:
            return []
        self._so_far = heard.text
        return [Said("TranscriptionResultChanged", {"index": self._index, "time": _ms(now)} | self._result(heard, heard.text, start))]

    async def _sentence(self, ended: Ended) -> Said:
        heard = await self._heard(ended.start, ended.end)
        text = self._script.said(heard.text)
        self._sentences.append(text)
        place = {"index": self._index, "time": _ms(ended.end), "begin_time": _ms(ended.start)}
        return Said("SentenceEnd", place | self._result(heard, text, ended.start))

    async def _heard(self, start: float, end: float) -> Heard:
        return await self._answers.heard(Sound(self._recording.part(start, end), self._rate))

    def _result(self, heard: Heard, text: str, start: float) -> dict[str, object]:
        result: dict[str, object] = {"result": text, "confidence": 0.9 if text else 0.0}
        if switched_on(self._options, "enable_words"):
            result["words"] = [
                {"text": each.text, "startTime": _ms(start + each.start), "endTime": _ms(start + each.end)} for each in heard.words
            ]
        return result


def switched_on(options: Mapping[str, object], name: str) -> bool:
    """A switch, written as JSON's true or as the word."""
    return str(options.get(name, False)).lower() == "true"


def _silence(options: Mapping[str, object]) -> float:
    value = options.get("max_sentence_silence", _SILENCE_MS)
    low, high = _SILENCE_RANGE_MS
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise NlsFailure(PARAMETER_INVALID, f"Gateway:PARAMETER_INVALID:max_sentence_silence has to be from {low} to {high}")
    return value / 1000


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
