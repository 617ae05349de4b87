"""Patches put into YAML text where they belong: every other byte stays, comments, order, quotes and line ends among them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import yaml

from asrproxy.kube.patch import Add

_ALIAS: Final = "alias"


class Uneditable(Exception):
    """The text says in a roundabout way (an alias, a merge) what would have to change."""


def edited(text: str, patch: Sequence[Add], *, roomy: bool) -> str:
    """The text with a patch of which every path leads to what is there before it. roomy: new lists are indented below their key.

    Raises Uneditable.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    finally:
        loader.dispose()
    if root is None:
        raise Uneditable
    newline = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith(newline):
        text += newline  # what comes behind the last line begins on one of its own
    edits = [_edit(root, each, _Text(text, roomy)) for each in _gathered(patch)]
    # Several may go behind one line, the end of a list and of what is round it: the more deeply indented comes first.
    edits.sort(key=lambda each: (each.start, -each.column))
    for edit in reversed(edits):
        text = text[: edit.start] + edit.text.replace("\n", newline) + text[edit.end :]
    return text


@dataclass(frozen=True, slots=True)
class _Edit:
    """Characters from start to end become text. column: where its lines begin, 0 inside of a line."""

    start: int
    end: int
    text: str
    column: int = 0


@dataclass(frozen=True, slots=True)
class _Insertion:
    """Values for one place. path: of the mapping or list; key: in a mapping the new key, in a list the index or None for its end."""

    path: tuple[str | int, ...]
    key: str | int | None
    values: tuple[Any, ...]


class _Loader(yaml.SafeLoader):
    """Composes nodes for their places; an alias is a node of its own, at the place where it stands."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]
            return yaml.ScalarNode(_ALIAS, event.anchor, event.start_mark, event.end_mark)
        return super().compose_node(parent, index)


def _gathered(patch: Sequence[Add]) -> Iterator[_Insertion]:
    """Neighbours that go to one place as one."""
    for (path, key), group in groupby(patch, key=lambda each: (each.path[:-1], each.path[-1])):
        yield _Insertion(path, None if key == "-" else key, tuple(each.value for each in group))


@dataclass(frozen=True, slots=True)
class _Text:
    """The text that is edited."""

    text: str
    roomy: bool

    def after_line(self, index: int) -> int:
        """The start of the line behind the one with that character."""
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end + 1

    def block(self, value: Any, column: int) -> str:
        """Lines, each so far to the right."""
        dumper = _Roomy if self.roomy else _Plain
        dumped = yaml.dump(value, Dumper=dumper, sort_keys=False, width=10**6, allow_unicode=True, default_flow_style=False)
        return "".join(" " * column + line for line in dumped.splitlines(keepends=True))


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if is_ambiguous(text) else None)


def is_ambiguous(text: str) -> bool:
    """Whether some reader takes it for something else than text: YAML 1.1 and 1.2 have different numbers and switches."""
    return re.fullmatch(r"[-+.]?[0-9][-+.0-9_:eExXoObBa-fA-F]*|(?i:y|n|yes|no|on|off|true|false|null|~)|", text) is not None


_Plain.add_representer(str, _text)


class _Roomy(_Plain):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _edit(root: yaml.Node, insertion: _Insertion, text: _Text) -> _Edit:
    parent: yaml.Node | None = None
    node = root
    for part in insertion.path:
        parent, node = node, _below(node, part)
    match node:
        case yaml.SequenceNode():
            return _in_list(parent, node, insertion, text)
        case yaml.MappingNode():
            return _in_mapping(parent, node, insertion, text)
        case _:
            raise Uneditable


def _below(node: yaml.Node, part: str | int) -> yaml.Node:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part]  # type: ignore[no-any-return]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return value  # type: ignore[no-any-return]
    raise Uneditable


def _in_list(parent: yaml.Node | None, node: yaml.SequenceNode, insertion: _Insertion, text: _Text) -> _Edit:
    values, place = list(insertion.values), insertion.key
    if node.flow_style:
        if not node.value and _is_block(parent):
            return _replaced(parent, node, values, text)
        inside = ", ".join(_inline(each) for each in values)
        if place is None or place == len(node.value):
            at = _end(node.value[-1]) if node.value else node.end_mark.index - 1
            return _Edit(at, at, f", {inside}" if node.value else inside)
        at = node.value[place].start_mark.index
        return _Edit(at, at, f"{inside}, ")
    column = node.start_mark.column
    if place == 0:
        at = _first_line(parent, node, text)
    else:
        before = node.value[-1 if place is None else int(place) - 1]
        at = text.after_line(max(_end(before) - 1, 0))
    return _Edit(at, at, text.block(values, column), column)


def _first_line(parent: yaml.Node | None, node: yaml.SequenceNode, text: _Text) -> int:
    """Right below the list's key, so that a comment over its first entry stays there."""
    if isinstance(parent, yaml.MappingNode):
        for key, value in parent.value:
            if value is node:
                return text.after_line(key.end_mark.index)
    raise Uneditable


def _in_mapping(parent: yaml.Node | None, node: yaml.MappingNode, insertion: _Insertion, text: _Text) -> _Edit:
    key, value = str(insertion.key), insertion.values[-1]
    for name, old in node.value:
        if name.value == key:
            return _replaced(node, old, value, text, key_column=name.start_mark.column)
    if node.flow_style:
        if not node.value and _is_block(parent):
            return _replaced(parent, node, {key: value}, text)
        at = _end(node.value[-1][1]) if node.value else node.end_mark.index - 1
        inside = f"{_inline(key)}: {_inline(value)}"
        return _Edit(at, at, f", {inside}" if node.value else inside)
    column = node.value[0][0].start_mark.column
    at = text.after_line(max(_end(node) - 1, 0))
    return _Edit(at, at, text.block({key: value}, column), column)


def _replaced(parent: yaml.Node | None, node: yaml.Node, value: Any, text: _Text, *, key_column: int | None = None) -> _Edit:
    """A value that is empty, or a number, in favour of another."""
    if not isinstance(parent, yaml.MappingNode) or node.tag == _ALIAS:
        raise Uneditable
    start, end = node.start_mark.index, node.end_mark.index
    if parent.flow_style or not isinstance(value, dict | list):
        gap = "" if start == 0 or text.text[start - 1] in " \t" else " "
        return _Edit(start, end, gap + _inline(value))
    if key_column is None:
        key_column = next(name.start_mark.column for name, each in parent.value if each is node)
    close = text.after_line(max(end - 1, 0))
    rest = text.text[end:close]
    column = key_column + (2 if isinstance(value, dict) or text.roomy else 0)
    kept = text.text[:start].rstrip(" ")  # between the colon and the value that goes
    tail = rest if rest.strip() else rest.lstrip(" \t")
    return _Edit(len(kept), close, tail + text.block(value, column))


def _is_block(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _inline(value: Any) -> str:
    """JSON, which is YAML."""
    return json.dumps(value, ensure_ascii=False)


def _end(node: yaml.Node) -> int:
    """Behind the last character of what a node says: of a block, its last leaf's, for the block's own end is behind the comments."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        key, value = node.value[-1]
        return max(_end(key), _end(value))
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    return node.end_mark.index
