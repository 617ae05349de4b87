"""What a body is, told from its first bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from asrproxy.errors import InvalidAudio, UnsupportedMedia

HEAD: Final = 16 * 1024
"""Bytes from which `sniff` decides; more do not change its answer."""

LISTED: Final = "WAV, FLAC, MP3, AAC/M4A/MP4, OGG (Opus, Vorbis), WebM (Opus), AMR"


class Kind(StrEnum):
    """The containers that are taken."""

    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    AAC = "aac"
    MP4 = "mp4"
    OGG = "ogg"
    WEBM = "webm"
    AMR = "amr"


@dataclass(frozen=True, slots=True)
class Container:
    """What a body is. grows: it can be decoded from its beginning while the rest is still being sent."""

    kind: Kind
    grows: bool = True


def sniff(head: bytes | memoryview) -> Container:
    """The container that begins with `head` (the whole body, or its first `HEAD` bytes).

    The rule: bytes that begin like a known format that is not on the list, audio or not (AIFF, Matroska, PNG, PDF), raise
    UnsupportedMedia naming it; no bytes, text, and bytes that begin like nothing known raise InvalidAudio.
    """
    head = bytes(head[:HEAD])
    if not head:
        raise InvalidAudio("the body is empty: send a recording")
    for at, magic, what in _SIGNATURES:
        if head.startswith(magic, at):
            if isinstance(what, Kind):
                return Container(what)
            raise UnsupportedMedia(f"{what} is not taken; send {LISTED}")
    if head.startswith(b"RIFF") or head.startswith((b"RF64", b"BW64")):
        return _riff(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _ebml(head)
    if head.startswith(b"OggS"):
        return _ogg(head)
    if (name := head[4:8]) in _FIRST_BOXES and int.from_bytes(head[:4], "big") != 0:
        return _boxes(head, name)
    if head.startswith(b"ID3"):
        tagged = tag_size(head)
        # Players expect MP3 behind the tag. What is there decides where the head reaches that far; the worker looks where it does not.
        return sniff(head[tagged:]) if 10 < tagged <= len(head) - 4 else Container(Kind.MP3)
    return _synced(head)


def tag_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that `head` begins with, 0: none (ID3v2.4, section 3.1)."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    size = 0
    for each in head[6:10]:
        size = size << 7 | (each & 0x7F)
    return 10 + size + (10 if head[5] & 0x10 else 0)


# offset, bytes, what: a kind on the list, or the name of one that is not
_SIGNATURES: Final[tuple[tuple[int, bytes, Kind | str], ...]] = (
    (0, b"fLaC", Kind.FLAC),
    (0, b"#!AMR\n", Kind.AMR),
    (0, b"#!AMR-WB\n", Kind.AMR),
    (0, b"#!AMR", "AMR with several channels"),
    (0, b"FORM", "AIFF"),
    (0, b"RIFX", "big-endian RIFF"),
    (0, b"riff\x2e\x91\xcf\x11", "Wave64"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"ADIF", "ADIF"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"TTA1", "True Audio"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"DSD ", "DSF"),
    (0, b"FRM8", "DSDIFF"),
    (0, b"MThd", "MIDI"),
    (0, b"#!SILK", "SILK"),
    (0, b"\x02#!SILK", "SILK"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF (WMA, WMV)"),
    (0, b".RMF", "RealMedia"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b"FLV\x01", "FLV"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b"\x00\x00\x01\xba", "MPEG program stream"),
    (0, b"\x00\x00\x01\xb3", "MPEG video"),
    (0, b"#EXTM3U", "a playlist"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (0, b"Rar!\x1a\x07", "RAR"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
)

_FIRST_BOXES: Final = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof"))
_PICTURES: Final = (b"avif", b"avis", b"heic", b"heix", b"heif", b"mif1", b"msf1", b"jp2 ", b"crx ")


def _riff(head: bytes) -> Container:
    form = head[8:12]
    if form == b"WAVE":
        return Container(Kind.WAV)
    name = {b"AVI ": "AVI", b"WEBP": "WebP", b"RMID": "MIDI", b"ACON": "an animated cursor"}.get(form)
    if name is not None:
        raise UnsupportedMedia(f"{name} is not taken; send {LISTED}")
    raise InvalidAudio("a RIFF file that is not WAVE" if len(form) == 4 else "a WAV file that ends within its header")


def _ebml(head: bytes) -> Container:
    """EBML holds its document type near the beginning: `webm` is on the list, `matroska` is not (RFC 8794, section 11.2.4)."""
    at = head.find(b"\x42\x82", 4, 128)
    doctype = head[at + 3 : at + 3 + (head[at + 2] & 0x7F)] if 0 < at < len(head) - 3 else b""
    if doctype == b"webm":
        return Container(Kind.WEBM)
    if doctype:
        raise UnsupportedMedia(f"Matroska is not taken; send {LISTED}")
    raise InvalidAudio("an EBML file that does not say what it is")


def _ogg(head: bytes) -> Container:
    """The first page of an Ogg file is the first packet of its first stream, which names its codec (RFC 3533)."""
    if len(head) < 28:
        raise InvalidAudio("an OGG file that ends within its first page")
    packet = head[27 + head[26] : 27 + head[26] + 8]
    for magic, name in ((b"Speex   ", "Speex"), (b"PCM     ", "OGG PCM"), (b"CELT    ", "CELT")):
        if packet == magic:
            raise UnsupportedMedia(f"{name} is not taken; send {LISTED}")
    return Container(Kind.OGG)


def _boxes(head: bytes, first: bytes) -> Container:
    """ISO base media: it can be read as it comes only if the index (`moov`) is in front of the samples (`mdat`)."""
    if first == b"ftyp" and head[8:12] in _PICTURES:
        raise UnsupportedMedia(f"a picture (HEIF, AVIF or JPEG 2000) is not taken; send {LISTED}")
    at = 0
    while at + 8 <= len(head):
        size, name = struct.unpack_from(">I4s", head, at)
        if name in (b"moov", b"moof"):
            return Container(Kind.MP4)
        if name == b"mdat" or size < 8:
            break
        at += size
    return Container(Kind.MP4, grows=False)


_MP3_KBITS: Final = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_MP3_RATES: Final = {3: (44_100, 48_000, 32_000, 0), 2: (22_050, 24_000, 16_000, 0), 0: (11_025, 12_000, 8_000, 0)}


def _synced(head: bytes) -> Container:
    """MP3 and ADTS have no signature, only frames that follow one another: two in a row (or one that fills the body) decide.

    Encoders and stream recorders leave zeros or half a frame in front, so the whole head is searched.
    """
    at = head.find(b"\xff")
    while 0 <= at < len(head) - 4:
        for kind, length in ((Kind.MP3, _mp3_frame), (Kind.AAC, _adts_frame)):
            size = length(head, at)
            if size and (at + size == len(head) or (at == 0 and at + size > len(head)) or length(head, at + size)):
                return Container(kind)
        at = head.find(b"\xff", at + 1)
    if len(head) > 188 and head[0] == head[188] == 0x47 and head[376:377] in (b"\x47", b""):
        raise UnsupportedMedia(f"MPEG transport stream is not taken; send {LISTED}")
    if head[:2] in (b"\xff\xfd", b"\xff\xfc", b"\xff\xf5"):
        raise UnsupportedMedia(f"MPEG audio layer I or II is not taken; send {LISTED}")
    if head[0] == 0x56 and len(head) > 1 and head[1] & 0xE0 == 0xE0:
        raise UnsupportedMedia(f"AAC in LATM is not taken; send {LISTED}")
    raise InvalidAudio(f"the body is not audio that is known here; send {LISTED}, or headerless PCM with `encoding` and `sample_rate`")


def _mp3_frame(head: bytes, at: int) -> int:
    """Bytes of the MPEG audio layer III frame at `at`, 0: there is none."""
    if at + 4 > len(head) or head[at] != 0xFF or head[at + 1] & 0xE6 != 0xE2:
        return 0
    version = head[at + 1] >> 3 & 3
    if version == 1:
        return 0
    kbits = _MP3_KBITS[3 if version == 3 else 2][head[at + 2] >> 4]
    rate = _MP3_RATES[version][head[at + 2] >> 2 & 3]
    if not kbits or not rate or head[at + 3] & 3 == 2:
        return 0
    return (144_000 if version == 3 else 72_000) * kbits // rate + (head[at + 2] >> 1 & 1)


def _adts_frame(head: bytes, at: int) -> int:
    """Bytes of the ADTS frame at `at`, 0: there is none."""
    if at + 7 > len(head) or head[at] != 0xFF or head[at + 1] & 0xF6 != 0xF0 or head[at + 2] >> 2 & 15 > 12:
        return 0
    size = (head[at + 3] & 3) << 11 | head[at + 4] << 3 | head[at + 5] >> 5
    return size if size > 7 else 0
