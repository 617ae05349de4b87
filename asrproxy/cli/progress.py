"""How far a batch of recordings is, shown to a person at a terminal and to nobody else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress


class Progress:
    """Nothing is shown; the base of what is."""

    visible = False

    def heard(self, name: str, done: float, total: float) -> None:
        """Seconds of a recording that are recognised, and all of them."""

    def ended(self, name: str) -> None:
        """A recording is done with, well or not."""


class _Bars(Progress):
    """A bar for all recordings, and one for each that is under way and long enough to have segments."""

    visible = True

    def __init__(self, bars: rich.progress.Progress, total: int) -> None:
        self._bars = bars
        self._all = bars.add_task("recordings", total=total, unit=f"of {total}")
        self._under_way: dict[str, rich.progress.TaskID] = {}

    def heard(self, name: str, done: float, total: float) -> None:
        if name not in self._under_way:
            self._under_way[name] = self._bars.add_task(name, total=total, unit="s of audio")
        self._bars.update(self._under_way[name], completed=done, total=total)

    def ended(self, name: str) -> None:
        self._bars.advance(self._all)
        if (bar := self._under_way.pop(name, None)) is not None:
            self._bars.remove_task(bar)


@contextmanager
def progress(total: int) -> Iterator[Progress]:
    """Bars on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeRemainingColumn(),
    )
    # What goes to a file or a pipe must not be taken for something to show.
    with RichProgress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bars:
        yield _Bars(bars, total)
