"""Every container and codec of the contract is heard, from its bytes, with both decoders."""

from __future__ import annotations

from typing import Any

import pytest

from asrproxy.audio.decode import Decoders, RawFormat
from asrproxy.testing import tones
from tests.audio.audio_encoding import NAMES, TEXT, recording, samples, video

pytestmark = pytest.mark.asyncio(loop_scope="module")


def heard(pcm: bytes, rate: int = 16_000) -> str:
    return tones.text_of(tones.decode(pcm, rate))


@pytest.mark.parametrize("name", NAMES)
async def test_a_recording_is_heard_whole(decoders: Decoders, decode: Any, name: str) -> None:
    [block] = await decode(decoders, recording(name))
    assert block.levels is None
    assert heard(block.pcm) == TEXT
    # Lossy codecs add up to a few frames of their own at the ends; nothing may be missing.
    length = len(samples(16_000)) / 16_000
    assert length - 0.05 < len(block.pcm) / 32_000 < length + 0.25


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
async def test_the_rate_is_the_one_that_was_asked_for(decoders: Decoders, decode: Any, rate: int) -> None:
    [block] = await decode(decoders, recording("flac-mono-16000"), rate)
    assert heard(block.pcm, rate) == TEXT


@pytest.mark.parametrize(
    ("name", "offset", "raw"),
    [
        ("wav-pcm16-mono-16000", 44, RawFormat("pcm_s16le", 16_000)),
        ("wav-pcm16-stereo-44100", 44, RawFormat("pcm_s16le", 44_100, 2)),
        ("wav-mulaw-mono-8000", 58, RawFormat("mulaw", 8_000)),
        ("wav-alaw-stereo-8000", 58, RawFormat("alaw", 8_000, 2)),
    ],
)
async def test_a_headerless_body_is_what_its_sender_says(decoders: Decoders, decode: Any, name: str, offset: int, raw: RawFormat) -> None:
    data = recording(name)
    start = data.index(b"data") + 8
    [block] = await decode(decoders, data[start:], raw=raw)
    assert heard(block.pcm) == TEXT


async def test_the_sound_of_a_video_is_taken(decoders: Decoders, decode: Any) -> None:
    [block] = await decode(decoders, video(audio=True))
    assert heard(block.pcm) == TEXT


@pytest.mark.parametrize("name", ["mp3-stereo-44100", "aac-adts-stereo-44100"])
@pytest.mark.parametrize("picture", [0, 100_000])
async def test_a_tag_in_front_is_no_obstacle(decoders: Decoders, decode: Any, name: str, picture: int) -> None:
    size = picture + 20
    frame = b"APIC" + picture.to_bytes(4, "big") + b"\0\0" + bytes(picture)
    tag = b"ID3\x04\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + frame.ljust(size, b"\0")
    data = recording(name)
    if data.startswith(b"ID3"):
        data = data[10 + int.from_bytes(data[6:10], "big") :]
    [block] = await decode(decoders, tag + data)
    assert heard(block.pcm) == TEXT


@pytest.mark.parametrize("name", ["mp3-stereo-44100", "wav-pcm16-stereo-44100", "m4a-stereo-48000"])
async def test_a_long_recording_comes_in_bounded_blocks_with_a_level_for_every_frame(decoders: Decoders, decode: Any, name: str) -> None:
    text = TEXT * 4
    blocks = await decode(decoders, recording(name, text), whole=2.0)
    pcm = b"".join(block.pcm for block in blocks)
    assert heard(pcm) == text
    assert max(len(block.pcm) for block in blocks) <= 32_000
    levels = b"".join(block.levels for block in blocks)
    assert len(levels) == len(pcm) // 320


async def test_exactly_as_long_as_one_utterance_is_still_one_block(decoders: Decoders, decode: Any) -> None:
    pcm = tones.synthesize(TEXT, 16_000)
    seconds = len(pcm) / 32_000
    [block] = await decode(decoders, tones.to_wav(pcm, 16_000), whole=seconds)
    assert bytes(block.pcm) == pcm
    more = await decode(decoders, tones.to_wav(pcm + b"\0\0", 16_000), whole=seconds)
    assert more[0].levels is not None
    assert b"".join(block.pcm for block in more) == pcm + b"\0\0"
