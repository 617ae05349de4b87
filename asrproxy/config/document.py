"""YAML text to plain values that know their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import yaml

from asrproxy.errors import ConfigError

Path = tuple[str | int, ...]
"""Keys and list indices from the top of the file down."""

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = "Scalar | dict[str, Value] | list[Value]"

DEEPEST: Final = 40
LARGEST: Final = 20_000
"""Values, aliases written out: an alias of aliases of aliases would fill the memory."""

# YAML 1.2's core schema, without its hexadecimal, infinite and not-a-number: `0123` and `on` are text, as a person who writes an app key
# or a switch's name expects, and what they mean is for the setting's type to say.
_PLAIN: Final[tuple[tuple[re.Pattern[str], type[int] | type[float]], ...]] = (
    (re.compile(r"[-+]?(0|[1-9][0-9]{0,17})"), int),
    (re.compile(r"[-+]?(0|[1-9][0-9]{0,17})?\.[0-9]{1,18}([eE][-+]?[0-9]{1,2})?|[-+]?[1-9][0-9]{0,17}[eE][-+]?[0-9]{1,2}"), float),
)
_WORDS: Final[dict[str, Scalar]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_QUOTED: Final = re.compile(r"""(['"])(.*?)\1""", re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TEXT_TAGS: Final = ("!", "tag:yaml.org,2002:str")


@dataclass(slots=True)
class Document:
    """What a file says. lines: where each value begins, by its path, from 1. faults: what is wrong with it as YAML mappings."""

    name: str
    root: Value = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[tuple[Path, int, str]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of a value, or of the nearest thing round it that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str, name: str) -> Document:
    """Raises ConfigError: not YAML, not one document, or one of YAML's features that a configuration has no use for."""
    try:
        node = _composed(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        line = _line_at(error.problem_mark or error.context_mark)
        hint = "; between braces a ${NAME} goes into quotes" if "${" in "".join(text.splitlines()[line - 1 : line]) else ""
        raise ConfigError(f"{name}:{line}: {_said(error)}{hint}") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow: its words show it
        position = getattr(error, "position", 0)
        raise ConfigError(f"{name}:{text.count(chr(10), 0, position) + 1}: a control character, which YAML does not allow") from None
    except (ValueError, OverflowError):  # PyYAML on "\\UFFFFFFFF" and the like
        raise ConfigError(f"{name}:1: not YAML: an escape or a version with a number out of range") from None
    except _Unfit as error:
        raise ConfigError(f"{name}:{error.line}: {error}") from None
    document = Document(name)
    try:
        document.root = _Plain(document).value(node, ())
    except _Unfit as error:
        raise ConfigError(f"{name}:{error.line}: {error}") from None
    return document


class _Unfit(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True, eq=False)
class _Node:
    line: int
    scalar: str = ""
    quoted: bool = False
    items: list[_Node] | None = None
    pairs: list[tuple[_Node, _Node]] | None = None
    open: bool = True
    """Still being read: an alias to it from within would never end."""


def _composed(events: Iterator[yaml.Event]) -> _Node:
    """The events of one document as a tree, aliases as the node they stand for. An empty document is a null."""
    anchors: dict[str, _Node] = {}
    under_way: list[tuple[_Node, _Node | None]] = []  # a container, and in a mapping the key that waits for its value
    root: _Node | None = None
    for event in events:
        line = _line_at(event.start_mark)
        match event:
            case yaml.AliasEvent():
                node = anchors.get(event.anchor or "")
                if node is None:
                    raise _Unfit("an alias (*name) to no anchor (&name): text that begins with * goes into quotes", line)
                if node.open:
                    raise _Unfit("an alias inside of what it stands for", line)
            case yaml.ScalarEvent():
                if _SURROGATE.search(event.value):
                    raise _Unfit("half of a surrogate pair, which is no character", line)
                node = _Node(line, event.value, event.style is not None or event.tag in _TEXT_TAGS, open=False)
            case yaml.SequenceStartEvent():
                node = _Node(line, items=[])
            case yaml.MappingStartEvent():
                node = _Node(line, pairs=[])
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                under_way.pop()[0].open = False
                continue
            case yaml.DocumentStartEvent() if root is not None:
                raise _Unfit("a second document; a configuration is one", line)
            case _:
                continue
        if not isinstance(event, yaml.AliasEvent):
            if event.tag is not None and event.tag not in _TEXT_TAGS:
                raise _Unfit("a YAML tag (!name), which has no meaning here: text that begins with ! goes into quotes", line)
            if event.anchor is not None:
                anchors[event.anchor] = node
        if under_way:
            _put(under_way, node)
        else:
            root = node
        if isinstance(event, yaml.CollectionStartEvent):
            if len(under_way) >= DEEPEST:
                raise _Unfit(f"more than {DEEPEST} levels deep", line)
            under_way.append((node, None))
    return root or _Node(1, open=False)


def _put(under_way: list[tuple[_Node, _Node | None]], node: _Node) -> None:
    container, key = under_way[-1]
    if container.items is not None:
        container.items.append(node)
    elif key is None:
        under_way[-1] = (container, node)
    else:
        assert container.pairs is not None  # noqa: S101 -- a container is one or the other
        container.pairs.append((key, node))
        under_way[-1] = (container, None)


class _Plain:
    """Nodes to values, each value's line noted."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0

    def value(self, node: _Node, path: Path, line: int | None = None) -> Value:
        """line: of the key; a value's own otherwise."""
        self._count += 1
        if self._count > LARGEST:
            raise _Unfit(f"more than {LARGEST} values (aliases written out)", node.line)
        if len(path) > DEEPEST:
            raise _Unfit(f"more than {DEEPEST} levels deep (aliases written out)", node.line)
        self._document.lines[path] = line or node.line
        if node.items is not None:
            return [self.value(each, (*path, place)) for place, each in enumerate(node.items)]
        if node.pairs is not None:
            return self._mapping(node, path)
        return node.scalar if node.quoted else _plain(node.scalar)

    def _mapping(self, node: _Node, path: Path) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        for key, each in self._pairs(node):
            if key.items is not None or key.pairs is not None:
                raise _Unfit("a list or mapping as a key", key.line)
            at = (*path, key.scalar)
            if key.scalar in mapping:
                self._document.faults.append((at, key.line, f"is given twice, first on line {self._document.lines[at]}"))
                continue
            mapping[key.scalar] = self.value(each, at, key.line)
        return mapping

    def _pairs(self, node: _Node) -> list[tuple[_Node, _Node]]:
        """The mapping's own pairs, then those that `<<: *anchor` brings and it does not have itself."""
        pairs = node.pairs or []
        own = [pair for pair in pairs if not _is_merge(pair[0])]
        if len(own) == len(pairs):
            return own
        had = {key.scalar for key, _ in own}
        for _, source in [pair for pair in pairs if _is_merge(pair[0])]:
            for each in [source] if source.items is None else source.items:
                if each.pairs is None:
                    raise _Unfit("<< takes an alias of a mapping, or a list of them", each.line)
                for key, brought in self._pairs(each):
                    if key.scalar not in had:
                        had.add(key.scalar)
                        own.append((key, brought))
        self._count += len(own)
        if self._count > LARGEST:
            raise _Unfit(f"more than {LARGEST} values (aliases written out)", node.line)
        return own


def _is_merge(key: _Node) -> bool:
    return key.scalar == "<<" and not key.quoted and key.items is None and key.pairs is None


def _plain(text: str) -> Scalar:
    """What text without quotes means."""
    if text in _WORDS:
        return _WORDS[text]
    for pattern, number in _PLAIN:
        if pattern.fullmatch(text):
            return number(text)
    return text


class _Mark(Protocol):
    """PyYAML has two kinds."""

    line: int


def _line_at(mark: _Mark | None) -> int:
    return 1 if mark is None else mark.line + 1


def _said(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's words without what they quote from the file, which may be a secret."""
    said = ", ".join(_QUOTED.sub(_shown, part) for part in (error.context, error.problem) if part)
    return f"not YAML: {said or 'it cannot be read'}"


def _shown(quoted: re.Match[str]) -> str:
    """PyYAML's own token names and single signs stay."""
    return quoted[0] if re.fullmatch(r"<[a-z ]+>|[^\w\s]|\\t", quoted[2]) else "…"
