"""A WAV that fits is passed on as it is, whatever its header gets wrong."""

from __future__ import annotations

import struct
import wave
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrproxy.audio.wav import fitting, header
from asrproxy.model import AudioFormat
from tests.audio.audio_encoding import recording, wav

RATE = AudioFormat(16_000)
PCM = bytes(range(256)) * 10


def taken(data: bytes, *formats: AudioFormat) -> bytes | None:
    utterance = fitting(data, formats or (RATE,))
    return None if utterance is None else bytes(utterance.pcm)


def test_the_samples_are_a_view_into_the_body() -> None:
    data = wav(PCM, 16_000)
    utterance = fitting(data, (AudioFormat(8_000), RATE))
    assert utterance is not None
    assert utterance.format == RATE
    assert isinstance(utterance.pcm, memoryview)
    assert utterance.pcm.obj is data
    assert bytes(utterance.pcm) == PCM


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF, len(PCM) + 1000, 0x7FFFFFFF])
def test_a_size_that_lies_means_to_the_end(claimed: int) -> None:
    assert taken(wav(PCM, 16_000, claimed=claimed)) == PCM


def test_what_follows_the_samples_is_not_audio() -> None:
    assert taken(wav(PCM, 16_000) + b"LIST\x04\0\0\0abcd") == PCM


@pytest.mark.parametrize("size", [0, 4, 5])
def test_chunks_in_front_are_passed_over_with_their_padding(size: int) -> None:
    chunk = b"LIST" + struct.pack("<I", size) + bytes(size + size % 2)
    assert taken(wav(PCM, 16_000, before=chunk)) == PCM


def test_half_a_sample_at_the_end_is_left_out() -> None:
    assert taken(wav(PCM[:-1], 16_000)) == PCM[:-2]


def test_the_extensible_header_is_understood() -> None:
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    fmt = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16_000, 32_000, 2, 16, 22, 16, 4) + guid
    data = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(PCM)) + PCM
    assert taken(data) == PCM
    assert taken(data.replace(guid, bytes([3, *guid[1:]]))) is None  # floating point


@pytest.mark.parametrize(
    "data",
    [
        wav(PCM, 44_100),
        wav(PCM, 16_000, 2),
        wav(b"", 16_000),
        wav(PCM, 16_000)[:30],
        b"",
        b"RIFF",
        recording("wav-mulaw-mono-8000"),
        recording("wav-pcm24-stereo-96000"),
        recording("flac-mono-16000"),
    ],
)
def test_everything_else_is_left_to_the_decoder(data: bytes) -> None:
    assert taken(data) is None


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_make_it_fail(front: bytes, rest: bytes) -> None:
    for data in (front, wav(PCM, 16_000)[: len(front)] + rest, wav(rest, 16_000, before=front)):
        pcm = taken(data)
        assert pcm is None or (pcm in data and len(pcm) % 2 == 0)


@given(st.integers(0, 2**33), st.sampled_from([8_000, 16_000, 48_000]), st.sampled_from([1, 2]))
def test_a_header_says_what_it_was_told(size: int, rate: int, channels: int) -> None:
    text = header(AudioFormat(rate, channels), size)
    assert len(text) == 44
    with wave.open(BytesIO(text)) as read:
        assert (read.getframerate(), read.getnchannels(), read.getsampwidth()) == (rate, channels, 2)
        assert read.getnframes() == min(size, 2**32 - 1) // (2 * channels)
