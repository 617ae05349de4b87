"""Live tones to interim texts and sentences: pure, fed with pieces of any size."""

from __future__ import annotations

from typing import Final

from asrproxy.plugin import Interim, Sentence, StreamEvent, Word
from asrproxy.testing.tones import Symbol, decode, text_of, words_of

_SETTLED: Final = 0.08  # s of audio after a symbol, from which on nothing that comes can change it
_PAUSE: Final = 0.4  # s of silence that end a sentence
_BEGUN: Final = 0.02  # s; with _SETTLED before it, a symbol that began within a pause's length has shown itself
_HELD: Final = 5.0  # s kept of a tone that does not end
_LOOK: Final = 0.05  # s of new audio that are worth another look


class Listening:
    """Hears a live stream. After each symbol an `Interim` with the sentence so far, at each pause of 0.4 s and at the end a `Sentence`.

    Only the audio after the last settled symbol is kept, so the work does not grow with the stream.
    """

    def __init__(self, sample_rate: int, *, words: bool = False) -> None:
        self._rate, self._words = sample_rate, words
        self._audio = bytearray()
        self._before = 0  # samples that were let go
        self._looked = 0  # samples (of all) at the last look
        self._sentence: list[Symbol] = []
        self._index = 0

    def hear(self, piece: bytes) -> list[StreamEvent]:
        """What a piece of s16le audio adds; it may end in the middle of a sample."""
        self._audio += piece
        if self._now - self._looked < _LOOK * self._rate:
            return []
        return self._look(settled=self._now / self._rate - _SETTLED)

    def end(self) -> list[StreamEvent]:
        """What is left when the audio is over."""
        return [*self._look(settled=self._now / self._rate), *self._finish()]

    @property
    def _now(self) -> int:
        return self._before + len(self._audio) // 2

    def _look(self, settled: float) -> list[StreamEvent]:
        self._looked = self._now
        events: list[StreamEvent] = []
        offset = self._before / self._rate
        sounding = False
        for heard in decode(self._audio[: len(self._audio) // 2 * 2], self._rate):
            symbol = Symbol(heard.text, heard.start + offset, heard.end + offset)
            sounding = symbol.end > settled
            if self._sentence and symbol.start - self._sentence[-1].end >= _PAUSE:
                events += self._finish()
            if sounding:
                break
            self._sentence.append(symbol)
            events.append(Interim(self._index, round(self._sentence[0].start, 3), text_of(self._sentence)))
            self._let_go(symbol.end)
        if sounding:
            self._let_go(self._now / self._rate - _HELD)
        elif not self._sentence or settled - self._sentence[-1].end >= _PAUSE + _BEGUN:
            events += self._finish()
            self._let_go(settled - _BEGUN)
        return events

    def _finish(self) -> list[StreamEvent]:
        if not self._sentence:
            return []
        symbols, self._sentence = self._sentence, []
        words = tuple(Word(each.text, round(each.start, 3), round(each.end, 3)) for each in words_of(symbols)) if self._words else None
        sentence = Sentence(self._index, round(symbols[0].start, 3), round(symbols[-1].end, 3), text_of(symbols), words)
        self._index += 1
        return [sentence]

    def _let_go(self, until: float) -> None:
        samples = max(round(until * self._rate) - self._before, 0)
        del self._audio[: 2 * samples]
        self._before += samples
