"""The engine whisper: Mandarin, English and most other languages, through faster-whisper."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from asrproxy_local.heard import Heard, Order, Timed
from asrproxy_local.languages import Script, of_tag, script_of

FALLBACKS: Final = (0.0, 0.2, 0.4)
"""Temperatures tried one after the other while the text repeats itself or is improbable. Whisper's own list goes on to 1.0, where it
invents: on 5 s of silence that took 13 s."""
TOKENS_A_SECOND: Final = 16
TOKENS_AT_LEAST: Final = 24
TOKENS_AT_MOST: Final = 224
"""Half of whisper's context, as in its own decoder. Fast Mandarin is 7 tokens a second: who gets to the limit is in a loop."""
WINDOW: Final = 30.0


class Whisper:
    """A model of faster-whisper, int8 on the CPU. `recognize` may be called from `concurrency` threads at once."""

    def __init__(self, folder: str, *, threads: int, concurrency: int, beam: int) -> None:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        from faster_whisper import WhisperModel

        self._model = WhisperModel(
            folder,
            device="cpu",
            compute_type="int8",
            cpu_threads=max(1, threads // concurrency),
            num_workers=concurrency,
            local_files_only=True,
        )
        self._beam = beam

    def recognize(self, order: Order, pcm: bytes) -> Heard:
        """Stretches without speech are left out first, by the voice-activity detector that faster-whisper brings: whisper invents there."""
        import numpy as np
        from faster_whisper.vad import get_speech_timestamps

        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32_768
        if not get_speech_timestamps(samples):
            return Heard("", order.language, () if order.words else None)
        seconds = len(samples) / order.rate
        segments, info = self._model.transcribe(
            samples,
            language=of_tag(order.language) if order.language else None,
            beam_size=self._beam,
            temperature=FALLBACKS if order.temperature is None else order.temperature,
            initial_prompt=order.prompt,
            hotwords=order.vocabulary,
            condition_on_previous_text=False,  # one loop would become the prompt of the next window
            max_new_tokens=min(TOKENS_AT_MOST, TOKENS_AT_LEAST + int(TOKENS_A_SECOND * min(seconds, WINDOW))),
            word_timestamps=order.words,
            vad_filter=True,
        )
        found = list(segments)
        text = "".join(segment.text for segment in found).strip()
        words = timed((word for segment in found for word in segment.words or ()), seconds) if order.words else None
        language = order.language or ("zh-CN" if info.language == "zh" else info.language)
        if of_tag(language) == "zh":
            text, words = in_script(text, words, script_of(language))
        return Heard(text, language, words)


def load(settings: Mapping[str, Any]) -> Whisper:
    """settings: folder, threads, concurrency, beam."""
    return Whisper(str(settings["folder"]), threads=settings["threads"], concurrency=settings["concurrency"], beam=settings["beam"])


def timed(words: Iterable[Any], seconds: float) -> tuple[Timed, ...]:
    """Words in order and within the utterance; whisper's alignment may overrun either by some hundredths."""
    found: list[Timed] = []
    before = 0.0
    for word in words:
        text = word.word.strip()
        start = min(max(before, float(word.start)), seconds)
        end = min(max(start, float(word.end)), seconds)
        if text:
            found.append((text, round(start, 3), round(end, 3)))
            before = start
    return tuple(found)


def in_script(text: str, words: Sequence[Timed] | None, script: Script) -> tuple[str, tuple[Timed, ...] | None]:
    """`text` and `words` in one script, the same in both: whisper writes either and even mixes them.

    The whole text is converted at once, since a character's other form depends on its neighbours; each word takes its own stretch.
    """
    from zhconv import convert

    converted: str = convert(text, script)
    if words is None:
        return converted, None
    if len(converted) != len(text):
        return converted, tuple((convert(word, script), start, end) for word, start, end in words)
    found: list[Timed] = []
    place = 0
    for word, start, end in words:
        at = text.find(word, place)
        if at < 0:
            found.append((convert(word, script), start, end))
            continue
        place = at + len(word)
        found.append((converted[at:place], start, end))
    return converted, tuple(found)
