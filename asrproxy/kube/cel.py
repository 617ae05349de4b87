"""Values as source text of CEL (the language of Kubernetes' policies), with the API server's types for objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

# What Kubernetes' schema has as a map from text to text; every other mapping is a struct, and a struct's literal names its type.
_MAPS: Final = frozenset({"requests", "limits", "annotations"})


@dataclass(frozen=True, slots=True)
class Cel:
    """An expression in the place of a value."""

    text: str


def render(value: object, path: str = "") -> str:
    """path: of the field that the value is for, below `Object`: `spec.volumes`. A list's entries have the list's own type name."""
    match value:
        case Cel():
            return value.text
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list() | tuple():
            return f"[{', '.join(render(each, path) for each in value)}]"
        case dict() if path and path.rpartition(".")[2] not in _MAPS:
            fields = ", ".join(f"{name}: {render(each, f'{path}.{name}')}" for name, each in value.items())
            return f"Object.{path}{{{fields}}}"
        case dict():
            return f"{{{', '.join(f'{render(name)}: {render(each)}' for name, each in value.items())}}}"
        case _:
            raise TypeError(f"{type(value).__name__} has no literal in CEL")


def choice(condition: str, then: str, otherwise: str) -> str:
    """`condition ? then : otherwise`, fit to stand anywhere."""
    return f"({condition} ? {then} : {otherwise})"


def lookup(name: str, within: str, otherwise: str) -> str:
    """A map's value by its key, or something else where it has none."""
    return choice(f"{render(name)} in {within}", f"{within}[{render(name)}]", otherwise)


def added(pointer: str, value: str) -> str:
    """One operation of a JSON patch. pointer: an expression."""
    return f'JSONPatch{{op: "add", path: {pointer}, value: {value}}}'


def joined(lists: list[str]) -> str:
    """Lists, one behind the other, each on lines of its own."""
    return "\n+ ".join(lists)
