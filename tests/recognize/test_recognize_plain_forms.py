"""A form that is taken apart at once is taken as the multipart package takes it, or left to the package."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multipart import MultipartError, MultipartSegment

from asrproxy.api.form import parser, plain

BOUNDARY = "b0undary"
PIECES = [
    b"--b0undary", b"\r\n--b0undary", b"\r\n--b0undary--", b"--", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"--b0undar", b"x", b": ",
    b'Content-Disposition: form-data; name="audio"; filename="a.wav"', b'content-disposition: form-data; name="words"',
    b'Content-Disposition: form-data; name="a%22b"', b'Content-Disposition: form-data; name=bare',
    b'Content-Disposition: attachment; name="a"',
    b"Content-Type: audio/wav", b"Content-Type: multipart/mixed; boundary=c", b"Content-Length: 4", b"X-Other: 1", b"\xff\xfe", b'"', b"",
]  # fmt: skip
Written = tuple[str, str, str, bytes, str]
USUAL = st.lists(
    st.tuples(
        st.sampled_from(["audio", "file", "words", "timestamp_granularities[]", "model"]),
        st.sampled_from(["", '; filename="a.wav"', '; filename="C:\\\\a.wav"', '; filename="\u5f55\u97f3.wav"', "; filename*=utf-8''a"]),
        st.sampled_from(
            [
                "",
                "\r\nContent-Type: audio/wav",
                "\r\nContent-Type: text/plain; charset=utf-8",
                "\r\nContent-Length: 3",
                "\r\nContent-Type: Multipart/mixed; boundary=c",
            ]
        ),
        st.binary(max_size=30) | st.sampled_from([b"\r\n--b0undar", b"\r\n\r\n", b"a\r\n", b"--b0undary--\r\n"]),
        st.sampled_from(["\r\n"] * 6 + ["xx", "--", " \r\n", "\n"]),
    ),
    max_size=5,
)


def written(parts: list[Written], end: bytes = b"--b0undary--\r\n") -> bytes:
    said = b"".join(
        f'--b0undary{after}Content-Disposition: form-data; name="{name}"{file}{kind}\r\n\r\n'.encode() + content + b"\r\n"
        for name, file, kind, content, after in parts
    )
    return said + end


def judged(body: bytes) -> list[tuple[str, bytes]] | None:
    """The parts as the package sees them; None: it refuses them."""
    parts: list[tuple[str, bytes]] = []
    try:
        with parser(BOUNDARY) as reading:
            for event in reading.parse(body) if body else ():
                if isinstance(event, MultipartSegment):
                    assert not (event.content_type or "").startswith("multipart/") or plain(body, BOUNDARY) is None
                    parts.append((event.name or "", b""))
                elif event is not None:
                    parts[-1] = (parts[-1][0], parts[-1][1] + event)
    except MultipartError:
        return None
    return parts


def at_once(body: bytes) -> list[tuple[str, bytes]] | None:
    parts = plain(body, BOUNDARY)
    return None if parts is None else [(part.name, bytes(part.content)) for part in parts]


@given(st.lists(st.sampled_from(PIECES), max_size=24).map(b"".join))
@settings(max_examples=1500, deadline=None)
def test_among_all_that_looks_like_a_form_only_forms_are_taken(body: bytes) -> None:
    taken = at_once(body)
    assert taken is None or taken == judged(body)


@given(
    USUAL,
    st.sampled_from(
        [b"--b0undary--\r\n", b"--b0undary--", b"--b0undary--\r\nmore", b"", b"--b0undary\r\n", b"--b0undary--\r\n--b0undary--"]
    ),
)
@settings(max_examples=500, deadline=None)
def test_parts_are_the_same_ones(parts: list[Written], end: bytes) -> None:
    body = written(parts, end)
    taken = at_once(body)
    assert taken is None or taken == judged(body)


EDITS = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 4), st.sampled_from(PIECES) | st.binary(max_size=3)), min_size=1, max_size=3
)


@given(USUAL.filter(bool), EDITS)
@settings(max_examples=2500, deadline=None)
def test_a_damaged_form_is_judged_as_the_package_judges_it(parts: list[Written], edits: list[tuple[int, int, bytes]]) -> None:
    body = written(parts)
    for at, cut, put in edits:
        place = at % (len(body) + 1)
        body = body[:place] + put + body[place + cut :]
    taken = at_once(body)
    assert taken is None or taken == judged(body)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ('; filename="a.wav"', "\r\nContent-Type: audio/wav"),  # curl, browsers, requests, httpx
        ('; filename="a b (1).wav"', "\r\nContent-Type: audio/vnd.wave; codecs=1"),
        ("", ""),
    ],
)
def test_what_most_clients_write_is_taken_at_once(file: str, kind: str) -> None:
    form = written([("model", "", "", b"whisper-1", "\r\n"), ("file", file, kind, b"RIFF\r\n--b0undarx", "\r\n")])
    assert at_once(form) == judged(form) == [("model", b"whisper-1"), ("file", b"RIFF\r\n--b0undarx")]


def test_so_is_what_aiohttps_client_writes() -> None:
    head = b'Content-Type: audio/wav\r\nContent-Disposition: form-data; name="file"; filename="a.wav"'
    form = b"--b0undary\r\n" + head + b"\r\n\r\nRIFF\r\n--b0undary--\r\n"
    assert at_once(form) == judged(form) == [("file", b"RIFF")]


@pytest.mark.parametrize(("file", "kind"), [("x" * 8190, ""), ("", "\r\nContent-Type: audio/" + "x" * 8190)])
def test_a_head_that_the_package_finds_too_long_is_not_taken(file: str, kind: str) -> None:
    """Else the same form would be good in one piece and bad in several."""
    form = written([("file", f'; filename="{file}"', kind, b"RIFF", "\r\n")])
    assert at_once(form) == judged(form) is None


@pytest.mark.parametrize("boundary", ["", "a b", "x" * 71, "\u5f55", "a\r\n"])
def test_a_boundary_that_is_none_is_left_to_the_package(boundary: str) -> None:
    assert plain(f"--{boundary}--".encode(), boundary) is None
