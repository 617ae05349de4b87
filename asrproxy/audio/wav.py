"""RIFF/WAVE headers: taking the samples out of a file that already fits, and writing a header in front of samples."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asrproxy.model import BYTES_PER_SAMPLE, AudioFormat, Utterance

_PCM: Final = 0x0001
_EXTENSIBLE: Final = 0xFFFE
# KSDATAFORMAT_SUBTYPE_PCM behind its first two bytes, which hold the plain format tag (RFC 2361, section 4).
_SUBFORMAT_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_SIZE_MAX: Final = 0xFFFFFFFF

HEAD: Final = 4096
"""Bytes that hold the chunks before the samples, but for a WAV with a picture in it."""

_FORM: Final = struct.Struct("<4sI4s")
_CHUNK: Final = struct.Struct("<4sI")
_FMT: Final = struct.Struct("<HHIIHH")
_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")


@dataclass(frozen=True, slots=True)
class Samples:
    """Where the 16-bit samples of a file lie: from byte `first` on, `size` bytes of them; None: to the end."""

    format: AudioFormat
    first: int = 0
    size: int | None = None


def may_fit(head: bytes, formats: Sequence[AudioFormat]) -> bool:
    """Whether a body that begins like this may be `fitting`: known without gathering a megabyte in one piece."""
    found = samples(head)
    return head[:4] == b"RIFF" if found is None else found.format in formats


def fitting(data: bytes | bytearray | memoryview, formats: Sequence[AudioFormat]) -> Utterance | None:
    """The samples of a WAV file that is mono 16-bit PCM in one of `formats` already, as a view into `data`; else None.

    Only chunk headers are read, nothing is copied. None also for a file with no samples: the decoder says what is wrong.
    """
    found = samples(data)
    if found is None or found.format not in formats:
        return None
    rest = memoryview(data)[found.first :]
    length = min(len(rest), len(rest) if found.size is None else found.size)
    length -= length % BYTES_PER_SAMPLE
    return Utterance(rest[:length], found.format) if length else None


def samples(data: bytes | bytearray | memoryview) -> Samples | None:
    """Where they lie in a WAV file of which `data` is at least the header; None: it is no WAV of 16-bit PCM, or they begin later.

    A data size that is 0, unknown or beyond the end of the file (a recorder that could not go back to fill it in, a cut download) means:
    to the end. The first is said here, the others a reader finds out.
    """
    view = memoryview(data)
    if len(view) < _FORM.size:
        return None
    riff, _, wave = _FORM.unpack_from(view)
    if riff != b"RIFF" or wave != b"WAVE":
        return None
    found: AudioFormat | None = None
    at = _FORM.size
    while at + _CHUNK.size <= len(view):
        name, size = _CHUNK.unpack_from(view, at)
        at += _CHUNK.size
        if name == b"fmt ":
            found = _plain(view[at : at + size])
            if found is None:
                return None
        elif name == b"data":
            return None if found is None else Samples(found, at, size or None)
        at += size + (size & 1)  # chunks are padded to an even size
    return None


def header(format: AudioFormat, data_bytes: int) -> bytes:
    """The 44 bytes in front of `data_bytes` bytes of samples."""
    return _HEADER.pack(
        b"RIFF", min(data_bytes + _HEADER.size - _CHUNK.size, _SIZE_MAX), b"WAVE",
        b"fmt ", _FMT.size, _PCM, format.channels, format.sample_rate, format.bytes_per_second,
        format.channels * BYTES_PER_SAMPLE, 8 * BYTES_PER_SAMPLE,
        b"data", min(data_bytes, _SIZE_MAX),
    )  # fmt: skip


def _plain(fmt: memoryview) -> AudioFormat | None:
    """The format that a `fmt ` chunk declares, if that is 16-bit PCM."""
    if len(fmt) < _FMT.size:
        return None
    tag, channels, sample_rate, _, block, bits = _FMT.unpack_from(fmt)
    if tag == _EXTENSIBLE:
        # cbSize, valid bits, channel mask, then the GUID of the real format
        if len(fmt) < 40 or fmt[26:40] != _SUBFORMAT_TAIL or int.from_bytes(fmt[18:20], "little") not in (0, 8 * BYTES_PER_SAMPLE):
            return None
        tag = int.from_bytes(fmt[24:26], "little")
    if (tag, bits, block) != (_PCM, 8 * BYTES_PER_SAMPLE, channels * BYTES_PER_SAMPLE) or not channels or not sample_rate:
        return None
    return AudioFormat(sample_rate, channels)
