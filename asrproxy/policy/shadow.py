"""A sampled copy of a route's calls goes to another provider in the background, and the two texts are compared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from asrproxy.config.models import ShadowSettings
from asrproxy.errors import AsrError
from asrproxy.events import Shadowed
from asrproxy.plugin import Call, Context, Observer, Recognition, Traffic, Trail, Utterance

SHADOW_ROUTE: Final = ".shadow"
"""Ends the route's name in what is announced about a copy."""
Differ = Callable[[str, str], tuple[int, int]]
"""Two texts to the tokens to change and the tokens of the first."""


@dataclass(slots=True)
class Side:
    """What one of the two took and cost. seconds: of all answers; cost: by currency."""

    seconds: float
    cost: dict[str, float]

    def add(self, seconds: float, trail: Trail) -> None:
        self.seconds += seconds
        for record in trail.records:
            if record.charge is not None:
                self.cost[record.charge.currency] = self.cost.get(record.charge.currency, 0.0) + record.charge.amount


class Shadow:
    """Wraps a route's call; the caller's answer is given before the copy is even sent, and nothing that becomes of the copy reaches it.

    At most `concurrency` copies are under way: what would be one more is left out and counted. Copies go behind long recordings in the
    provider's queue, and are not tried again by another. Only answers are copied: what failed has no text to compare.

    call: the other provider's, with its policy round it. differ: compares.
    """

    def __init__(
        self, *, route: str, provider: str, call: Call, settings: ShadowSettings, differ: Differ, random: Random, observer: Observer
    ) -> None:
        self._route, self._provider, self._call, self._settings = route, provider, call, settings
        self._differ, self._random, self._observer = differ, random, observer
        self._copies: set[asyncio.Task[None]] = set()
        self._compared = self._failed = self._left_out = self._edits = self._tokens = 0
        self._route_side, self._shadow_side = Side(0.0, {}), Side(0.0, {})

    def __call__(self, call: Call) -> Call:
        async def shadowed(utterance: Utterance, context: Context) -> Recognition:
            if self._random.random() >= self._settings.fraction:
                return await call(utterance, context)
            time = asyncio.get_running_loop().time
            began = time()
            recognition = await call(utterance, context)
            if len(self._copies) >= self._settings.concurrency:
                self._left_out += 1
                self._observer(Shadowed(context.request_id, self._route, self._provider, outcome="left_out"))
            else:
                # The samples may lie in a body that ends with the request.
                copy = replace(utterance, pcm=bytes(utterance.pcm))
                task = asyncio.create_task(self._compare(copy, context, recognition, time() - began), name="shadow")
                self._copies.add(task)
                task.add_done_callback(self._copies.discard)
            return recognition

        return shadowed

    def status(self) -> Mapping[str, object]:
        """For `/v1/status`: JSON values. disagreement: tokens that differ, as a share of the route's."""
        sides = {"route": self._route_side, "shadow": self._shadow_side}
        return {
            "provider": self._provider,
            "fraction": self._settings.fraction,
            "compared": self._compared,
            "failed": self._failed,
            "left_out": self._left_out,
            "under_way": len(self._copies),
            "tokens": self._tokens,
            "edits": self._edits,
            "disagreement": round(self._edits / self._tokens, 4) if self._tokens else None,
            "seconds": {name: round(side.seconds / self._compared, 3) if self._compared else None for name, side in sides.items()},
            "cost": {name: side.cost for name, side in sides.items()},
        }

    async def aclose(self) -> None:
        """Ends the copies under way."""
        for task in self._copies:
            task.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)

    async def _compare(self, utterance: Utterance, context: Context, told: Recognition, seconds: float) -> None:
        time = asyncio.get_running_loop().time
        began = time()
        own = replace(
            context,
            deadline=began + self._settings.timeout,
            traffic=Traffic.LONG,
            trail=Trail(),
            route=self._route + SHADOW_ROUTE,
            traceparent=None,
            tracestate=None,
            trace=None,
        )
        try:
            heard = await self._call(utterance, own)
        except AsrError as error:
            self._failed += 1
            self._observer(Shadowed(context.request_id, self._route, self._provider, outcome="failed", error=error))
            return
        took = time() - began
        edits, tokens = self._differ(told.text, heard.text)
        self._compared += 1
        self._edits += edits
        self._tokens += tokens
        self._route_side.add(seconds, context.trail)
        self._shadow_side.add(took, own.trail)
        self._observer(
            Shadowed(
                context.request_id, self._route, self._provider, outcome="compared", edits=edits, tokens=tokens, seconds=seconds,
                shadow_seconds=took,
            )
        )  # fmt: skip
