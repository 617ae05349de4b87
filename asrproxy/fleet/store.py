"""What a fleet's scripts do in Redis, done in memory: for the workers of one sidecar, which need no Redis between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from asrproxy.fleet import rate, spending, token

Value: TypeAlias = str | bytes | int | float
Answer: TypeAlias = list[bytes | int] | int


TOTAL: Final = "total"
"""Beside the owners' names, which are hexadecimal."""


@dataclass(slots=True)
class _Kept:
    value: Value | tuple[bytes, str, float] | dict[str, float]
    ends: float


class Store:
    """Keeps values until they expire and answers the fleet's scripts as Redis would, by the script's text.

    time: seconds; the one clock of all that is kept. Each script runs whole, as in Redis: nothing here waits.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._kept: dict[str, _Kept] = {}
        self._signs: dict[str, dict[str, float]] = {}

    def run(self, script: str, keys: list[str], arguments: list[Value]) -> Answer:
        """What the script returns. Raises KeyError: a script that is not the fleet's."""
        return _SCRIPTS[script](self, keys, arguments)

    def gone(self, owner: str) -> None:
        """A worker has ended: it is counted in no rate any more, and what it held (the right to make a token) is free."""
        for signs in self._signs.values():
            signs.pop(owner, None)
        for key in [key for key, kept in self._kept.items() if kept.value == owner]:
            del self._kept[key]

    def _get(self, key: str) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is not None and kept.ends <= self._time():
            del self._kept[key]
            return None
        return kept

    def _set(self, key: str, value: Value | tuple[bytes, str, float] | dict[str, float], seconds: float) -> None:
        self._kept[key] = _Kept(value, self._time() + seconds)

    def _permits(self, keys: list[str], arguments: list[Value]) -> Answer:
        """`rate.ASK`: GCRA; see there. Microseconds in and out, as the script has them."""
        owner, (interval, horizon, absent), (wanted, least) = str(arguments[0]), _numbers(arguments[1:4]), _numbers(arguments[4:6])
        now = math.floor(self._time() * 1e6)
        signs = self._signs.setdefault(keys[1], {})
        signs[owner] = now
        for other in [each for each, seen in signs.items() if seen <= now - absent]:
            del signs[other]
        kept = self._get(keys[0])
        free = float(kept.value) if kept is not None and isinstance(kept.value, float) else 0.0
        if free < now or free > now + 2 * (horizon + (len(signs) + 1) * interval):
            free = now
        granted = int(max(least, min(wanted, math.floor((now + horizon - free) / interval))))
        if granted > 0:
            after = free + granted * interval
            self._set(keys[0], after, (after - now) / 1e6 + 60.0)
        warning = 0
        if (opened := float(arguments[6])) > 0:
            self._set(keys[2], owner, opened / 1e3)
        elif (hint := self._get(keys[2])) is not None and hint.value != owner:
            warning = math.ceil((hint.ends - self._time()) * 1e3)
        return [granted, math.ceil(free - now), len(signs), warning]

    def _leave(self, keys: list[str], arguments: list[Value]) -> Answer:
        """`rate.LEAVE`."""
        return int(self._signs.get(keys[0], {}).pop(str(arguments[0]), None) is not None)

    def _spend(self, keys: list[str], arguments: list[Value]) -> Answer:
        """`spending.ASK`: adds up what each has spent, by what each says of itself."""
        owner, absent = str(arguments[0]), float(arguments[1])
        now = math.floor(self._time() * 1e6)
        signs = self._signs.setdefault(keys[0], {})
        signs[owner] = now
        for other in [each for each, seen in signs.items() if seen <= now - absent]:
            del signs[other]
        answer: list[bytes | int] = [len(signs)]
        for place, key in enumerate(keys[1:]):
            own, base, left = _numbers(arguments[2 + 3 * place : 5 + 3 * place])
            kept = self._get(key)
            spent: dict[str, float] = kept.value if kept is not None and isinstance(kept.value, dict) else {TOTAL: base}
            spent[TOTAL] += own - spent.get(owner, 0.0)
            spent[owner] = own
            self._set(key, spent, left / 1e3)
            answer.append(repr(spent[TOTAL]).encode())
        return answer

    def _token(self, keys: list[str], arguments: list[Value]) -> Answer:
        """`token.ASK`: the token, the right to make it, or neither yet."""
        owner, unwanted, held = str(arguments[0]), str(arguments[1]), float(arguments[2])
        kept = self._get(keys[0])
        if kept is not None and isinstance(kept.value, tuple):
            value, mark, life = kept.value
            left = (kept.ends - self._time()) * 1e3
            if mark != unwanted and left > min(600_000, life / 3):
                return [b"kept", value, mark.encode(), int(left)]
        if self._get(keys[1]) is None:
            self._set(keys[1], owner, held / 1e3)
            return [b"make"]
        return [b"wait"]

    def _keep(self, keys: list[str], arguments: list[Value]) -> Answer:
        """`token.KEEP`: whoever has the right to make it, or has a longer one, leaves it for the others."""
        owner, mark, life = str(arguments[0]), str(arguments[2]), float(arguments[3])
        value = arguments[1] if isinstance(arguments[1], bytes) else str(arguments[1]).encode()
        lock, kept = self._get(keys[1]), self._get(keys[0])
        own = lock is not None and lock.value == owner
        if own or kept is None or (kept.ends - self._time()) * 1e3 < life:
            self._set(keys[0], (value, mark, life), life / 1e3)
        if own:
            del self._kept[keys[1]]
        return 0

    def _release(self, keys: list[str], arguments: list[Value]) -> Answer:
        """`token.RELEASE`: only its owner gives the right back."""
        lock = self._get(keys[0])
        if lock is None or lock.value != str(arguments[0]):
            return 0
        del self._kept[keys[0]]
        return 1


_SCRIPTS: Final[Mapping[str, Callable[[Store, list[str], list[Value]], Answer]]] = MappingProxyType(
    {
        rate.ASK: Store._permits,
        rate.LEAVE: Store._leave,
        spending.ASK: Store._spend,
        token.ASK: Store._token,
        token.KEEP: Store._keep,
        token.RELEASE: Store._release,
    }
)


def _numbers(values: list[Value]) -> list[float]:
    return [float(value) for value in values]
