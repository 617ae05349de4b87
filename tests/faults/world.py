"""A sidecar before an emulated vendor with a spoilable network between them, and what it holds while it rests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asrproxy.api.sidecar import Sidecar, sidecar
from asrproxy.api.status import status_body
from asrproxy.config.load import loads
from asrproxy.discovery import provider_type
from asrproxy.events import Event, RequestEnded
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.faults.caller import Answer, ask

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
LONGER = tones.to_wav(tones.compose([TEXT, 8.0], lead=0.2, tail=0.2).render(), 16_000)
"""270 KB: it takes a while to be sent to one who reads slowly."""
DEADLINE = 2.0
ATTEMPT = 0.6
RESET = 0.6
GRACE = 0.5
"""Seconds beyond its deadline within which a request is answered, on a machine that does nothing else."""
PATIENCE = 60.0
"""Seconds after which what is still held is held for good."""
LOADED = 8.0
"""How many times slower a busy machine may be before the test fails."""

POLICY: dict[str, Any] = {
    "timeout": f"{DEADLINE}s",
    "attempt_timeout": f"{ATTEMPT}s",
    "retries": {"attempts": 2, "backoff": {"initial": "10ms", "max": "20ms"}},
    "circuit": {"failures": 3, "reset": f"{RESET}s", "trials": 1},
}


def configured(cloud: Emulator, folder: Path, **changes: Any) -> dict[str, Any]:
    """The file as a tree. changes: sections, merged in; `aliyun`: the provider's, with a ready token unless `keys` are asked for."""
    aliyun: dict[str, Any] = {
        "type": "aliyun",
        "appkey": cloud.appkey,
        "gateway_url": cloud.gateway_url,
        "token_url": cloud.token_url,
        "pool": {"size": 8, "idle": "250ms", "warm": 0},
        "token_timeout": "400ms",
        "token_reset": f"{RESET}s",
    }
    aliyun |= changes.pop("aliyun", {})
    if aliyun.pop("keys", False):
        aliyun |= {"access_key_id": cloud.access_key_id, "access_key_secret": cloud.access_key_secret}
    elif "access_key_id" not in aliyun:
        aliyun["token"] = cloud.create_token()
    tree: dict[str, Any] = {
        "server": {"listen": ["127.0.0.1:0"], "ops_listen": [], "spool_dir": str(folder), "body_timeout": "400ms"},
        "providers": {"aliyun": aliyun},
        "policy": POLICY,
    }
    return merged(tree, changes)


def merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    whole = deepcopy(dict(tree))
    for key, value in changes.items():
        whole[key] = merged(whole[key], value) if isinstance(value, dict) and isinstance(whole.get(key), dict) else value
    return whole


@dataclass(frozen=True)
class Held:
    """What a process has: tasks, descriptors (sockets and nameless files among them), files in the spool's folder, processes."""

    tasks: int
    descriptors: int
    files: int
    processes: int

    def no_more_than(self, other: Held) -> bool:
        return all(getattr(self, name) <= getattr(other, name) for name in Held.__dataclass_fields__)


def held_now(folder: Path) -> Held:
    """What this process holds; folder: of spooled bodies."""
    gc.collect()
    children = 0
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            children += len((thread / "children").read_text().split())
    return Held(len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), len(list(folder.iterdir())), children)


@dataclass
class World:
    """running: the sidecar. folder: where bodies are spooled."""

    running: Sidecar
    cloud: Emulator
    folder: Path
    events: list[Event]

    @property
    def deadline(self) -> float:
        """Seconds that the policy gives a request."""
        return self.running.runtime.current.configuration.policy.timeout.base

    async def ask(self, body: bytes = WAV, **parameters: str) -> Answer:
        """One request, held to its deadline and the half second after it (times what a busy machine may take)."""
        async with asyncio.timeout((self.deadline + GRACE) * LOADED):
            return await ask(self.running.url, body, **parameters)

    async def ask_many(self, count: int, body: bytes = WAV, **parameters: Any) -> list[Answer]:
        return list(await asyncio.gather(*(self.ask(body, **parameters) for _ in range(count))))

    def status(self) -> dict[str, Any]:
        return status_body(self.running.runtime)["providers"]["aliyun"]

    def ended(self) -> list[RequestEnded]:
        return [event for event in self.events if isinstance(event, RequestEnded)]

    async def rests(self, before: Held | None = None) -> Held:
        """Returns when nothing is under way and no connection to the vendor is kept; nothing more is held than before."""
        ends = asyncio.get_running_loop().time() + PATIENCE
        while True:
            held = held_now(self.folder)
            busy = self.running.runtime.in_flight or self.cloud.in_flight or self.status()["in_flight"] or self.status()["pool"]["open"]
            if not busy and (before is None or held.no_more_than(before)):
                return held
            assert asyncio.get_running_loop().time() < ends, f"busy: {busy}; held: {held}; before: {before}; {asyncio.all_tasks()}"
            await asyncio.sleep(0.02)

    async def recovers(self) -> None:
        """Within one reset of the circuits: the first call that it lets through is answered, and then everybody is."""
        while (now := self.status())["circuit"]["retry_after"] is not None or now["token"]["retry_after"] is not None:
            await asyncio.sleep(0.01)
        answer = await self.ask()
        assert answer.outcome == "ok", answer
        assert {each.body["text"] for each in await self.ask_many(4)} == {TEXT}


@asynccontextmanager
async def world(cloud: Emulator, folder: Path, **changes: Any) -> AsyncIterator[World]:
    folder.mkdir(exist_ok=True)
    text = yaml.safe_dump(configured(cloud, folder, **changes), allow_unicode=True)
    configuration = loads(text, "test.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)
    events: list[Event] = []
    async with sidecar(configuration, [events.append]) as running:
        yield World(running, cloud, folder, events)
