"""Manifests as people keep them, with comments and several in a file, to the same with sidecars."""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import yaml

from asrproxy.errors import ConfigError
from asrproxy.kube.edit import Uneditable, edited, is_ambiguous
from asrproxy.kube.inject import inject
from asrproxy.kube.kinds import PODS, Found, pods
from asrproxy.kube.patch import Add, Patch, apply
from asrproxy.kube.refusal import Malformed, Refused
from asrproxy.kube.settings import InjectionSettings
from asrproxy.kube.stream import Piece, split

# A document that has none of these words is not even parsed: templates of other tools come along in one stream.
_WORTH_A_LOOK: Final = re.compile(r"\b(?:" + "|".join([*(kind for _, kind in PODS), r"\w*List"]) + r")\b")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pod that could not have a sidecar. where: file and line of its document; name: `Job/nightly`."""

    where: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Injected:
    """A stream with its sidecars, and those that have none in spite of being asked for."""

    text: str
    refusals: tuple[Refusal, ...]


def injected(text: str, name: str, settings: InjectionSettings) -> Injected:
    """What is not a pod and holds none comes out as it went in, byte for byte.

    name: the file's, for messages. Raises ConfigError: what should be looked at is no YAML.
    """
    refusals: list[Refusal] = []
    parts = []
    for piece in split(text):
        parts.append(piece.before)
        if _WORTH_A_LOOK.search(piece.body):
            parts.append(_document(piece, name, settings, refusals))
        else:
            parts.append(piece.body)
    return Injected("".join(parts), tuple(refusals))


def _document(piece: Piece, name: str, settings: InjectionSettings, refusals: list[Refusal]) -> str:
    document = _unshared(_value(piece, name))
    patches: list[tuple[Found, Patch]] = []
    for found in pods(document):
        try:
            if patch := inject(found.pod, settings):
                patches.append((found, patch))
        except (Refused, Malformed) as error:
            refusals.append(Refusal(f"{name}:{piece.line}", found.name, str(error)))
    if not patches:
        return piece.body
    try:
        return _patched(piece.body, document, patches)
    except ConfigError as error:
        raise ConfigError(f"{name}:{piece.line}: {error}") from None


def _patched(body: str, document: Any, patches: list[tuple[Found, Patch]]) -> str:
    whole = [Add((*found.place, *each.path), each.value) for found, patch in patches for each in patch]
    apply(tuple(whole), document)
    if body.lstrip().startswith("{") and _is_json(body):
        return json.dumps(document, ensure_ascii=False, indent=_indent(body)) + body[len(body.rstrip()) :]
    try:
        text = edited(body, whole, roomy=_is_roomy(body))
        if _parsed(text) == document:
            return text
    except (Uneditable, yaml.YAMLError):
        pass
    text = _round_trip(body, whole)
    if _parsed(text) != document:
        raise ConfigError("the document uses aliases in a way that does not let a sidecar in: write them out")
    return text


def _round_trip(body: str, patch: list[Add]) -> str:
    """Through a parser that keeps comments and order, though not every space: where aliases are in the way of an edit of the text."""
    from ruamel.yaml import YAML
    from ruamel.yaml.util import load_yaml_guess_indent

    lines = body.replace("\r\n", "\n")
    _, indent, offset = load_yaml_guess_indent(lines)
    parser = YAML(typ="rt")
    parser.preserve_quotes = True
    parser.width = 10**6
    parser.indent(mapping=2, sequence=indent or 2, offset=offset or 0)
    document = parser.load(lines)
    for each in patch:
        place = document
        for part in each.path[:-1]:
            place = _own(place, part)
        apply((Add(each.path[-1:], _unmistakable(each.value)),), place)
    out = io.StringIO()
    parser.dump(document, out)
    return out.getvalue() if lines == body else out.getvalue().replace("\n", "\r\n")


def _own(place: Any, part: str | int) -> Any:
    """What is there, and only there: a copy of what an alias or a merge brings from elsewhere."""
    below = place[part]
    if getattr(getattr(below, "anchor", None), "value", None) is not None or (isinstance(place, dict) and part not in dict.keys(place)):
        below = copy.deepcopy(below)
        below.yaml_set_anchor(None)
        place[part] = below
    return below


def _unmistakable(value: Any) -> Any:
    """A copy in which text that a reader may take for something else stands in quotes."""
    from ruamel.yaml.scalarstring import SingleQuotedScalarString

    match value:
        case dict():
            return {key: _unmistakable(each) for key, each in value.items()}
        case list():
            return [_unmistakable(each) for each in value]
        case str() if is_ambiguous(value):
            return SingleQuotedScalarString(value)
        case _:
            return value


def _unshared(value: Any) -> Any:
    """Aliases written out: what is put into one place must not show in another."""
    if isinstance(value, dict):
        return {key: _unshared(each) for key, each in value.items()}
    return [_unshared(each) for each in value] if isinstance(value, list) else value


def _value(piece: Piece, name: str) -> Any:
    try:
        return _parsed(piece.body)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{name}:{piece.line + (mark.line if mark else 0)}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name}:{piece.line}: not YAML: {error}") from error


def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 -- a safe one


def _is_json(body: str) -> bool:
    """Or YAML's own braces."""
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _indent(body: str) -> int | None:
    """Of a JSON text's second line; None: it is all on one."""
    second = re.search(r"\{\s*\n( +)", body)
    return len(second[1]) if second else None


def _is_roomy(body: str) -> bool:
    """Whether the first list below a key is indented."""
    below = re.search(r"^( *)(?:- +)?[^\s#-][^\n]*:[ \t]*(?:#[^\n]*)?\r?\n(?:[ \t]*(?:#[^\n]*)?\r?\n)*( *)- ", body, re.MULTILINE)
    return below is not None and len(below[2]) > len(below[1])


def joined(streams: Iterable[str]) -> str:
    """Several files' streams as one."""
    whole = ""
    for text in streams:
        if whole and not whole.endswith("\n"):
            whole += "\n"
        if whole and text and not re.match(r"---(?:[ \t\r\n]|\Z)|%", text):
            whole += "---\n"
        whole += text
    return whole
