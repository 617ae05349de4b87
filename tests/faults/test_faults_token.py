"""The fault table, tokens and clocks: one answer in time, nothing left behind, recovery, and a good token is used while it lasts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asrproxy_aliyun.emulator import Emulator, Outage, ScriptedToken
from tests.faults.world import TEXT, World, held_now, world

CALLERS = 5
EXPIRED = json.dumps({"Token": {"Id": "0" * 32, "ExpireTime": int(time.time()) - 60}})
TRANSPORTS = ["rest", "websocket"]


@asynccontextmanager
async def scene(cloud: Emulator, folder: Path, *, attempt: str = "8s", deadline: str = "10s", **aliyun: Any) -> AsyncIterator[World]:
    """A token is made by a process, which may take a while to start; so the times are long where nothing has to wait for their end."""
    policy = {"timeout": deadline, "attempt_timeout": attempt}
    async with world(cloud, folder / "spool", policy=policy, aliyun={"keys": True, "token_timeout": "7s", **aliyun}) as running:
        yield running


def outage(mode: Outage) -> Callable[[Emulator], Awaitable[None]]:
    async def begin(cloud: Emulator) -> None:
        await cloud.token_outage(mode)

    return begin


def scripted(**changes: Any) -> Callable[[Emulator], Awaitable[None]]:
    async def begin(cloud: Emulator) -> None:
        cloud.script(*[ScriptedToken(**changes)] * 50)

    return begin


@dataclass(frozen=True)
class Row:
    """begin: the fault. allowed: outcomes while there is no token. attempt, deadline: times of a call, of a request."""

    begin: Callable[[Emulator], Awaitable[None]]
    allowed: set[str]
    attempt: str = "8s"
    deadline: str = "10s"


NO_TOKEN = {"provider_error", "circuit_open", "deadline_exceeded"}
ROWS = {
    "down": Row(outage(Outage.REFUSE), NO_TOKEN),
    "reset": Row(outage(Outage.RESET), NO_TOKEN),
    "slow": Row(outage(Outage.SILENT), NO_TOKEN, attempt="600ms", deadline="2s"),
    "an error page": Row(outage(Outage.ERROR), NO_TOKEN),
    "refusing the key": Row(scripted(http_status=404, code="InvalidAccessKeyId.NotFound", message="not found"), {"provider_auth"}),
    "answering an expired token": Row(scripted(http_status=200, body=EXPIRED), NO_TOKEN),
    "answering what is no token": Row(scripted(http_status=200, body="<html>Welcome</html>"), NO_TOKEN),
}


@pytest.mark.parametrize("name", ROWS)
async def test_without_a_token_callers_are_told_so_and_served_as_soon_as_there_is_one(tmp_path: Path, name: str) -> None:
    row = ROWS[name]
    processes = held_now(tmp_path).processes
    async with Emulator() as cloud:
        await row.begin(cloud)
        async with scene(cloud, tmp_path, attempt=row.attempt, deadline=row.deadline) as running:
            answers = await running.ask_many(CALLERS)

            assert {each.outcome for each in answers} <= row.allowed, answers
            assert len(running.ended()) == CALLERS
            assert cloud.calls == []
            if name == "refusing the key":
                assert not any(each.body["error"]["retryable"] for each in answers)
            await cloud.token_outage(Outage.NONE)
            cloud.clear_script()
            await running.recovers()
            held = await running.rests()
            assert (held.files, held.processes) == (0, processes)
            assert cloud.tokens_created == 1


@pytest.mark.parametrize("mode", [Outage.REFUSE, Outage.SILENT, Outage.ERROR])
async def test_a_token_service_that_goes_down_later_is_not_noticed_while_the_token_holds(tmp_path: Path, mode: Outage) -> None:
    async with Emulator() as cloud, scene(cloud, tmp_path) as running:
        assert (await running.ask()).outcome == "ok"
        before = await running.rests()
        await cloud.token_outage(mode)
        assert {each.outcome for each in await running.ask_many(CALLERS)} == {"ok"}
        await running.rests(before)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_expired_token_while_the_service_is_down_costs_callers_no_longer_than_the_outage(tmp_path: Path, transport: str) -> None:
    async with Emulator() as cloud, scene(cloud, tmp_path, transport=transport) as running:
        assert (await running.ask()).outcome == "ok"
        before = await running.rests()
        await cloud.token_outage(Outage.REFUSE)
        cloud.expire_all_tokens()
        assert {each.outcome for each in await running.ask_many(CALLERS)} <= NO_TOKEN
        await cloud.token_outage(Outage.NONE)
        await running.recovers()
        await running.rests(before)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_token_revoked_in_mid_flight_is_replaced_once_and_nobody_notices(tmp_path: Path, transport: str) -> None:
    async with Emulator() as cloud, scene(cloud, tmp_path, transport=transport) as running:
        assert (await running.ask()).outcome == "ok"
        before = await running.rests()
        cloud.hold_answers()
        first = [asyncio.create_task(running.ask()) for _ in range(CALLERS)]
        await cloud.calls_in_flight(1)
        cloud.revoke_tokens()
        second = [asyncio.create_task(running.ask()) for _ in range(CALLERS)]
        cloud.release_answers()
        answers = await asyncio.gather(*first, *second)
        assert [each.body.get("text", each.outcome) for each in answers] == [TEXT] * 2 * CALLERS
        assert cloud.tokens_created == 2
        await running.rests(before)


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_clock_two_hours_off_changes_nothing(tmp_path: Path, hours: int) -> None:
    async with Emulator() as cloud:
        cloud.set_clock_offset(hours * 3600.0)
        async with scene(cloud, tmp_path) as running:
            assert {each.outcome for each in await running.ask_many(CALLERS)} == {"ok"}
            assert cloud.tokens_created == 1
            assert running.status()["token"]["expires_in"] == pytest.approx(cloud.settings.token_lifetime, abs=120)
            cloud.expire_all_tokens()
            assert {each.outcome for each in await running.ask_many(CALLERS)} == {"ok"}
            assert cloud.tokens_created == 2
