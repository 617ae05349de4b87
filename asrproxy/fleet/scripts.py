"""What keeps a fleet's shared state, as the fleet sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from asrproxy.fleet.seal import Seal


class Away(Exception):
    """What is shared cannot be reached now: down, too slow, full, starting or refusing. The fleet goes on without it."""


class Scripts(Protocol):
    """Runs the fleet's scripts where its state is, one whole script at a time."""

    async def run(self, script: str, keys: list[str], *arguments: str | bytes | int | float) -> Any:
        """What the script returns. Raises Away, within a time of its own."""

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a fleet meets. name: for people. prefix: before every key. seal: what the token is locked with."""

    name: str
    scripts: Scripts
    seal: Seal
    prefix: str
