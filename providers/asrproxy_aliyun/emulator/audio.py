"""Sound in the formats that the vendor takes, to mono samples: PCM and WAV here, compressed ones in a child process."""

from __future__ import annotations

import asyncio
import struct
import sys
from dataclasses import dataclass
from typing import Final

from .codes import DECODE_ERROR, PARAMETER_INVALID, SAMPLE_RATE, WAV_HEADER, NlsFailure

FORMATS: Final = frozenset({"pcm", "wav", "opus", "opu", "speex", "amr", "mp3", "aac", "mp4"})
_DECODE_TIMEOUT: Final = 60.0
_PCM_TAG, _EXTENSIBLE_TAG = 1, 0xFFFE


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """samples: mono s16le."""

    samples: bytes
    sample_rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / (2 * self.sample_rate)

    def part(self, start: float, end: float) -> Sound:
        """start, end: seconds from the beginning."""
        first, last = (2 * round(each * self.sample_rate) for each in (start, end))
        return Sound(self.samples[first:last], self.sample_rate)


def checked_format(text: str | None) -> str:
    """Lower case; PCM where a call names none. Raises NlsFailure."""
    name = (text or "pcm").lower()
    if name not in FORMATS:
        raise NlsFailure(PARAMETER_INVALID, f"Gateway:PARAMETER_INVALID:format '{text}' is not supported")
    return name


def checked_rate(value: object, allowed: tuple[int, ...]) -> int:
    """Hz; 16000 where a call names none. Raises NlsFailure."""
    if value is None:
        return 16000 if 16000 in allowed else allowed[0]
    try:
        rate = int(str(value))
    except ValueError:
        raise NlsFailure(PARAMETER_INVALID, f"Gateway:PARAMETER_INVALID:sample_rate '{value}' is not a number") from None
    if rate not in allowed:
        raise NlsFailure(SAMPLE_RATE)
    return rate


async def sound_of(body: bytes, format: str, sample_rate: int) -> Sound:
    """The sound in a body. Raises NlsFailure: a WAV header that is not right, audio that cannot be decoded."""
    if format == "pcm":
        return Sound(body[: len(body) & ~1], sample_rate)
    if format == "wav":
        return wav_sound(body, sample_rate)
    return await _decoded(body, sample_rate)


def wav_sound(body: bytes, sample_rate: int) -> Sound:
    """Mono 16 bit PCM at the rate that the call named. A length of the future (a streamed header) is cut to what is there."""
    if body[:4] != b"RIFF" or body[8:12] != b"WAVE":
        raise NlsFailure(WAV_HEADER)
    at, described = 12, False
    while at + 8 <= len(body):
        name, length = body[at : at + 4], int.from_bytes(body[at + 4 : at + 8], "little")
        at += 8
        if name == b"fmt ":
            _check_wav_format(body[at : at + 16], sample_rate)
            described = True
        elif name == b"data" and described:
            return Sound(body[at : at + min(length, len(body) - at) // 2 * 2], sample_rate)
        at += length + length % 2
    raise NlsFailure(WAV_HEADER)


def _check_wav_format(chunk: bytes, sample_rate: int) -> None:
    if len(chunk) < 16:
        raise NlsFailure(WAV_HEADER)
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk)
    if tag not in (_PCM_TAG, _EXTENSIBLE_TAG) or channels != 1 or bits != 16:
        raise NlsFailure(WAV_HEADER)
    if rate != sample_rate:
        raise NlsFailure(SAMPLE_RATE)


async def _decoded(body: bytes, sample_rate: int) -> Sound:
    """A process for one body: this is a test tool, and FFmpeg stays out of the one that serves."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "asrproxy_aliyun.emulator.decode", str(sample_rate),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_DECODE_TIMEOUT):
            samples, _ = await child.communicate(body)
    except TimeoutError:
        raise NlsFailure(DECODE_ERROR) from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise NlsFailure(DECODE_ERROR)
    return Sound(samples, sample_rate)
