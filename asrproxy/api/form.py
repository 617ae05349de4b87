"""A multipart form: its audio into a spool, its other parts the parameters.

The multipart package reads forms. One that is all there and looks as most clients write them is taken apart at once, by the places of its
boundary: to look for that from the end takes a fifth of the time, and to find it was most of what a form cost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from multipart import MultipartSegment, PushMultipartParser

from asrproxy.audio.spool import Spool
from asrproxy.errors import InvalidParameter

LONGEST_FIELD: Final = 16_384
"""Bytes."""
LONGEST_HEADER: Final = 8_190
"""Of a part, in bytes: what aiohttp takes of a request's."""
FIELDS: Final = 32
AUDIO_PARTS: Final = ("audio", "file")
PARTS: Final = FIELDS + 2

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")
"""RFC 2046, section 5.1.1, without the space."""
_TYPE: Final = rb"(?i:content-type): (?!(?i:multipart/))[!-~][ -~]*"
_HEAD: Final = re.compile(
    rb"(?:%(type)b\r\n)?"
    rb"(?i:content-disposition): form-data; name=\"(?P<name>[ !#$&-\[\]-~]{1,64})\"(?:; filename=\"[ !#$&-\[\]-~]*\")?"
    rb"(?:\r\n%(type)b)?" % {b"type": _TYPE}
)
"""What stands above a part in the forms of curl, browsers and libraries. No `%`, no backslash: clients differ in quoting with them."""


class Part(NamedTuple):
    """One part of a form that is all there."""

    name: str
    content: memoryview


def parser(boundary: str) -> PushMultipartParser:
    """What reads any form, piece by piece."""
    return PushMultipartParser(boundary, max_segment_count=PARTS, max_header_size=LONGEST_HEADER)


def plain(body: bytes, boundary: str) -> Sequence[Part] | None:
    """The parts of a whole form, as views into it; None for one that is not as plain as most, or not a form: `parser` judges it then."""
    if not _BOUNDARY.fullmatch(boundary):
        return None
    delimiter = b"\r\n--" + boundary.encode("ascii")
    if not body.startswith(delimiter[2:]):
        return None
    found = _places(body, delimiter)
    if not found or body[(last := found[0] + len(delimiter)) : last + 2] != b"--":
        return None
    parts = []
    begin = len(delimiter) - 2
    for end in reversed(found):
        if body[begin : begin + 2] != b"\r\n":
            return None
        above = body.find(b"\r\n\r\n", begin + 2, min(end, begin + LONGEST_HEADER))
        head = None if above < 0 else _HEAD.fullmatch(body, begin + 2, above)
        if head is None:
            return None
        parts.append(Part(head["name"].decode("ascii"), memoryview(body)[above + 4 : end]))
        begin = end + len(delimiter)
    return parts


def _places(body: bytes, delimiter: bytes) -> list[int]:
    """Where the delimiter is, from the last on; nowhere, if there are more than a form may have."""
    found, at = list[int](), len(body)
    while (at := body.rfind(delimiter, 0, at)) >= 0:
        found.append(at)
        if len(found) > PARTS:
            return []
    return found


class Form:
    """What the parts of a form come to. spool: takes the audio. repeatable: the one name that may come more than once."""

    def __init__(self, spool: Spool, repeatable: str) -> None:
        self.fields: dict[str, str] = {}
        self.has_audio = False
        self._spool, self._repeatable = spool, repeatable
        self._name: str | None = None  # None: this part is the audio
        self._value = bytearray()

    async def add(self, part: Part) -> None:
        """A part that is all there."""
        self._begin(part.name)
        if part.content:
            await self._more(part.content)
        self._end()

    async def take(self, event: MultipartSegment | bytes | None) -> None:
        """The head of a part, a piece of it, or its end."""
        if isinstance(event, MultipartSegment):
            if (event.content_type or "").startswith("multipart/"):
                raise InvalidParameter("a part of the form is itself multipart")
            self._begin((event.name or "")[:64])
        elif event is None:
            self._end()
        else:
            await self._more(event)

    def _begin(self, name: str) -> None:
        if name in AUDIO_PARTS:
            if self.has_audio:
                raise InvalidParameter("the form has more than one audio part", param=name)
            self.has_audio, self._name = True, None
            return
        if name != self._repeatable:
            if name in self.fields:
                raise InvalidParameter(f"{name!r} is given twice", param=name)
            if len(self.fields) >= FIELDS:
                raise InvalidParameter(f"the form has more than {FIELDS} parts")
        self._name, self._value = name, bytearray()

    async def _more(self, content: bytes | memoryview) -> None:
        if self._name is None:
            await self._spool.write(content)
            return
        self._value += content
        if len(self._value) > LONGEST_FIELD:
            raise InvalidParameter(f"{self._name} is longer than {LONGEST_FIELD} bytes", param=self._name)

    def _end(self) -> None:
        if (name := self._name) is None:
            return
        try:
            value = self._value.decode("utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            raise InvalidParameter(f"{name} is not UTF-8 text", param=name) from error
        before = self.fields.get(name)
        self.fields[name] = value if not before else f"{before}\n{value}" if value else before
