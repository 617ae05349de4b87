"""What routes with a budget have spent: over reloads, and over restarts where a folder is named."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asrproxy.config.models import BudgetSettings
from asrproxy.events import Noted, Observer
from asrproxy.figures import BudgetFigures
from asrproxy.model import Charge
from asrproxy.policy.spending import Spending, Spent

if TYPE_CHECKING:
    from asrproxy.fleet.fleet import Fleet

FILES: Final = "spending*.json"
"""One a process: each worker writes what it knows, and whoever starts takes the most that any of them knew."""
PAUSE: Final = 1.0
"""Seconds between two writes: a process that is killed forgets what was spent in its last one."""

Kept = dict[tuple[str, str], list[Spent]]
"""By route and currency."""


class Ledger:
    """Holds each route's `Spending` for as long as the process lives.

    folder: where it is written; None: nowhere, and without a fleet a restart begins at nothing. worker: its number, where there are
    several. A file that cannot be read or written is
    noted and changes nothing else: no request fails for it.
    """

    def __init__(self, folder: Path | None, *, announce: Observer, worker: int | None = None) -> None:
        self._file = None if folder is None else folder / FILES.replace("*", "" if worker is None else f"-{worker}")
        self._announce = announce
        self._fleet: Fleet | None = None
        self._kept: Kept = {}
        self._spendings: dict[str, Spending] = {}
        self._changed, self._closing = asyncio.Event(), asyncio.Event()
        self._failing = False

    @asynccontextmanager
    async def opened(self, fleet: Fleet | None) -> AsyncIterator[None]:
        """Reads what was kept; inside, what is spent is written and shared with the fleet."""
        self._fleet = fleet
        if self._file is None:
            yield
            return
        try:
            self._kept = await asyncio.to_thread(_read, self._file.parent)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._announce(Noted("error", "what was spent cannot be read", {"folder": str(self._file.parent), "error": error}))
        writing = asyncio.create_task(self._write_on(self._file), name="ledger")
        try:
            yield
        finally:
            if fleet is not None:
                await fleet.settle()  # of several workers the last to end so writes what all have spent
            self._closing.set()
            self._changed.set()
            await writing

    def spending(self, route: str, settings: BudgetSettings, currency: str) -> Spending:
        """The route's; one that goes on knows what was spent before."""
        spending = self._spendings.get(route)
        if spending is not None and spending.currency == currency:
            spending.take(settings)
            return spending
        if spending is not None:
            self._drop(spending)
        kept = self._kept.get((route, currency), ())
        spending = self._spendings[route] = Spending(route=route, settings=settings, currency=currency, observer=self._announce, kept=kept)
        if self._fleet is not None:
            self._fleet.spend(spending)
        return spending

    def keep(self, routes: Collection[str]) -> None:
        """Only these have a budget now."""
        for route in set(self._spendings) - set(routes):
            self._drop(self._spendings.pop(route))

    def charged(self, route: str, charge: Charge) -> None:
        """A call of the route has cost something."""
        if charge.amount and (spending := self._spendings.get(route)) is not None and spending.currency == charge.currency:
            spending.add(charge.amount)
            self._changed.set()

    def figures(self) -> Mapping[str, tuple[BudgetFigures, ...]]:
        """By route."""
        return {route: spending.figures() for route, spending in self._spendings.items()}

    def _drop(self, spending: Spending) -> None:
        if self._fleet is not None:
            self._fleet.spend_no_more(spending)

    async def _write_on(self, file: Path) -> None:
        """Whatever was spent, once a second at most, and at the end."""
        while not self._closing.is_set():
            await self._changed.wait()
            self._changed.clear()
            if self._spendings:
                await self._write(file)
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self._closing.wait()
        if self._changed.is_set():
            await self._write(file)

    async def _write(self, file: Path) -> None:
        try:
            await asyncio.to_thread(_write, file, self._written())
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._failing = True
                self._announce(Noted("error", "what was spent cannot be kept", {"file": str(file), "error": error}))

    def _written(self) -> bytes:
        return json.dumps(
            [
                {"route": route, "currency": each.currency, "spent": {spent.period: spent.amount for spent in each.spent()}}
                for route, each in self._spendings.items()
            ]
        ).encode()


def _read(folder: Path) -> Kept:
    most: dict[tuple[str, str], dict[str, float]] = {}
    for file in folder.glob(FILES):
        for each in json.loads(file.read_bytes()):
            kept = most.setdefault((str(each["route"]), str(each["currency"])), {})
            for period, amount in each["spent"].items():
                kept[str(period)] = max(float(amount), kept.get(str(period), 0.0))
    return {key: [Spent(period, amount) for period, amount in kept.items()] for key, kept in most.items()}


def _write(file: Path, content: bytes) -> None:
    partial = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(file)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
