"""The engine moonshine: English, through the C library of the package moonshine-voice."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from asrproxy_local.heard import Heard, Order

PIECE: Final = 20 * 16_000
"""Samples given to the library at once: its voice-activity detector moves the whole rest of what it was given at every 32 ms."""
_OPTIONS: Final = {"return_audio_data": "false"}
_TINY: Final = 0
_HEADER: Final = 20_000
_FORCE: Final = 1


class Moonshine:
    """The tiny English model of moonshine-voice 0.0.73; loading it takes 0.3 s.

    `recognize` is called in a fork that does nothing else and ends afterwards. The library has one voice-activity detector for the
    whole process and never resets it, so a second recognition would be cut differently, and hear a word that nobody said, because of
    what the first one was about. One thread: the library's threads wait for each other spinning, two of them cost twice the CPU time and
    are not faster (44 s of speech: 2.2 s of CPU on one, 3.8 s on two, 2.1 s of time both).
    """

    def __init__(self) -> None:
        os.environ["MOONSHINE_ORT_SINGLE_THREAD"] = "1"
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's: a process is only forked safely while it has one thread
        from moonshine_voice import moonshine_api as api

        self._api, self._library = api, api._MoonshineLib().lib
        options, count, self._kept = api.moonshine_options_array(_OPTIONS)
        folder = Path(api.__file__).parent / "assets" / "tiny-en"
        self._model = self._library.moonshine_load_transcriber_from_files(os.fsencode(folder), _TINY, options, count, _HEADER)
        if self._model < 0:
            raise RuntimeError(f"moonshine does not load its model from {folder}: {self._words(self._model)}")
        with self._stream():
            pass  # loads the voice-activity detector

    def recognize(self, order: Order, pcm: bytes) -> Heard:
        """Lines joined by a space; the library cuts at pauses by itself."""
        import numpy as np

        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32_768
        lines = ctypes.POINTER(self._api.TranscriptC)()
        with self._stream() as stream:
            for first in range(0, len(samples), PIECE):
                piece = samples[first : first + PIECE]
                address = piece.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
                self._ask(self._library.moonshine_transcribe_add_audio_to_stream(self._model, stream, address, len(piece), order.rate, 0))
                self._ask(self._library.moonshine_transcribe_stream(self._model, stream, _FORCE, ctypes.byref(lines)))
            self._ask(self._library.moonshine_stop_stream(self._model, stream))
            self._ask(self._library.moonshine_transcribe_stream(self._model, stream, _FORCE, ctypes.byref(lines)))
            transcript = lines.contents
            texts = [self._text(transcript.lines[each]) for each in range(transcript.line_count)]
        return Heard(" ".join(text for text in texts if text), "en")

    @contextmanager
    def _stream(self) -> Iterator[int]:
        stream = self._library.moonshine_create_stream(self._model, 0)
        if stream < 0:
            raise RuntimeError(f"moonshine opens no stream: {self._words(stream)}")
        try:
            self._ask(self._library.moonshine_start_stream(self._model, stream))
            yield stream
        finally:
            self._library.moonshine_free_stream(self._model, stream)

    def _ask(self, code: int) -> None:
        if code:
            raise RuntimeError(f"moonshine failed: {self._words(code)}")

    def _words(self, code: int) -> str:
        said: bytes = self._library.moonshine_error_to_string(code) or b""
        return f"{said.decode(errors='replace')} ({code})"

    @staticmethod
    def _text(line: Any) -> str:
        text: bytes = ctypes.string_at(line.text) if line.text else b""
        return " ".join(text.decode(errors="replace").split())


def load(settings: Mapping[str, Any]) -> Moonshine:
    """There is nothing to set."""
    return Moonshine()
