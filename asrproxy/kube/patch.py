"""JSON patches (RFC 6902) of the one kind that injection makes: `add`, which leaves everything else as it is."""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Add:
    """Puts a value at a place: a new key, or in a list before what is there. path: keys and indices from the top; `-`: a list's end."""

    path: tuple[str | int, ...]
    value: Any

    @property
    def pointer(self) -> str:
        """RFC 6901."""
        return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in self.path)

    def written(self) -> dict[str, Any]:
        """As the patch's JSON has it."""
        return {"op": "add", "path": self.pointer, "value": self.value}


Patch = tuple[Add, ...]


def apply(patch: Patch, target: Any) -> None:
    """Changes `target`, a mapping of mappings and lists. Raises KeyError, IndexError: a path leads nowhere in it."""
    for each in patch:
        place = target
        for part in each.path[:-1]:
            place = place[part]
        last = each.path[-1]
        if isinstance(place, MutableMapping):
            place[last] = each.value
        elif isinstance(place, MutableSequence):
            index = len(place) if last == "-" else int(last)
            if not 0 <= index <= len(place):
                raise IndexError(each.pointer)
            place.insert(index, each.value)
        else:
            raise KeyError(each.pointer)
