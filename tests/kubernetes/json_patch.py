"""RFC 6902, as far as `add` goes, on copies: what an API server does with a webhook's patch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any


def patched(document: Any, patch: Iterable[Mapping[str, Any]]) -> Any:
    document = copy.deepcopy(document)
    for operation in patch:
        assert operation["op"] == "add"
        *way, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
        place = document
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        value = copy.deepcopy(operation["value"])
        if isinstance(place, list):
            at = len(place) if last == "-" else int(last)
            assert 0 <= at <= len(place), operation["path"]
            place.insert(at, value)
        else:
            place[last] = value
    return document
