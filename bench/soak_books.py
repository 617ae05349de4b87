"""The books of a soak: what callers saw, what the log says, what was counted, and what came to the vendor; they have to agree.

Requests are compared one by one by their id (callers and log) and by status (callers, log, `asrproxy_requests_total`).

The attempts of all access lines are those of `asrproxy_attempts_total`.

Calls at the vendor, one-sentence ones: the emulator counts a call when its head has come, before anything is spoilt. It has to have seen

    asrproxy_attempts_total{provider="aliyun"}
    + calls with a token that had expired, since an attempt that is refused for its token makes a second call with a new one
    + calls over a kept connection that was reset without an answer, which the pool repeats within the attempt (`pool.stale` in /v1/status)
    - attempts that ended as provider_auth: there the second call was refused as well, and not repeated
    - at most the attempts that the sidecar ended itself (`cancelled`, `attempt_timeout`) less those calls whose end the emulator saw, since
      they may have been ended before their head was sent: a part of a long recording is cancelled when another part failed for good, and on
      a machine that is too busy a call may wait for its token or its connection until its time is over. Zero where there are none.

Faults are chosen so that nothing else keeps an attempt from the emulator: no outage in which nothing listens, and tokens can always be had.
Live sessions over the vendor's own streaming are one attempt however often they begin anew at the vendor after a fault: there the emulator
has to have seen at least as many tasks as sessions that ended well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
_REST: Final = "aliyun"
_STREAMING: Final = "live"
_EXPIRED: Final = "40000001"
_LEFT: Final = "40010004"
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Figures:
    """`/metrics` at the end, and what `/v1/status` says that it has not. stale: calls repeated within an attempt."""

    samples: Sequence[tuple[str, Mapping[str, str], float]]
    stale: int

    def total(self, name: str, **labels: str) -> int:
        return round(sum(value for each, own, value in self.samples if each == name and labels.items() <= own.items()))

    def by(self, name: str, label: str, **labels: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for each, own, value in self.samples:
            if each == name and labels.items() <= own.items():
                found[own[label]] += round(value)
        return found


async def scraped(session: ClientSession, url: str) -> Figures:
    async with session.get(f"{url}/metrics") as answer:
        text = await answer.text()
    async with session.get(f"{url}/v1/status") as answer:
        stale = int((await answer.json())["providers"][_REST]["pool"]["stale"])
    samples = [(each.name, each.labels, each.value) for family in text_string_to_metric_families(text) for each in family.samples]
    return Figures(samples, stale)


class Line(NamedTuple):
    """An access line. attempts: calls at vendors that were made for the request."""

    request_id: str
    status: int
    attempts: int


def logged(file: Path) -> list[Line]:
    """Every access line."""
    with file.open(encoding="utf-8") as lines:
        events = (json.loads(line) for line in lines if line.startswith("{"))
        return [Line(each["request_id"], each["status"], each["attempts"]) for each in events if each["event"] == "request"]


class Books:
    """callers: statuses by request id. lines: of the log. figures: the sidecar's. cloud: the emulator's status."""

    def __init__(self, callers: Mapping[str, int], lines: Sequence[Line], figures: Figures, cloud: Mapping[str, Any]) -> None:
        self._callers, self._lines, self._figures, self._cloud = callers, lines, figures, cloud
        self._counts = [
            Counter(str(status) for status in callers.values()),
            Counter(str(status) for _, status, _ in lines),
            figures.by("asrproxy_requests_total", "status"),
        ]

    def requests(self) -> Table:
        rows = [[status, *(str(each[status]) for each in self._counts)] for status in self._statuses()]
        rows.append(["all", *(str(each.total()) for each in self._counts)])
        codes = self._figures.by("asrproxy_requests_total", "code")
        rows += [[f"code {code}", "", "", str(count)] for code, count in codes.most_common() if code != "ok"]
        return ["status", "callers", "log lines", "metrics"], rows

    def calls(self) -> Table:
        seen, told, least = self._one_sentence()
        outcomes = self._figures.by("asrproxy_attempts_total", "outcome", provider=_REST)
        rows = [[f"one sentence: attempts, {outcome}", str(count)] for outcome, count in outcomes.most_common() if count]
        rows += [
            ["+ with an expired token", str(self._expired())],
            ["+ repeated on a fresh connection", str(self._figures.stale)],
            ["- refused twice for the token", str(outcomes["provider_auth"])],
            ["= has to have come", str(told) if told == least else f"{least} to {told}"],
            ["seen by the emulator", str(seen)],
            ["streaming: sessions (attempts)", str(self._streamed().total())],
            ["tasks seen by the emulator", str(self._tasks())],
        ]
        rows.append(["all attempts, sum of the access lines", str(sum(each.attempts for each in self._lines))])
        rows.append(["all attempts, metrics", str(self._figures.total("asrproxy_attempts_total"))])
        return ["", "calls"], rows

    def differences(self) -> Iterator[str]:
        for status in self._statuses():
            callers, log, metrics = (each[status] for each in self._counts)
            if not callers == log == metrics:
                yield f"status {status}: callers {callers}, log {log}, metrics {metrics}"
        yield from _few(self._one_by_one())
        if (lines := sum(each.attempts for each in self._lines)) != (counted := self._figures.total("asrproxy_attempts_total")):
            yield f"attempts: {lines} in the access lines, {counted} in asrproxy_attempts_total"
        if dropped := self._figures.total("asrproxy_log_lines_dropped_total"):
            yield f"{dropped} log lines dropped"
        seen, told, least = self._one_sentence()
        if not least <= seen <= told:
            yield f"calls at the vendor: {seen} seen by the emulator, {least} to {told} told by the sidecar"
        if self._tasks() < (well := self._streamed()["ok"]):
            yield f"streaming: {well} sessions ended well, the emulator saw {self._tasks()} tasks"

    def _one_by_one(self) -> Iterator[str]:
        ids = Counter(each.request_id for each in self._lines)
        yield from (f"request {each}: {count} log lines" for each, count in ids.items() if count > 1)
        yield from (f"request {each}: {status} to its caller, not in the log" for each, status in self._callers.items() if not ids[each])
        for request_id, status, _ in self._lines:
            if (seen := self._callers.get(request_id)) != status:
                yield f"request {request_id}: {status} in the log, {seen} to its caller"

    def _one_sentence(self) -> tuple[int, int, int]:
        """Calls that the emulator saw; that it has to have seen, and at least."""
        outcomes = self._figures.by("asrproxy_attempts_total", "outcome", provider=_REST)
        told = outcomes.total() + self._expired() + self._figures.stale - outcomes["provider_auth"]
        # Tasks of streaming that did not end well may be among the calls that were left; then they say nothing about these.
        left = int(self._cloud["statuses"].get(_LEFT, 0)) - max(0, self._tasks() - self._streamed()["ok"])
        doubtful = max(0, outcomes["cancelled"] + outcomes["attempt_timeout"] - max(0, left))
        return self._cloud["requests"].get("rest", 0), told, told - doubtful

    def _tasks(self) -> int:
        return int(self._cloud["requests"].get("transcriber", 0))

    def _streamed(self) -> Counter[str]:
        return self._figures.by("asrproxy_attempts_total", "outcome", provider=_STREAMING)

    def _expired(self) -> int:
        return int(self._cloud["statuses"].get(_EXPIRED, 0))

    def _statuses(self) -> list[str]:
        return sorted(set().union(*self._counts))


def _few(lines: Iterator[str]) -> Iterator[str]:
    """The first of them, and how many more there are."""
    more = 0
    for number, line in enumerate(lines):
        if number < _SHOWN:
            yield line
        else:
            more += 1
    if more:
        yield f"and {more} more such requests"
