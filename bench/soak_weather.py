"""What happens to a sidecar during a soak: spoilt answers, expired tokens, and configurations that change, for better and for worse."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from asrproxy_aliyun.emulator.client import EmulatorClient
from asrproxy_aliyun.emulator.faults import Scripted
from bench.running import APPKEY, ASRPROXY, KEY_ID, KEY_SECRET, Running, free_port, wait_for
from bench.soak_books import Figures

# `aliyun` never changes, so that its pool's own count of repeats lasts from the beginning to the end; `live` is a new provider each time.
CONFIGURATION = """
server: {{listen: ["127.0.0.1:{port}"], ops_listen: ["127.0.0.1:{ops}"]}}
providers:
  aliyun:
    type: aliyun
    appkey: {appkey}
    access_key_id: {key_id}
    access_key_secret: {key_secret}
    gateway_url: {gateway}
    token_url: {gateway}
    pool: {{size: 64, idle: 8s}}
  live:
    type: aliyun
    transport: websocket
    appkey: {appkey}
    access_key_id: {key_id}
    access_key_secret: {key_secret}
    gateway_url: {gateway}
    token_url: {gateway}
    pool: {{size: {pool}, idle: 8s}}
    policy: {{retries: {{attempts: {attempts}}}}}
routes:
  default: {{providers: [aliyun]}}
  live: {{providers: [live]}}
policy:
  attempt_timeout: 5s
  retries: {{attempts: 4, budget: 0.5}}
  limits: {{rate: null, concurrency: 400, queue: 2000, queue_timeout: 20s}}
  long_audio: {{remember: {{enabled: false}}}}
log: {{level: info, format: json}}
"""
BAD = ("policy: {retries: {attempts: none of your business}}\n", "routes: {default: {providers: [nobody]}}\n", "server: [unclosed\n")
# How often each among the faults. Every one of them is counted by the emulator before it does harm. 40000005 is rare: each makes the
# sidecar start fewer calls at once for a while (policy/concurrency.py), so that many would be a smaller capacity, and the soak an overload.
FAULTS = (
    (Scripted(status=50000000), 49),
    (Scripted(status=40000005), 1),
    (Scripted(reset=True), 20),
    (Scripted(latency=1.5), 20),
    (Scripted(cut=20), 4),
    (Scripted(body="<html>Bad Gateway</html>"), 4),
    (Scripted(silent=True), 2),
)
AHEAD = 2.0
"""Seconds of calls whose answers are scripted at once."""
RELOAD = 10.0
TOKENS = 60.0


@dataclass(frozen=True, slots=True)
class Soaked:
    """Where the sidecar is. file: its configuration. log: what it writes to standard error."""

    file: Path
    log: Path
    port: int
    ops: int
    gateway: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def configuration(self, turn: int) -> str:
        return CONFIGURATION.format(
            port=self.port, ops=self.ops, gateway=self.gateway, appkey=APPKEY, key_id=KEY_ID, key_secret=KEY_SECRET,
            pool=8 + turn % 50, attempts=3 + turn % 2,
        )  # fmt: skip


@contextmanager
def soaked(folder: Path, gateway: str) -> Iterator[tuple[Running, Soaked]]:
    """The sidecar while the context lasts, its log kept in `folder`: it is one of the books."""
    port = free_port()
    place = Soaked(folder / f"{port}.yaml", folder / f"{port}.log", port, free_port(), gateway)
    place.file.write_text(place.configuration(0), "utf-8")
    with place.log.open("wb") as output:
        process = subprocess.Popen([ASRPROXY, "serve", "-c", str(place.file)], stdout=subprocess.DEVNULL, stderr=output)
        try:
            wait_for(process, f"{place.url}/readyz", 60)
            yield Running(process, place.url), place
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Weather:
    """Each method lasts until it is cancelled. share: of the calls at the vendor that are spoilt."""

    def __init__(self, running: Running, place: Soaked, control: EmulatorClient, *, share: float, chance: Random) -> None:
        self._running, self._place, self._control, self._share, self._chance = running, place, control, share, chance
        self._scripted = self._faulty = self._expired = self._reloads = 0

    async def faults(self) -> None:
        """Answers are scripted a little ahead of the calls, most of them as they would have been, so that faults do not come in rows."""
        before = 0
        while True:
            arrived = int((await self._control.status())["arrived"])
            wanted = int((arrived - before) * AHEAD) - (self._scripted - arrived)
            before = arrived
            if wanted > 0:
                script = [self._drawn() for _ in range(wanted)]
                await self._control.script(*script)
                self._scripted += wanted
                self._faulty += sum(each != Scripted() for each in script)
            await asyncio.sleep(1.0)

    async def tokens(self) -> None:
        """All of them expire at once."""
        while True:
            await asyncio.sleep(TOKENS / 2)
            await self._control.expire_all_tokens()
            self._expired += 1
            await asyncio.sleep(TOKENS / 2)

    async def reloads(self) -> None:
        """A good file and a bad one in turns, put in place whole."""
        while True:
            await asyncio.sleep(RELOAD)
            self._reloads += 1
            turn, bad = divmod(self._reloads, 2)
            new = self._place.file.with_suffix(".new")
            new.write_text(BAD[turn % len(BAD)] if bad else self._place.configuration(turn), "utf-8")
            new.replace(self._place.file)
            os.kill(self._running.process.pid, signal.SIGHUP)

    def row(self, figures: Figures) -> list[str]:
        taken, refused = figures.total("asrproxy_config_generation") - 1, figures.total("asrproxy_config_reload_failures_total")
        return [str(self._faulty), str(self._expired), str(self._reloads), f"{taken:g}", f"{refused:g}"]

    def _drawn(self) -> Scripted:
        if self._chance.random() >= self._share:
            return Scripted()
        return self._chance.choices([each for each, _ in FAULTS], [weight for _, weight in FAULTS])[0]
