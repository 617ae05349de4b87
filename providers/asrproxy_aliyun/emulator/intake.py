"""Audio that comes in pieces, to samples as early as its format allows, and the stretch of them that is still needed."""

from __future__ import annotations

from .audio import sound_of, wav_sound
from .codes import NlsFailure

_LONGEST_WAV_HEADER = 4096


class Intake:
    """PCM passes through, WAV after its header, compressed audio when it is all there."""

    def __init__(self, format: str, sample_rate: int) -> None:
        self._format = format
        self._sample_rate = sample_rate
        self._kept = bytearray()
        self._through = format == "pcm"

    def take(self, data: bytes) -> bytes:
        """The samples that are known now. Raises NlsFailure: the WAV header is not right."""
        if self._through:
            return data
        self._kept += data
        if self._format != "wav":
            return b""
        try:
            samples = wav_sound(bytes(self._kept), self._sample_rate).samples
        except NlsFailure:
            if len(self._kept) < _LONGEST_WAV_HEADER and bytes(self._kept[:4]) == b"RIFF"[: len(self._kept)]:
                return b""
            raise
        # Past the header all that comes is samples: a streamed header's length says nothing.
        samples = bytes(self._kept[self._kept.index(b"data") + 8 :]) if samples else b""
        self._through = bool(samples)
        return samples

    async def finish(self) -> bytes:
        """The samples that could not be told before the end. Raises NlsFailure: they cannot be decoded."""
        if self._through or not self._kept:
            return b""
        return (await sound_of(bytes(self._kept), self._format, self._sample_rate)).samples


class Recording:
    """Samples by their place in the stream; what is behind may be forgotten, so that a long stream stays small."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._samples = bytearray()
        self._forgotten = 0

    @property
    def seconds(self) -> float:
        return (self._forgotten + len(self._samples)) / (2 * self._sample_rate)

    def append(self, samples: bytes) -> None:
        self._samples += samples

    def part(self, start: float, end: float) -> bytes:
        """start, end: seconds of the stream."""
        return bytes(self._samples[max(0, self._place(start) - self._forgotten) : max(0, self._place(end) - self._forgotten)])

    def forget(self, before: float) -> None:
        """before: seconds of the stream."""
        count = min(len(self._samples), max(0, self._place(before) - self._forgotten))
        del self._samples[:count]
        self._forgotten += count

    def _place(self, seconds: float) -> int:
        return 2 * round(seconds * self._sample_rate)
