"""Recordings through two routes, their texts against each other and against what was said."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asrproxy.cli.client import Failed, Sidecar, calling
from asrproxy.cli.columns import columns
from asrproxy.cli.inprocess import sidecar_of
from asrproxy.cli.recordings import Missing, Recording, recordings
from asrproxy.errors import ConfigError
from asrproxy.text.distance import Difference, difference

if TYPE_CHECKING:
    from asrproxy.config.models import Configuration


@dataclass(frozen=True, slots=True)
class Comparing:
    """What is asked for. first, second: routes or providers."""

    first: str
    second: str
    files: tuple[str, ...]
    references: Path | None
    language: str | None
    report: Path | None
    as_json: bool
    jobs: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One side's answer. seconds: until it came; cost: by currency; wrong: None where nobody knows what was said."""

    text: str
    seconds: float
    cost: Mapping[str, float]
    wrong: Difference | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides' answers to one recording. apart: of the second from the first."""

    name: str
    duration: float
    said: str | None
    first: Reading
    second: Reading
    apart: Difference


@dataclass(frozen=True, slots=True)
class Total:
    """A side over all recordings. Rates are shares of tokens; None: nothing to go by."""

    name: str
    seconds: float
    cost: Mapping[str, float]
    error_rate: float | None
    slowest: float


def compare(wanted: Comparing, configuration: Configuration | None, url: str, token: str | None) -> int:
    """Prints the table; the exit status: 1 where a recording failed or nothing could be compared."""
    try:
        said = _references(wanted.references)
    except (OSError, ValueError) as error:
        _say(f"asrproxy: {wanted.references}: {error}")
        return 2
    return asyncio.run(_compare(wanted, configuration, url, token, said))


def shadows(url: str, token: str | None, *, as_json: bool) -> int:
    """Prints what the shadows of a running sidecar have found so far."""
    return asyncio.run(_shadows(url, token, as_json=as_json))


def totals(pairs: Sequence[Pair], names: tuple[str, str]) -> tuple[Total, Total]:
    """Both sides over all recordings."""
    return _total(names[0], [pair.first for pair in pairs]), _total(names[1], [pair.second for pair in pairs])


def _total(name: str, readings: Sequence[Reading]) -> Total:
    cost: dict[str, float] = {}
    for reading in readings:
        for currency, amount in reading.cost.items():
            cost[currency] = cost.get(currency, 0.0) + amount
    known = [reading.wrong for reading in readings if reading.wrong is not None]
    tokens = sum(each.tokens for each in known)
    rate = sum(each.edits for each in known) / tokens if tokens else None
    return Total(name, sum(each.seconds for each in readings) / len(readings), cost, rate, max(each.seconds for each in readings))


async def _compare(wanted: Comparing, configuration: Configuration | None, url: str, token: str | None, said: Mapping[str, str]) -> int:
    found = list(recordings(wanted.files))
    failed = 0
    for each in found:
        if isinstance(each, Missing):
            _say(f"{each.name}: {each.reason}")
            failed += 1
    async with AsyncExitStack() as stack:
        try:
            sidecar = await stack.enter_async_context(sidecar_of(configuration, url, token))
            if configuration is None:
                await sidecar.reach()
        except (ConfigError, Failed) as error:
            _say(f"asrproxy: {error}")
            return 1
        pairs: list[Pair] = []
        waiting = iter([each for each in found if isinstance(each, Recording)])

        async def worker() -> None:
            nonlocal failed
            for recording in waiting:
                try:
                    pair = await _pair(sidecar, recording, wanted, said)
                except (Failed, OSError) as error:
                    _say(f"{recording.name}: {error}")
                    failed += 1
                    continue
                pairs.append(pair)
                if wanted.as_json:
                    _out(json.dumps(_line(pair, wanted), ensure_ascii=False))

        async with asyncio.TaskGroup() as group:
            for _ in range(wanted.jobs):
                group.create_task(worker())
    if not pairs:
        _say("asrproxy: nothing was compared")
        return 1
    pairs.sort(key=lambda pair: pair.name)
    if not wanted.as_json:
        _out(_table(pairs, wanted))
    if wanted.report is not None:
        from asrproxy.cli.report import page

        wanted.report.write_text(page(pairs, (wanted.first, wanted.second)), "utf-8")
        _say(f"written: {wanted.report}")
    return 1 if failed else 0


async def _pair(sidecar: Sidecar, recording: Recording, wanted: Comparing, said: Mapping[str, str]) -> Pair:
    known = _said(recording, said)

    async def reading(route: str) -> tuple[Reading, float]:
        """Raises Failed."""
        time = asyncio.get_running_loop().time
        began = time()
        parameters = {"route": route} | ({"language": wanted.language} if wanted.language else {})
        body = json.loads(await sidecar.recognize(recording, parameters, timeout=None))
        wrong = None if known is None else difference(known, body["text"])
        return Reading(body["text"], time() - began, body.get("cost", {}), wrong), float(body["duration"])

    first, duration = await reading(wanted.first)  # one after the other: neither waits for the other's decoding or bandwidth
    second, _ = await reading(wanted.second)
    return Pair(recording.name, duration, known, first, second, difference(first.text, second.text))


def _references(file: Path | None) -> dict[str, str]:
    """By the recording's name, with folders and without. Raises OSError, ValueError."""
    if file is None:
        return {}
    said: dict[str, str] = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, text = line.partition("\t")
        if not tab:
            raise ValueError(f"line {number}: expected FILE, a tab, and what was said in it")
        said[name] = text
    return said


def _said(recording: Recording, said: Mapping[str, str]) -> str | None:
    if recording.path is None:
        return None
    for name in (recording.name, str(recording.path), recording.path.name):
        if name in said:
            return said[name]
    beside = recording.path.with_suffix(".txt")
    return beside.read_text("utf-8").strip() if not said and beside.is_file() else None


def _table(pairs: Sequence[Pair], wanted: Comparing) -> str:
    rows = [["recording", "seconds", "differ", *(f"{name} {what}" for name in (wanted.first, wanted.second) for what in ("wrong", "s"))]]
    rows += [
        [
            pair.name, f"{pair.duration:.1f}", f"{pair.apart.edits}/{pair.apart.tokens}",
            _wrong(pair.first), f"{pair.first.seconds:.2f}", _wrong(pair.second), f"{pair.second.seconds:.2f}",
        ]
        for pair in pairs
    ]  # fmt: skip
    sides = totals(pairs, (wanted.first, wanted.second))
    edits, tokens = sum(pair.apart.edits for pair in pairs), sum(pair.apart.tokens for pair in pairs)
    share = f"{100 * edits / tokens:.1f} %" if tokens else "-"
    summary = [["", "error rate", "mean s", "slowest s", "cost"]]
    summary += [[each.name, _percent(each.error_rate), f"{each.seconds:.2f}", f"{each.slowest:.2f}", _money(each.cost)] for each in sides]
    return f"{columns(rows)}\n\n{columns(summary)}\n\nthe texts differ in {edits} of {tokens} words or characters ({share})"


def _wrong(reading: Reading) -> str:
    return "-" if reading.wrong is None else f"{reading.wrong.edits}/{reading.wrong.tokens}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _money(cost: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:.4g} {currency}" for currency, amount in cost.items()) or "-"


def _line(pair: Pair, wanted: Comparing) -> dict[str, Any]:
    sides = {}
    for name, reading in ((wanted.first, pair.first), (wanted.second, pair.second)):
        wrong = None if reading.wrong is None else {"edits": reading.wrong.edits, "tokens": reading.wrong.tokens}
        sides[name] = {"text": reading.text, "seconds": round(reading.seconds, 3), "cost": dict(reading.cost), "wrong": wrong}
    apart = {"edits": pair.apart.edits, "tokens": pair.apart.tokens}
    return {"file": pair.name, "duration": pair.duration, "said": pair.said, "sides": sides, "apart": apart}


async def _shadows(url: str, token: str | None, *, as_json: bool) -> int:
    async with calling(url, token) as sidecar:
        try:
            await sidecar.reach()
            status = await sidecar.status()
        except Failed as error:
            _say(f"asrproxy: {error}")
            return 1
    found = {name: route["shadow"] for name, route in status["routes"].items() if route.get("shadow")}
    if not found:
        _say("asrproxy: no route of this sidecar has a shadow (routes.<name>.shadow)")
        return 1
    if as_json:
        for name, shadow in found.items():
            _out(json.dumps({"route": name, **shadow}, ensure_ascii=False))
        return 0
    rows = [["route", "shadow", "compared", "failed", "left out", "differ", "route s", "shadow s", "route cost", "shadow cost"]]
    for name, shadow in found.items():
        rows.append(
            [
                name, shadow["provider"], str(shadow["compared"]), str(shadow["failed"]), str(shadow["left_out"]),
                _percent(shadow["disagreement"]), *(_number(shadow["seconds"][side]) for side in ("route", "shadow")),
                *(_money(shadow["cost"][side]) for side in ("route", "shadow")),
            ]
        )  # fmt: skip
    _out(columns(rows))
    return 0


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _out(text: str) -> None:
    print(text, flush=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
