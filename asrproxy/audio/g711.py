"""G.711 to linear samples, by the tables of ITU-T G.711."""

from __future__ import annotations

from functools import cache
from typing import Literal


def linear(data: bytes, encoding: Literal["mulaw", "alaw"]) -> bytes:
    """8-bit G.711 to s16le, two bytes for each one."""
    low, high = _tables(encoding)
    pcm = bytearray(2 * len(data))
    pcm[0::2] = data.translate(low)
    pcm[1::2] = data.translate(high)
    return bytes(pcm)


@cache
def _tables(encoding: str) -> tuple[bytes, bytes]:
    """For each code the low and the high byte of its sample."""
    values = [(_mulaw if encoding == "mulaw" else _alaw)(code) & 0xFFFF for code in range(256)]
    return bytes(value & 0xFF for value in values), bytes(value >> 8 for value in values)


def _mulaw(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return 0x84 - magnitude if code & 0x80 else magnitude - 0x84


def _alaw(code: int) -> int:
    code ^= 0x55
    exponent, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = mantissa + 8 if exponent == 0 else (mantissa + 0x108) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude
