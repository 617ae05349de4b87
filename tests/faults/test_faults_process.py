"""The fault table, as a process under load: SIGTERM loses no request, a reload shows nobody half a policy, a bad file changes nothing."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asrproxy_aliyun.emulator import Emulator
from tests.faults.caller import Answer
from tests.faults.process import Process, serving, write
from tests.faults.world import TEXT, WAV, configured
from tests.fleet.serving import free_port

CALLERS = 12


class Load:
    """Callers who ask one after the other, until there is nobody to connect to.

    answers: all that they got. begun: requests for which there was a connection.
    """

    def __init__(self, running: Process, *, ends: Callable[[Answer], bool]) -> None:
        self._running, self._ends = running, ends
        self.answers: list[Answer] = []
        self.begun = 0
        self._more = asyncio.Event()

    async def caller(self) -> None:
        while True:
            self.begun += 1
            try:
                answer = await self._running.ask(WAV)
            except (FileNotFoundError, ConnectionRefusedError):  # it has gone: this request was never taken
                self.begun -= 1
                return
            self.answers.append(answer)
            self._more.set()
            if self._ends(answer):
                return

    async def reaches(self, count: int) -> None:
        while len(self.answers) < count:
            self._more.clear()
            await self._more.wait()


async def test_sigterm_under_load_loses_no_request(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    async with Emulator(latency=0.02) as cloud:
        tree = configured(cloud, spool, server={"drain": "50s", "body_timeout": "30s"}, policy={"timeout": "55s", "attempt_timeout": "50s"})
        async with serving(tmp_path, tree) as running:
            load = Load(running, ends=lambda answer: answer.code == "draining")
            callers = [asyncio.create_task(load.caller()) for _ in range(CALLERS)]
            await load.reaches(3 * CALLERS)
            cloud.hold_answers()
            await cloud.calls_in_flight(CALLERS)
            late = [asyncio.create_task(load.caller()) for _ in range(CALLERS)]

            running.signal(signal.SIGTERM)
            await running.logged("draining")
            await asyncio.gather(*(asyncio.create_task(load.caller()) for _ in range(CALLERS)))
            cloud.release_answers()
            await asyncio.gather(*callers, *late)

            assert await running.process.wait() == 0
            outcomes = Counter(each.outcome for each in load.answers)
            assert set(outcomes) == {"ok", "draining"}
            assert outcomes["draining"] >= CALLERS
            assert {each.body["text"] for each in load.answers if each.outcome == "ok"} == {TEXT}
            assert len(load.answers) == load.begun
            assert len([line for line in running.lines if line["event"] == "request"]) == load.begun
        assert not list(spool.iterdir())
        assert not (tmp_path / "api.sock").exists()


def policy(attempts: int) -> dict[str, Any]:
    return {
        "timeout": "30s",
        "attempt_timeout": "20s",
        "retries": {"attempts": attempts, "budget": 10, "backoff": {"initial": "1ms", "max": "1ms"}},
        "circuit": {"failures": 1_000_000},
    }


async def test_a_reload_under_load_shows_nobody_half_a_policy_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    async with Emulator() as cloud:
        tree = configured(cloud, spool, server={"body_timeout": "30s"})
        good = tree["providers"]["aliyun"]
        nowhere = good | {"gateway_url": f"http://127.0.0.1:{free_port()}"}
        # What answers, and after how many tries at what does not, tells which file a request saw, and whether it saw all of it.
        first = tree | {"providers": {"a": nowhere, "b": good}, "policy": policy(2)}
        second = tree | {"providers": {"c": nowhere, "d": good}, "policy": policy(3)}
        seen = {("a", "a", "b"): "first", ("c", "c", "c", "d"): "second"}
        async with serving(tmp_path, first) as running:
            assert (await running.ask(WAV)).outcome == "ok"
            before = running.descriptors()
            stop = asyncio.Event()
            load = Load(running, ends=lambda _: stop.is_set())
            callers = [asyncio.create_task(load.caller()) for _ in range(CALLERS)]

            async def put(content: dict[str, Any], said: str) -> None:
                count = len([line for line in running.lines if line["event"] == said])
                write(running.file, running.socket, content)
                running.signal(signal.SIGHUP)
                await running.logged(said, count + 1)
                await load.reaches(len(load.answers) + 2 * CALLERS)

            for content in (second, first, second):
                await put(content, "configuration taken")
            await put(second | {"nonsense": True}, "configuration refused")
            await put(second | {"providers": {"c": {"type": "aliyun"}}}, "configuration refused")
            assert sees(load.answers[-1]) == ("c", "c", "c", "d")
            await put(first, "configuration taken")
            stop.set()
            await asyncio.gather(*callers)

            bad = [each.body for each in load.answers if each.outcome != "ok"]
            assert not bad, ([line for line in running.lines if line["event"] in ("internal error", "provider defect")][:2], bad[:2])
            assert {each.body["text"] for each in load.answers} == {TEXT}
            assert Counter(seen[sees(each)] for each in load.answers).keys() == {"first", "second"}
            assert len(load.answers) == load.begun
            await running.settles(before)


def sees(answer: Answer) -> tuple[str, ...]:
    return tuple(each["provider"] for each in answer.body["attempts"])
