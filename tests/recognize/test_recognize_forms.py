"""Forms: whatever is in a recording or a field, and however the bytes come, exactly that is taken; what is no form is refused."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.testing.sidecar import CONFIGURATION, RunningSidecar, running_sidecar

BOUNDARY = "b0undary"
LIMIT = 2**20
DELIMITER = b"--b0undary\r\n"
AUDIO = b'Content-Disposition: form-data; name="audio"; filename="a.raw"\r\nContent-Type: application/octet-stream\r\n\r\n'
FIELD = b'Content-Disposition: form-data; name="vocabulary"\r\n\r\n'
SAMPLES = bytes(320)
RAW = {"encoding": "pcm_s16le", "sample_rate": "16000"}

# Whatever looks like the beginning of a delimiter, among other bytes.
TRICKY = (
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [b"\r\n", b"\r\n--", b"\r\n--b0und", b"--b0undary\r\n", b"\r\n--b0undarx\r\n", b"\r", b"\n--b0undary--\r\n", b"\r\r\n"]
            ),
        ),
        max_size=30,
    )
    .map(b"".join)
    .filter(lambda made: b"\r\n--b0undary" not in made)
)


@pytest.fixture(scope="module")
def sidecar() -> Iterator[RunningSidecar]:
    with running_sidecar(CONFIGURATION + f"server: {{max_body: {LIMIT}}}") as running:
        yield running


def sent(sidecar: RunningSidecar, pieces: Iterable[bytes], path: str = "/v1/recognize", **parameters: str) -> tuple[int, Any]:
    """The answer to a form that comes in these pieces."""
    connection = http.client.HTTPConnection(sidecar.url.removeprefix("http://"), timeout=30)
    try:
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Transfer-Encoding": "chunked"}
        connection.request("POST", f"{path}?{urlencode(parameters)}", iter(pieces), headers, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@given(tricky=TRICKY, words=st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20), size=st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_a_form_in_any_pieces_is_taken_byte_for_byte(sidecar: RunningSidecar, tricky: bytes, words: str, size: int) -> None:
    audio = b"\xff\x7f" + tricky + bytes(len(tricky) % 2) + SAMPLES
    form = DELIMITER + AUDIO + audio + b"\r\n--b0undary--\r\n"
    status, body = sent(sidecar, (form[at : at + size] for at in range(0, len(form), size)), **RAW)
    assert status == 200, body
    assert sidecar.vendor.asked[-1].pcm == audio

    form = DELIMITER + FIELD + words.encode() + b"\r\n" + form
    _, body = sent(sidecar, (form[at : at + size] for at in range(0, len(form), size)), **RAW)
    assert f"vocabulary={words!r}" in body["error"]["message"], "this provider cannot, and says what"


MALFORMED = {
    "nothing": b"",
    "no delimiter": b"hello",
    "no end": DELIMITER + AUDIO + SAMPLES,
    "no end of a head": DELIMITER + AUDIO[:40],
    "bare line feeds": (DELIMITER + AUDIO + b"\r\n--b0undary--\r\n").replace(b"\r\n", b"\n"),
    "another boundary": (DELIMITER + AUDIO + SAMPLES + b"\r\n--b0undary--\r\n").replace(b"b0undary", b"another"),
    "a part that is no field": DELIMITER + b"Content-Type: audio/wav\r\n\r\n" + SAMPLES + b"\r\n--b0undary--\r\n",
    "a part in a part": DELIMITER + AUDIO.replace(b"application/octet-stream", b"multipart/mixed; boundary=c") + b"\r\n--b0undary--\r\n",
    "a head too long": DELIMITER + b"X-A: " + b"secret-of-mine" * 1000 + b"\r\n" + AUDIO + SAMPLES + b"\r\n--b0undary--\r\n",
    "a head without a colon": DELIMITER + b"secret-of-mine\r\n" + AUDIO + SAMPLES + b"\r\n--b0undary--\r\n",
    "two recordings": 2 * (DELIMITER + AUDIO + SAMPLES + b"\r\n") + b"--b0undary--\r\n",
    "a field twice": 2 * (DELIMITER + b'Content-Disposition: form-data; name="words"\r\n\r\ntrue\r\n') + b"--b0undary--\r\n",
    "fields without end": 1000 * (DELIMITER + b'Content-Disposition: form-data; name=""\r\n\r\n\r\n'),
    "a field too long": DELIMITER + b'Content-Disposition: form-data; name="words"\r\n\r\n' + b"a" * 20_000 + b"\r\n--b0undary--\r\n",
    "a field that is no text": DELIMITER + b'Content-Disposition: form-data; name="words"\r\n\r\n\xff\r\n--b0undary--\r\n',
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_no_form_is_refused_and_not_quoted(sidecar: RunningSidecar, what: str) -> None:
    status, body = sent(sidecar, [MALFORMED[what]] if MALFORMED[what] else [], **RAW)
    assert (status, body["error"]["code"]) == (400, "invalid_parameter")
    assert "secret-of-mine" not in json.dumps(body)


@pytest.mark.parametrize("where", ["before", "after"])
def test_what_stands_beside_the_parts_counts_too(sidecar: RunningSidecar, where: str) -> None:
    form = DELIMITER + AUDIO + SAMPLES + b"\r\n--b0undary--\r\n"
    more = [b"nothing of a form\r\n" * 1000] * 200
    status, body = sent(sidecar, [*more, form] if where == "before" else [form, *more], **RAW)
    assert (status, body["error"]["code"]) == (413, "body_too_large")
