"""The fault table between sidecar and vendor: whatever network and gateway do, one answer in time, nothing left behind, recovery."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asrproxy_aliyun.emulator import Emulator, Outage, Scripted
from tests.faults.caller import Answer
from tests.faults.proxy import FaultProxy
from tests.faults.world import ATTEMPT, LONGER, WAV, World, world

CALLERS = 6
MANY = 200


@dataclass
class Scene:
    """The sidecar, the network and the vendor."""

    world: World
    proxy: FaultProxy
    cloud: Emulator

    async def mend(self) -> None:
        self.proxy.mend()
        self.cloud.clear_script()
        self.cloud.adjust({"latency": 0.0})
        await self.cloud.gateway_outage(Outage.NONE)


@asynccontextmanager
async def scene(folder: Path, transport: str, **emulated: Any) -> AsyncIterator[Scene]:
    async with Emulator(**emulated) as cloud, FaultProxy(cloud.gateway_url) as proxy:
        settings = {"transport": transport, "gateway_url": proxy.url, "websocket": {"reuse": True}}
        async with world(cloud, folder / "spool", aliyun=settings) as running:
            yield Scene(running, proxy, cloud)


Begin = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """begin: starts the fault. rest, websocket: the outcomes that callers may get, the first of which somebody gets; None: not tried."""

    begin: Begin
    rest: list[str]
    websocket: list[str] | None = None
    body: bytes = WAV


def outage(mode: Outage, http_status: int = 503) -> Begin:
    async def begin(scene: Scene) -> None:
        await scene.cloud.gateway_outage(mode, http_status)

    return begin


def scripted(**changes: Any) -> Begin:
    async def begin(scene: Scene) -> None:
        scene.cloud.script(*[Scripted(**changes)] * MANY)

    return begin


def network(**changes: Any) -> Begin:
    async def begin(scene: Scene) -> None:
        for name, value in changes.items():
            setattr(scene.proxy, name, value)

    return begin


async def twenty_times_slower(scene: Scene) -> None:
    scene.cloud.adjust({"latency": 20 * ATTEMPT / 5})


async def every_kept_connection_closed(scene: Scene) -> None:
    assert {each.outcome for each in await scene.world.ask_many(CALLERS)} == {"ok"}
    assert scene.proxy.open >= 1
    scene.proxy.close_all()


PROVIDER = ["provider_error", "circuit_open"]
SLOW = ["provider_error", "circuit_open", "deadline_exceeded"]
# Both transports where they are not alike in how they meet the fault.
ROWS: dict[str, Row] = {
    "connection refused": Row(outage(Outage.REFUSE), PROVIDER),
    "reset while uploading": Row(network(cut_upload=50_000), PROVIDER, PROVIDER, body=LONGER),
    "reset after upload": Row(network(cut_answer=True), PROVIDER),
    "reset in place of an answer": Row(scripted(reset=True), PROVIDER, PROVIDER),
    "accepted and silent": Row(outage(Outage.SILENT), SLOW, SLOW),
    "heard and silent": Row(scripted(silent=True), SLOW, SLOW),
    "one byte a second": Row(network(drip=1.0), SLOW, SLOW),
    "answer cut in the middle": Row(scripted(cut=20), PROVIDER, PROVIDER),
    "an HTML page with 200": Row(scripted(http_status=200, body="<html><body>Welcome</body></html>"), PROVIDER, PROVIDER),
    "an HTML page with 502": Row(outage(Outage.ERROR, 502), PROVIDER),
    "not JSON": Row(scripted(body="all is well", content_type="application/json"), PROVIDER, PROVIDER),
    "JSON of another kind": Row(scripted(body="[1, 2]", content_type="application/json"), PROVIDER),
    # Over REST the vendor makes the id, so there is none that would be wrong.
    "wrong task id": Row(scripted(task_id="0" * 32), ["ok"], PROVIDER),
    "vendor status in a 200": Row(scripted(status=50000000), PROVIDER, PROVIDER),
    "429 in floods": Row(scripted(http_status=429, body="slow down"), ["rate_limited"]),
    "40000005 in floods": Row(scripted(status=40000005), ["rate_limited"], ["rate_limited"]),
    "latency times 20": Row(twenty_times_slower, SLOW),
    "every kept connection closed at once": Row(every_kept_connection_closed, ["ok"], ["ok"]),
}
CASES = [(name, transport) for name, row in ROWS.items() for transport in ("rest", "websocket") if getattr(row, transport) is not None]


@pytest.mark.parametrize(("name", "transport"), CASES)
async def test_each_fault_gives_one_answer_in_time_leaves_nothing_and_is_recovered_from(tmp_path: Path, name: str, transport: str) -> None:
    row = ROWS[name]
    allowed = getattr(row, transport)
    async with scene(tmp_path, transport, http_errors="always-200") as stage:
        running = stage.world
        assert (first := await running.ask()).outcome == "ok", first.body
        before = await running.rests()
        asked = len(running.ended())
        await row.begin(stage)
        asked = len(running.ended()) if name == "every kept connection closed at once" else asked

        answers = await running.ask_many(CALLERS, row.body)

        hold_to(answers, allowed)
        assert len(running.ended()) - asked == CALLERS, "one answer for each request"
        if allowed == ["ok"]:
            assert {each.body["segments"][0]["attempts"] for each in answers} == {1}
        if "rate_limited" in allowed:
            assert running.status()["circuit"] == running.status()["circuit"] | {"state": "closed", "failures": 0}
        await stage.mend()
        await running.recovers()
        await running.rests(before)


def hold_to(answers: list[Answer], allowed: list[str]) -> None:
    outcomes = [each.outcome for each in answers]
    assert set(outcomes) <= set(allowed), [each.body for each in answers]
    assert allowed[0] in outcomes
    for each in answers:
        if each.code in ("provider_error", "rate_limited", "deadline_exceeded"):
            assert each.body["error"]["retryable"] is True
            assert each.body["error"]["provider"] == "aliyun"
