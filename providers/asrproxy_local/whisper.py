"""The engine whisper: Mandarin, English and most other languages, through faster-whisper."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from asrproxy_local.heard import Heard, Order, Timed
from asrproxy_local.languages import Script, of_tag, script_of
from asrproxy_local.pieces import pieces

FALLBACKS: Final = (0.0, 0.2, 0.4)
"""Temperatures tried one after the other while the text repeats itself or is improbable. Whisper's own list goes on to 1.0, where it
invents: on 5 s of silence that took 13 s."""
TOKENS_A_SECOND: Final = 16
TOKENS_AT_LEAST: Final = 24
TOKENS_AT_MOST: Final = 224
"""Half of whisper's context, as in its own decoder. Fast Mandarin is 7 tokens a second: who gets to the limit is in a loop."""
WINDOW: Final = 30.0
SILENCE: Final = 200
"""Milliseconds of silence that part two stretches of speech."""


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
        """Piece by piece, a sentence or two each, and nothing where nobody speaks: of more in a window whisper leaves out sentences, and in
        silence it invents. faster-whisper brings the voice-activity detector."""
        import numpy as np
        from faster_whisper.vad import VadOptions, get_speech_timestamps

        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32_768
        found = get_speech_timestamps(samples, VadOptions(min_silence_duration_ms=SILENCE, speech_pad_ms=0))
        cut = pieces([(each["start"], each["end"]) for each in found], len(samples), order.rate)
        if not cut:
            return Heard("", order.language, () if order.words else None)
        if order.language:
            code = of_tag(order.language)
        else:
            first, end = max(cut, key=lambda piece: piece[1] - piece[0])
            code = self._model.detect_language(samples[first:end])[0]
        text = ""
        words: list[Timed] = []
        for first, end in cut:
            for segment in self._segments(samples[first:end], (end - first) / order.rate, code, order):
                text += segment.text
                words += timed(segment.words or (), first / order.rate, end / order.rate)
        text = text.strip()
        language = order.language or ("zh-CN" if code == "zh" else code)
        ordered = in_order(words) if order.words else None
        if code == "zh":
            text, ordered = in_script(text, ordered, script_of(language))
        return Heard(text, language, ordered)

    def _segments(self, samples: Any, seconds: float, language: str, order: Order) -> Iterable[Any]:
        segments, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=self._beam,
            temperature=FALLBACKS if order.temperature is None else order.temperature,
            initial_prompt=order.prompt,
            hotwords=order.vocabulary,
            condition_on_previous_text=False,  # one loop would become the prompt of the next window
            max_new_tokens=min(TOKENS_AT_MOST, TOKENS_AT_LEAST + int(TOKENS_A_SECOND * min(seconds, WINDOW))),
            word_timestamps=order.words,
        )
        found: Iterable[Any] = segments
        return found


def load(settings: Mapping[str, Any]) -> Whisper:
    """settings: folder, threads, concurrency, beam."""
    return Whisper(str(settings["folder"]), threads=settings["threads"], concurrency=settings["concurrency"], beam=settings["beam"])


def timed(words: Iterable[Any], offset: float, end: float) -> list[Timed]:
    """Words of a piece with times of the utterance, in seconds. offset, end: of the piece, which whisper's alignment may overrun."""
    return [
        (text, min(offset + float(word.start), end), min(offset + float(word.end), end)) for word in words if (text := word.word.strip())
    ]


def in_order(words: Iterable[Timed]) -> tuple[Timed, ...]:
    """Words each of which begins no earlier than the one before, which alignment may miss by some hundredths."""
    found: list[Timed] = []
    before = 0.0
    for text, start, end in words:
        before = max(before, start)
        found.append((text, round(before, 3), round(max(before, end), 3)))
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
