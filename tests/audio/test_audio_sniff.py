"""A body is known by its bytes, and refused for the right reason."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asrproxy.audio.sniff import HEAD, Kind, sniff
from asrproxy.errors import InvalidAudio, UnsupportedMedia
from tests.audio.audio_encoding import FORMS, NAMES, recording, samples

KINDS = {"wav": Kind.WAV, "flac": Kind.FLAC, "mp3": Kind.MP3, "aac": Kind.AAC, "m4a": Kind.MP4, "mp4": Kind.MP4, "ogg": Kind.OGG}


@pytest.mark.parametrize("name", NAMES)
def test_each_container_of_the_contract_is_known(name: str) -> None:
    word = name.partition("-")[0]
    assert sniff(recording(name)).kind == KINDS.get(word, word)


def test_an_mp4_can_be_read_as_it_comes_only_with_its_index_in_front() -> None:
    assert not sniff(recording("m4a-stereo-48000")).grows
    assert sniff(recording("m4a-faststart-mono-16000")).grows
    assert sniff(recording("mp4-fragmented-stereo-44100")).grows


@pytest.mark.parametrize("name", ["mp3-stereo-44100", "aac-adts-stereo-44100"])
@pytest.mark.parametrize("before", [b"\0" * 1000, b"\xff" * 7, b"cut frame \xff\xfb"])
def test_frames_are_found_behind_what_a_recorder_left_in_front(name: str, before: bytes) -> None:
    data = recording(name)
    data = data[data.index(b"\xff") :]
    assert sniff(before + data) == sniff(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"%PDF-1.7\n" + bytes(100),
        b"FORM\0\0\0\0AIFFCOMM",
        b"RIFF\0\0\0\0AVI LIST",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9",
        b"PK\x03\x04" + bytes(50),
        b"#EXTM3U\nhttp://127.0.0.1/secret\n",
        b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska",
        b"OggS" + bytes(22) + b"\x01\x50" + b"Speex   1.2",
        (b"\x47" + bytes(187)) * 4,
        b"\0\0\0\x18ftypheic" + bytes(20),
        b"\xff\xfd\x94\x04" + bytes(500),
    ],
)
def test_a_known_form_that_is_not_on_the_list_is_named(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="send WAV, FLAC"):
        sniff(data)


@pytest.mark.parametrize("data", [b"", b"R", b"RIFF", b"OggS", b'{"audio": "hello"}', b"<html>", bytes(10_000), b"\xff" * 3000])
def test_what_is_nothing_known_is_not_audio(data: bytes) -> None:
    with pytest.raises(InvalidAudio):
        sniff(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"RIFF", b"ID3\4\0\0\0\0\0\0", b"OggS", b"\x1a\x45\xdf\xa3", b"\0\0\0\x08ftyp"]))
@example(b"", b"ID3\4\0\0\0\0\0\0")
def test_any_bytes_have_an_answer(rest: bytes, front: bytes) -> None:
    with suppress(InvalidAudio, UnsupportedMedia):  # and nothing else
        assert sniff(front + rest).kind in Kind


@pytest.mark.parametrize("name", ["mp3-stereo-44100", "wav-pcm16-stereo-44100", "ogg-opus-mono-16000"])
def test_the_head_is_enough(name: str) -> None:
    data = recording(name)
    assert len(data) > HEAD or name.startswith("ogg")
    assert sniff(data[:HEAD]) == sniff(data)


def test_the_tests_cover_the_contracts_list() -> None:
    assert {name.partition("-")[0] for name in (*FORMS, "amr-nb")} == {"wav", "flac", "mp3", "aac", "m4a", "mp4", "ogg", "webm", "amr"}
    assert len(samples(192_000)) / 192_000 == pytest.approx(len(samples(8_000)) / 8_000, abs=0.001)
