"""`${NAME}`, `${NAME:-default}` and `${file:/path}` in the values of a document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

from asrproxy.config.document import Document, Path, Value

LARGEST_FILE: Final = 2**20
_REFERENCE: Final = re.compile(r"\$\$|\$\{([^}]*)\}|\$\{")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ABSENT: Final = object()


@dataclass(slots=True)
class Substituted:
    """A document's values with nothing left to fill in.

    foreign: what came from outside, by path: the text as it is written in the file, and what it became. failed: the paths that could
    not be filled in; each is among `faults`, with its line and what was expected.
    """

    root: Value = None
    foreign: dict[Path, list[tuple[str, str]]] = field(default_factory=dict)
    failed: set[Path] = field(default_factory=set)
    faults: list[tuple[Path, int, str]] = field(default_factory=list)


def substitute(document: Document, *, environ: Mapping[str, str], folder: FilePath) -> Substituted:
    """Fills in every value, never a key. What is filled in is text: no YAML is read from it, and types are the settings' to give.

    folder: where relative `${file:…}` paths begin. A key whose whole value is one `${NAME:-}` that comes out empty counts as left out.
    """
    filled = Substituted()
    filled.root = _Filling(document, environ, folder, filled).value(document.root, ())
    return filled


def files_named(document: Document, *, folder: FilePath) -> tuple[FilePath, ...]:
    """The files that its values name as `${file:…}`, each once, in order, whether they are there or not."""
    found: dict[FilePath, None] = {}

    def look(value: Value) -> None:
        if isinstance(value, dict):
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)
        elif isinstance(value, str):
            for match in _REFERENCE.finditer(value):
                name = (match[1] or "").removeprefix("file:").strip()
                if (match[1] or "").startswith("file:") and name and "\0" not in name:
                    found[folder / name] = None

    look(document.root)
    return tuple(found)


class _Fault(Exception):
    pass


class _Filling:
    def __init__(self, document: Document, environ: Mapping[str, str], folder: FilePath, into: Substituted) -> None:
        self._document, self._environ, self._folder, self._into = document, environ, folder, into

    def value(self, value: Value, path: Path) -> Value:
        if isinstance(value, dict):
            filled = {}
            for key, each in value.items():
                at = (*path, key)
                if not (isinstance(each, str) and self._left_out(each)):
                    filled[key] = self.value(each, at)
            return filled
        if isinstance(value, list):
            return [self.value(each, (*path, place)) for place, each in enumerate(value)]
        if isinstance(value, str) and "$" in value:
            return self._text(value, path)
        return value

    def _left_out(self, text: str) -> bool:
        match = _REFERENCE.fullmatch(text)
        if match is None or match[1] is None or not match[1].endswith(":-"):
            return False
        name = match[1].removesuffix(":-")
        return bool(_NAME.fullmatch(name)) and not self._environ.get(name)

    def _text(self, text: str, path: Path) -> str:
        pieces: list[tuple[str, str]] = []
        faults: list[str] = []

        def piece(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            try:
                found = self._found(match[1])
            except _Fault as fault:
                faults.append(str(fault))
                return match[0]
            if found:
                pieces.append((match[0], found))
            return found

        filled = _REFERENCE.sub(piece, text)
        if faults:
            self._into.failed.add(path)
            self._into.faults.extend((path, self._document.line(path), fault) for fault in faults)
        elif pieces:
            self._into.foreign[path] = [*pieces, (text, filled)]
        return filled

    def _found(self, reference: str | None) -> str:
        if reference is None:
            raise _Fault("a ${ with no } after it; a dollar sign itself is $$")
        if reference.startswith("file:"):
            return self._from_file(reference.removeprefix("file:").strip())
        name, given, default = reference.partition(":-")
        if not _NAME.fullmatch(name):
            raise _Fault("expected ${NAME}, ${NAME:-default} or ${file:/path}; a dollar sign itself is $$")
        if "${" in default:
            raise _Fault(f"the default of ${{{name}}} holds another ${{…}}: a default is plain text")
        value = self._environ.get(name)
        if given:
            return value or default
        if value is None:
            raise _Fault(f"the environment variable {name} is not set (${{{name}:-default}} gives a default)")
        return value

    def _from_file(self, named: str) -> str:
        if not named or "\0" in named:
            raise _Fault("expected ${file:/path}")
        path = self._folder / named
        try:
            if path.exists() and not path.is_file():  # a pipe or a device may never end
                raise _Fault(f"{path} is not a regular file")
            with path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
            if len(content) > LARGEST_FILE:
                raise _Fault(f"{path} is larger than {LARGEST_FILE} bytes")
            return content.decode("utf-8-sig").rstrip("\r\n")
        except OSError as error:
            raise _Fault(f"{path} cannot be read: {error.strerror or 'it has no proper name'}") from error
        except UnicodeDecodeError:
            raise _Fault(f"{path} is not UTF-8 text") from None
