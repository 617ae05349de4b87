"""What a sidecar holds over time: memory, descriptors and threads, sampled from outside, and the slope of each."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import psutil
from aiohttp import ClientSession

from bench.running import Running

EVERY = 5.0
_NAMES = ("RSS MB", "RSS of decoders MB", "decoders", "descriptors", "threads", "memory maps", "under way")


@dataclass(frozen=True, slots=True)
class Sample:
    """At one moment; memory in MB. decoders: processes. under_way: requests, as the sidecar says."""

    rss: float
    decoders_rss: float
    decoders: float
    descriptors: float
    threads: float
    maps: float
    under_way: float


class Flatness:
    """log: where the sidecar writes its stacks when it is asked for them."""

    def __init__(self, ours: Running, log: Path, session: ClientSession) -> None:
        self._url, self._session = ours.url, session
        self._process = psutil.Process(ours.process.pid)
        self._log = log
        self._seen: list[tuple[float, Sample]] = []
        self._rests: list[tuple[float, int]] = []  # MB, descriptors

    async def watch(self) -> None:
        """Samples until it is cancelled."""
        while True:
            self._seen.append((time.monotonic(), self._sample(await self._under_way())))
            await asyncio.sleep(EVERY)

    def at_rest(self) -> None:
        """Notes what it holds now, when nothing is under way. To be called before the load, after a short one, and at the end."""
        self._rests.append((self._process.memory_info().rss / 1e6, self._process.num_fds()))

    async def tasks(self) -> int:
        """asyncio tasks now. Asks for all stacks, which is dear: at rest only."""
        size = self._log.stat().st_size
        os.kill(self._process.pid, signal.SIGUSR1)
        await asyncio.sleep(1.0)
        with self._log.open("rb") as file:
            file.seek(size)
            return file.read().count(b'"event": "task"')

    def rows(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """The head and the rows of the table."""
        later = self._seen[len(self._seen) // 3 :]
        times = [(at - later[0][0]) / 60 for at, _ in later]
        rows = []
        load = [sample.under_way for _, sample in later]
        for column, name in enumerate(_NAMES):
            values = [astuple(sample)[column] for _, sample in later]
            slope, error = _line(times, values)
            beside = "" if values == load else "{:+.3f} ±{:.3f}".format(*_line(_without(load, times), _without(load, values)))
            quarter = max(1, len(values) // 4)
            means = [sum(part) / len(part) for part in (values[:quarter], values[-quarter:])]
            extremes = [f"{least_or_most(values):.1f}" for least_or_most in (min, max)]
            rows.append([name, f"{slope:+.3f} ±{error:.3f}", beside, *(f"{each:.1f}" for each in means), *extremes])
        return ["", "a minute", "a minute, load held equal", "mean of its first quarter", "of its last", "least", "most"], rows

    def rests(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """The head and the rows of the table."""
        (rss, descriptors), (rss_after, descriptors_after) = self._rests
        most = [max(each) for each in zip(*((sample.rss, sample.descriptors) for _, sample in self._seen), strict=True)]
        rows = [["RSS MB", f"{rss:.1f}", f"{most[0]:.1f}", f"{rss_after:.1f}"]]
        rows.append(["descriptors", str(descriptors), f"{most[1]:.0f}", str(descriptors_after)])
        return ["", "before the load", "most under it", "after it"], rows

    async def _under_way(self) -> int:
        async with self._session.get(f"{self._url}/v1/status") as answer:
            return int((await answer.json())["in_flight"])

    def _sample(self, under_way: int) -> Sample:
        decoders = []
        for each in self._process.children(recursive=True):
            try:
                decoders.append(each.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        maps = Path(f"/proc/{self._process.pid}/maps").read_bytes().count(b"\n")
        return Sample(
            self._process.memory_info().rss / 1e6,
            sum(decoders) / 1e6,
            len(decoders),
            self._process.num_fds(),
            self._process.num_threads(),
            maps,
            under_way,
        )


assert len(_NAMES) == len(fields(Sample))


def _line(places: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Slope of the straight line with the least squares, and its standard error; not a number for too few points, or all at one place."""
    count = len(places)
    if count < 3:
        return math.nan, math.nan
    middle, level = sum(places) / count, sum(values) / count
    if not (spread := sum((place - middle) ** 2 for place in places)):
        return math.nan, math.nan
    slope = sum((place - middle) * (value - level) for place, value in zip(places, values, strict=True)) / spread
    left = sum((value - level - slope * (place - middle)) ** 2 for place, value in zip(places, values, strict=True))
    return slope, math.sqrt(left / (count - 2) / spread)


def _without(load: Sequence[float], values: Sequence[float]) -> list[float]:
    """What a straight line over the load does not explain of the values."""
    slope, _ = _line(load, values)
    middle, level = sum(load) / len(load), sum(values) / len(values)
    return [value - level - slope * (each - middle) for each, value in zip(load, values, strict=True)]
