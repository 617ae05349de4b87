"""Whatever the bytes: blocks or a clear refusal, in bounded time and memory."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import psutil
import pytest

from asrproxy.audio.decode import Decoders
from asrproxy.errors import AudioTooLong, InvalidAudio, UnsupportedMedia
from asrproxy.testing import tones
from tests.audio.audio_encoding import FORMS, NAMES, TEXT, encoded, recording, samples, video, wav

pytestmark = pytest.mark.asyncio(loop_scope="module")

MUTANTS = {"av": 12, "pydub": 1}


async def test_a_truncated_mp3_gives_the_seconds_it_has(decoders: Decoders, decode: Any) -> None:
    data = recording("mp3-stereo-44100", TEXT * 4)
    [block] = await decode(decoders, data[: len(data) // 2])
    heard = tones.text_of(tones.decode(block.pcm, 16_000))
    assert 12 <= len(heard) <= 18
    assert (TEXT * 4).startswith(heard)


@pytest.mark.parametrize("name", ["flac-mono-16000", "ogg-opus-mono-16000", "aac-adts-stereo-44100", "wav-pcm24-stereo-96000"])
async def test_any_recording_that_breaks_off_gives_what_it_has(decoders: Decoders, decode: Any, name: str) -> None:
    data = recording(name, TEXT * 4)
    [block] = await decode(decoders, data[: len(data) * 3 // 4])
    heard = tones.text_of(tones.decode(block.pcm, 16_000))
    assert len(heard) >= 12
    assert (TEXT * 4).startswith(heard)


@pytest.mark.parametrize("claimed", [0, 4_000_000_000, 2**32 - 1])
@pytest.mark.parametrize("rate", [16_000, 44_100])
async def test_a_wav_that_promises_more_than_it_has_is_taken_for_what_it_has(
    decoders: Decoders, decode: Any, claimed: int, rate: int
) -> None:
    pcm = tones.synthesize(TEXT, rate)
    [block] = await decode(decoders, wav(pcm, rate, claimed=claimed), longest=3600)
    assert tones.text_of(tones.decode(block.pcm, 16_000)) == TEXT


async def test_what_only_calls_itself_pcm_is_refused_rather_than_sent_on_as_noise(decoders: Decoders, decode: Any) -> None:
    surround = encoded(samples(48_000), ("spdif", "ac3", 48_000, "stereo", "fltp", {}))  # AC-3 as it passes through S/PDIF
    with pytest.raises(UnsupportedMedia, match="ac3"):
        await decode(decoders, wav(surround, 48_000, 2))


async def test_a_small_file_that_is_hours_long_is_cut_at_the_limit(decoders: Decoders, decode: Any) -> None:
    silence = encoded([0.0] * 48_000 * 200, ("flac", "flac", 48_000, "mono", "s16", {}))
    assert len(silence) < 300_000
    with pytest.raises(AudioTooLong, match="100 s"):
        await decode(decoders, silence, longest=100)


async def test_a_header_alone_does_not_make_a_recording_too_long(decoders: Decoders, decode: Any) -> None:
    data = recording("mp3-stereo-44100", TEXT * 8)  # its Xing header counts all frames
    [block] = await decode(decoders, data[: len(data) // 4], longest=6.0)
    assert len(tones.text_of(tones.decode(block.pcm, 16_000))) >= 12


async def test_one_second_too_many_is_refused_before_any_of_it_is_given_out(decoders: Decoders, decode: Any) -> None:
    if decoders.status()["decoder"] == "pydub":
        pytest.skip("the ffmpeg program tells the length only by decoding")
    for name in ("mp3-stereo-44100", "flac-mono-16000", "m4a-stereo-48000", "wav-pcm16-stereo-44100"):
        seen: list[Any] = []
        with pytest.raises(AudioTooLong, match="10 s"):
            seen += await decode(decoders, recording(name, TEXT * 8), whole=2.0, longest=10.0)
        assert not seen


async def test_a_video_without_sound_has_no_audio(decoders: Decoders, decode: Any) -> None:
    with pytest.raises(InvalidAudio, match="no audio track"):
        await decode(decoders, video(audio=False))


@pytest.mark.parametrize(("muxer", "codec"), [("ipod", "alac"), ("wav", "adpcm_ms"), ("matroska", "libopus"), ("mp2", "mp2")])
async def test_a_codec_or_container_that_is_not_listed_is_refused_by_name(decoders: Decoders, decode: Any, muxer: str, codec: str) -> None:
    planar = {"alac": "s16p"}.get(codec, "s16")
    rate = 48_000 if codec == "libopus" else 44_100 if codec in ("mp2", "alac") else 16_000
    data = encoded(samples(rate), (muxer, codec, rate, "mono", planar, {}))
    with pytest.raises(UnsupportedMedia):
        await decode(decoders, data)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(100_000), random.Random(1).randbytes(100_000)])
async def test_what_is_not_audio_is_said_to_be_none(decoders: Decoders, decode: Any, data: bytes) -> None:
    with pytest.raises(InvalidAudio):
        await decode(decoders, data)


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_cut_within_its_header_is_refused(decoders: Decoders, decode: Any, name: str) -> None:
    for length in (4, 12, 20):
        with pytest.raises(InvalidAudio):
            await decode(decoders, recording(name)[:length])


@pytest.mark.parametrize("name", NAMES)
async def test_damaged_bytes_end_in_blocks_or_a_refusal(decoders: Decoders, decode: Any, name: str) -> None:
    for seed in range(MUTANTS[str(decoders.status()["decoder"])]):
        chance = random.Random(f"{name}{seed}")
        data = bytearray(recording(name))
        for _ in range(chance.choice([1, 10, 100])):
            at = chance.randrange(len(data)) if chance.random() < 0.5 else chance.randrange(min(300, len(data)))
            match chance.randrange(3):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    data[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"])
                case _:
                    del data[at : at + chance.randrange(50)]
        with suppress(InvalidAudio, UnsupportedMedia, AudioTooLong):  # and nothing else
            assert await decode(decoders, bytes(data), whole=1.0, longest=60.0)


async def test_nothing_of_all_this_cost_a_process_or_much_memory(decoders: Decoders, decode: Any) -> None:
    """Comes last in this file: the same process has lived through everything above."""
    await decode(decoders, recording("wav-pcm16-stereo-44100"))
    status = decoders.status()
    assert status["hung"] == 0
    [pid] = status["idle"]  # type: ignore[misc]
    assert psutil.Process(pid).memory_info().rss < 200 * 2**20


async def test_a_playlist_is_not_followed(decoders: Decoders, decode: Any) -> None:
    assert "wav" in {form[0] for form in FORMS.values()}
    with pytest.raises(UnsupportedMedia):
        await decode(decoders, b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.aac\n#EXT-X-ENDLIST\n")
