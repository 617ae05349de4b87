"""RIFF/WAVE headers: taking the samples out of a file that already fits, and writing a header in front of samples."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from asrproxy.model import BYTES_PER_SAMPLE, AudioFormat, Utterance

_PCM: Final = 0x0001
_EXTENSIBLE: Final = 0xFFFE
# KSDATAFORMAT_SUBTYPE_PCM behind its first two bytes, which hold the plain format tag (RFC 2361, section 4).
_SUBFORMAT_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_SIZE_MAX: Final = 0xFFFFFFFF

_FORM: Final = struct.Struct("<4sI4s")
_CHUNK: Final = struct.Struct("<4sI")
_FMT: Final = struct.Struct("<HHIIHH")
_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")


def fitting(data: bytes | bytearray | memoryview, formats: Sequence[AudioFormat]) -> Utterance | None:
    """The samples of a WAV file that is mono 16-bit PCM in one of `formats` already, as a view into `data`; else None.

    Only chunk headers are read, nothing is copied. A data size that is 0, unknown or beyond the end of the file (a recorder that could
    not go back to fill it in, a cut download) means: to the end. None also for a file with no samples: the decoder says what is wrong.
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
            if found is None or found not in formats:
                return None
        elif name == b"data":
            if found is None:
                return None
            return _utterance(view[at:], size, found)
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
    """The format that a `fmt ` chunk declares, if that is mono 16-bit PCM."""
    if len(fmt) < _FMT.size:
        return None
    tag, channels, sample_rate, _, block, bits = _FMT.unpack_from(fmt)
    if tag == _EXTENSIBLE:
        # cbSize, valid bits, channel mask, then the GUID of the real format
        if len(fmt) < 40 or fmt[26:40] != _SUBFORMAT_TAIL or int.from_bytes(fmt[18:20], "little") not in (0, 8 * BYTES_PER_SAMPLE):
            return None
        tag = int.from_bytes(fmt[24:26], "little")
    if (tag, channels, bits, block) != (_PCM, 1, 8 * BYTES_PER_SAMPLE, BYTES_PER_SAMPLE):
        return None
    return AudioFormat(sample_rate)


def _utterance(rest: memoryview, size: int, format: AudioFormat) -> Utterance | None:
    length = size if 0 < size <= len(rest) else len(rest)
    length -= length % BYTES_PER_SAMPLE
    return Utterance(rest[:length], format) if length else None
