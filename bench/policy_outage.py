"""Draws docs/images/outage.svg: an outage of a vendor as its callers and the vendor see it, with the policy and without.

    python -m bench.policy_outage [FILE]

In real time, three times 24 s. Callers come evenly; from the 6th to the 14th second the vendor takes calls and stays silent. Without: each
call is tried three times at once, as client libraries do, until its caller's time is over. With: the policy's layers, its times a tenth
of the defaults', and then a second provider as well.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from asrproxy.config.models import PolicySettings
from asrproxy.plugin import (
    AsrError,
    AttemptTimeout,
    AudioFormat,
    Call,
    Context,
    DeadlineExceeded,
    Host,
    Provider,
    ProviderSettings,
    Recognition,
    Utterance,
    ignore,
)
from asrproxy.policy.stack import ProviderStack, RouteStack

FILE = Path(__file__).resolve().parents[1] / "docs" / "images" / "outage.svg"
RATE, SECONDS, DOWN, UP = 60, 24, 6, 14
ATTEMPT, TIMEOUT, RESET = 1.5, 6.0, 6.0
POLICY = PolicySettings.model_validate(
    {
        "attempt_timeout": ATTEMPT,
        "retries": {"backoff": {"initial": 0.02, "max": 0.5}},
        "circuit": {"reset": RESET},
        "limits": {"queue_timeout": 0.5},
    }
)


@dataclass
class Seen:
    """By the second: calls at the first vendor, good answers, and how long callers waited for whatever they got."""

    calls: list[int] = field(default_factory=lambda: [0] * (SECONDS + 10))
    answers: list[int] = field(default_factory=lambda: [0] * (SECONDS + 10))
    waits: list[list[float]] = field(default_factory=lambda: [[] for _ in range(SECONDS + 10)])


class Vendor(Provider):
    """Answers in a tenth of a second, or never while it is down."""

    def __init__(self, seen: list[int] | None) -> None:
        super().__init__(ProviderSettings(), Host("vendor"))
        self._seen, self._began, self._random = seen, asyncio.get_running_loop().time(), Random(1)

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        now = asyncio.get_running_loop().time() - self._began
        if self._seen is not None:
            self._seen[int(now)] += 1
            if DOWN <= now < UP:
                await asyncio.sleep(3600)
        await asyncio.sleep(self._random.uniform(0.05, 0.15))
        return Recognition("text")


def without_policy(vendor: Vendor) -> Call:
    async def call(utterance: Utterance, context: Context) -> Recognition:
        try:
            async with asyncio.timeout_at(context.deadline):
                for _ in range(3):
                    try:
                        async with asyncio.timeout(ATTEMPT):
                            return await vendor.recognize(utterance, context)
                    except TimeoutError:
                        continue
        except TimeoutError as error:
            raise DeadlineExceeded("late") from error
        raise AttemptTimeout("three times")

    return call


def with_policy(*vendors: Vendor) -> Call:
    async def as_is(utterance: Utterance, target: AudioFormat) -> Utterance:
        return utterance

    members = [
        ProviderStack(f"vendor {number}", each, POLICY, observer=ignore, convert=as_is, random=Random(number))
        for number, each in enumerate(vendors)
    ]
    return RouteStack("default", members, None, observer=ignore, random=Random(1)).call


async def run(kind: str) -> Seen:
    seen, loop = Seen(), asyncio.get_running_loop()
    vendor = Vendor(seen.calls)
    call = {
        "without": lambda: without_policy(vendor),
        "with": lambda: with_policy(vendor),
        "two": lambda: with_policy(vendor, Vendor(None)),
    }[kind]()
    began = loop.time()

    async def caller() -> None:
        begun = loop.time()
        second = int(begun - began)
        try:
            await call(Utterance(bytes(32_000), AudioFormat(16_000)), Context(request_id="r", deadline=begun + TIMEOUT))
            seen.answers[second] += 1
        except AsrError:
            pass
        seen.waits[second].append(loop.time() - begun)

    async with asyncio.TaskGroup() as callers:
        for number in range(RATE * SECONDS):
            await asyncio.sleep(began + number / RATE - loop.time())
            callers.create_task(caller())
    return seen


WIDTH, PANEL, LEFT, TOP, GAP = 960, 130, 60, 40, 46
COLOURS = {"without": "#b5483a", "with": "#5b7fa6", "two": "#6a9955"}
NAMES = {"without": "three tries, no policy", "with": "with the policy", "two": "with the policy and a second provider"}
STYLE = "text { font: 12px sans-serif; fill: #333 } .axis { stroke: #999 } .down { fill: #f3e3e0 } path { fill: none; stroke-width: 2 }"


def drawing(runs: dict[str, Seen]) -> str:
    panels = {
        "calls at the first vendor, a second": {kind: seen.calls[:SECONDS] for kind, seen in runs.items()},
        "good answers, of those who came in that second": {kind: seen.answers[:SECONDS] for kind, seen in runs.items()},
        "seconds until an answer or an error, 95 of 100 callers": {
            kind: [sorted(each)[int(0.95 * (len(each) - 1))] for each in seen.waits[:SECONDS]] for kind, seen in runs.items()
        },
    }
    parts = [f"<style>{STYLE}</style>"]
    for place, (kind, name) in enumerate(NAMES.items()):
        parts.append(f'<rect x="{LEFT + place * 260}" y="10" width="14" height="14" fill="{COLOURS[kind]}"/>')
        parts.append(f'<text x="{LEFT + place * 260 + 20}" y="22">{name}</text>')
    for place, (title, lines) in enumerate(panels.items()):
        parts += panel(title, lines, TOP + 20 + place * (PANEL + GAP))
    height = TOP + 20 + len(panels) * (PANEL + GAP)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">' + "\n".join(parts) + "</svg>\n"


def panel(title: str, lines: dict[str, list[int]] | dict[str, list[float]], top: int) -> list[str]:
    step = (WIDTH - LEFT - 20) / SECONDS
    highest = max(max(each) for each in lines.values()) or 1
    bottom = top + PANEL
    parts = [
        f'<rect class="down" x="{LEFT + DOWN * step:.0f}" y="{top}" width="{(UP - DOWN) * step:.0f}" height="{PANEL}"/>',
        f'<text x="{LEFT}" y="{top - 6}">{title}</text>',
        f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{WIDTH - 20}" y2="{bottom}"/>',
        f'<text x="{LEFT - 8}" y="{top + 10}" text-anchor="end">{highest:.3g}</text>',
        f'<text x="{LEFT - 8}" y="{bottom}" text-anchor="end">0</text>',
    ]
    parts += [f'<text x="{LEFT + each * step:.0f}" y="{bottom + 16}" text-anchor="middle">{each} s</text>' for each in range(0, SECONDS, 2)]
    for kind, line in lines.items():
        points = " L".join(f"{LEFT + (n + 0.5) * step:.1f} {bottom - value / highest * PANEL:.1f}" for n, value in enumerate(line))
        parts.append(f'<path stroke="{COLOURS[kind]}" d="M{points}"/>')
    return parts


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    runs = {kind: asyncio.run(run(kind)) for kind in NAMES}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(drawing(runs), "utf-8")
    for kind, seen in runs.items():
        during = slice(DOWN, UP)
        good, waits = sum(seen.answers[during]), sorted(wait for each in seen.waits[during] for wait in each)
        print(
            f"{NAMES[kind]}: in the outage {RATE * (UP - DOWN)} callers, {sum(seen.calls[during])} calls at the vendor, {good} answers, "
            f"half waited under {waits[len(waits) // 2]:.2f} s, 95 of 100 under {waits[int(0.95 * len(waits))]:.2f} s; "
            f"{sum(seen.answers[UP:SECONDS])} of {RATE * (SECONDS - UP)} answered after it"
        )


if __name__ == "__main__":
    main()
