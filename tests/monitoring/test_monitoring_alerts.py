"""A real Prometheus watches sidecars go wrong in each of the ways there is an alert for, and get well again.

One sidecar's vendor, limits and budget are in the hands of the test. Another is a process of its own, so that it can be given a wrong file,
stand still as under a CPU limit, and lose its decoders and its Redis. The rules are the ones that are shipped, with their minutes made
tenths of seconds; that the real minutes are right, promtool's unit tests hold.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientConnectionError, ClientSession

from asrproxy.config.load import loads
from asrproxy.discovery import provider_type
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Outage
from tests.fleet.serving import Server, free_port, redis_server
from tests.lifecycle.test_lifecycle_process import Process, serving
from tests.monitoring.test_monitoring_files import RULES
from tests.recognize.conftest import Client, Start, start

__all__ = ["start"]
WAV = tones.to_wav(tones.synthesize("天地玄黄", 16_000), 16_000)
SIDECAR = """
server: {{listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"]}}
providers:
  vendor:
    type: aliyun
    appkey: {cloud.appkey}
    access_key_id: {cloud.access_key_id}
    access_key_secret: {cloud.access_key_secret}
    gateway_url: '{cloud.gateway_url}'
    token_url: '{cloud.token_url}'
    token_reset: 300ms
    price: {{per_call: 0.01, currency: CNY}}
routes: {{default: {{providers: [vendor]}}, paid: {{providers: [vendor], budget: {{day: {day}}}}}}}
policy:
  retries: {{attempts: 1}}
  circuit: {{failures: 5, reset: 300ms}}
  limits: {{rate: null, concurrency: 2, queue: 4, queue_timeout: 30s}}
"""
PROCESS = """
server:
  listen: ["unix:{folder}/api.sock"]
  ops_listen: ["127.0.0.1:0", "unix:{folder}/ops.sock"]
  audio: {{workers: 1}}
  spool_memory: 64KiB  # a larger recording is decoded while it arrives
providers: {{tones: {{type: fake}}}}
routes: {{default: {{providers: [tones]}}, itself: {{providers: [tones]}}}}
policy: {{limits: {{rate: 1000/s}}}}
shared: {{redis: "{redis}"}}
"""
LONG_WAV = tones.to_wav(tones.synthesize("天地玄黄" * 20, 44_100), 44_100)
LONG = {"6h": "4s", "1h": "3s", "30m": "3s", "15m": "3s", "5m": "3s", "2m": "300ms", "1m": "300ms"}


def quick() -> dict[str, Any]:
    """The rules with short times: windows of some scrapes, waits of one."""
    text = RULES.read_text("utf-8")
    text = re.sub(r"\[(6h|1h|30m|15m|5m)\]", lambda found: f"[{LONG[found[1]]}]", text)
    text = re.sub(r"for: (5m|2m|1m)", "for: 300ms", text)
    return dict(yaml.safe_load(text))


class Watching:
    """Prometheus' own account of the alerts."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def firing(self, instance: str | None) -> set[str]:
        """Names of those that fire, at that address where one is given."""
        async with self._session.get(f"{self._url}/api/v1/alerts") as answer:
            alerts = (await answer.json())["data"]["alerts"]
        labels = [alert["labels"] for alert in alerts if alert["state"] == "firing"]
        return {each["alertname"] for each in labels if instance in (None, each.get("instance"))}

    async def seen(self, *instances: str) -> None:
        """Returns when each has been looked at: of what happens before, nothing would be known to have changed."""
        found: set[str] = set()
        while not found.issuperset(instances):
            async with self._session.get(f"{self._url}/api/v1/query", params={"query": "asrproxy_ready"}) as answer:
                found = {each["metric"]["instance"] for each in (await answer.json())["data"]["result"]}
            await asyncio.sleep(0.05)

    async def until(self, name: str, *, fires: bool, instance: str | None = None) -> None:
        while (name in await self.firing(instance)) is not fires:
            await asyncio.sleep(0.1)


@asynccontextmanager
async def prometheus(often: str, patiently: str) -> AsyncIterator[Watching]:
    """Has looked at two sidecars, and looks again. patiently: at the one that is given longer to answer."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(yaml.safe_dump(quick()))
        one = {"job_name": "often", "static_configs": [{"targets": [often]}]}
        other = {"job_name": "patiently", "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": [{"targets": [patiently]}]}
        every = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"}
        (folder / "prometheus.yml").write_text(
            yaml.safe_dump({"global": every, "rule_files": ["rules.yaml"], "scrape_configs": [one, other]})
        )
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with ClientSession() as session:
                url = f"http://127.0.0.1:{port}"
                while True:
                    assert process.returncode is None, "prometheus did not start"
                    try:
                        async with session.get(f"{url}/-/ready") as answer:
                            if answer.status == 200:
                                break
                    except ClientConnectionError:
                        pass
                    await asyncio.sleep(0.05)
                watching = Watching(session, url)
                await watching.seen(often, patiently)
                yield watching
        finally:
            process.terminate()
            await process.wait()


@asynccontextmanager
async def load(client: Client, **parameters: str) -> AsyncIterator[None]:
    """A request at a time, all the time."""

    async def calling() -> None:
        while True:
            await client.post(WAV, **parameters)
            await asyncio.sleep(0.01)

    async with meanwhile(calling()):
        yield


@asynccontextmanager
async def meanwhile(*doing: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """They go on while the context lasts; one that fails ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in doing]
        yield
        for task in tasks:
            task.cancel()


class Through:
    """What has been seen to fire, and to clear."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self.fired: set[str] = set()
        self.cleared: set[str] = set()

    async def __call__(self, *names: str, fires: bool, instance: str | None = None) -> None:
        for name in names:
            await self._watching.until(name, fires=fires, instance=instance)
        (self.fired if fires else self.cleared).update(names)


@pytest.mark.timeout(300)
async def test_each_alert_fires_when_it_goes_wrong_and_clears_when_it_is_well_again(start: Start, tmp_path: Path) -> None:
    async with (
        Emulator() as cloud,
        redis_server() as redis,
        start(SIDECAR.format(cloud=cloud, day=0.05)) as client,
        itself(tmp_path, redis) as process,
        prometheus(client.sidecar.ops_urls[0].removeprefix("http://"), process.instance) as watching,
    ):
        through = Through(watching)
        async with asyncio.TaskGroup() as causes:
            causes.create_task(_its_surroundings(client, cloud, through))
            causes.create_task(_itself(process, redis, through))
    assert through.fired == through.cleared == {rule["alert"] for group in quick()["groups"] for rule in group["rules"] if "alert" in rule}


async def _its_surroundings(client: Client, cloud: Emulator, through: Through) -> None:
    """The vendor, the callers, the token and the money."""
    async with load(client):
        # The vendor is away: requests fail, the circuit opens, nobody is ready; then it is back.
        await cloud.gateway_outage(Outage.REFUSE)
        failing = ("AsrproxyErrorBudgetBurnsFast", "AsrproxyErrorBudgetBurns", "AsrproxyCircuitOpen", "AsrproxyNotReady")
        await through(*failing, fires=True)
        await cloud.gateway_outage(Outage.NONE)
        await through(*failing, fires=False)
    # More callers than permits: two under way, four in the queue, the seventh refused.
    cloud.hold_answers()
    callers = [asyncio.create_task(client.post(WAV)) for _ in range(12)]
    await through("AsrproxyQueueGrows", "AsrproxyLimitNear", "AsrproxyRequestsRefused", fires=True)
    cloud.release_answers()
    await asyncio.gather(*callers)
    await through("AsrproxyQueueGrows", "AsrproxyLimitNear", "AsrproxyRequestsRefused", fires=False)
    # A token that lives for a minute is always near its end; the next one lives for a day.
    await _tokens(client, cloud, lifetime=60.0)
    await through("AsrproxyTokenNearItsEnd", fires=True)
    await _tokens(client, cloud, lifetime=86_400.0)
    await through("AsrproxyTokenNearItsEnd", fires=False)
    # A day may cost as much as five calls; then it may cost more.
    for _ in range(6):
        await client.post(WAV, route="paid")
    await through("AsrproxyBudgetNearlySpent", fires=True)
    async with load(client, route="paid"):
        await through("AsrproxyBudgetSpent", fires=True)
    richer = SIDECAR.format(cloud=cloud, day=1000)
    settings = loads(richer, "test.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)
    await client.sidecar.runtime.reload(settings)
    await through("AsrproxyBudgetNearlySpent", "AsrproxyBudgetSpent", fires=False)


async def _tokens(client: Client, cloud: Emulator, *, lifetime: float) -> None:
    """From here on tokens live so long; the one in use is refused, so that there is a new one."""
    object.__setattr__(cloud.settings, "token_lifetime", lifetime)
    cloud.expire_all_tokens()
    await client.post(WAV)


@dataclass(frozen=True)
class Halting:
    """A sidecar as a process. file: its configuration. instance: its ops port, as Prometheus names it."""

    running: Process
    file: Path
    instance: str

    async def ask(self, body: Any) -> None:
        async with self.running.api.post("/v1/recognize", params={"route": "itself"}, data=body) as answer:
            await answer.read()


@asynccontextmanager
async def itself(folder: Path, redis: Server) -> AsyncIterator[Halting]:
    file = folder / "asrproxy.yaml"
    file.write_text(PROCESS.format(folder=folder, redis=redis.url))
    async with serving(folder) as running:
        listening = running.lines[-1]["ops"][0].removeprefix("http://")
        assert running.process.stderr is not None
        async with meanwhile(_read_to_the_end(running.process.stderr)):
            yield Halting(running, file, listening)


async def _itself(process: Halting, redis: Server, through: Through) -> None:
    """Its configuration, its decoders, its Redis; and then the processor."""

    async def asking() -> None:
        while True:
            await process.ask(WAV)
            await asyncio.sleep(0.05)

    async def one(name: str, cause: AbstractAsyncContextManager[None]) -> None:
        async with cause:
            await through(name, fires=True, instance=process.instance)
        await through(name, fires=False, instance=process.instance)

    async with meanwhile(asking()):
        async with asyncio.TaskGroup() as causes:
            causes.create_task(one("AsrproxySharesNothing", stopped(redis)))
            causes.create_task(one("AsrproxyConfigurationRefused", refused(process)))
            causes.create_task(one("AsrproxyDecodersFail", meanwhile(_crash_decoders(process))))
        await one("AsrproxyEventLoopLags", meanwhile(_starve(process.running.process)))


@asynccontextmanager
async def stopped(redis: Server) -> AsyncIterator[None]:
    await redis.stop()
    yield
    await redis.start()


@asynccontextmanager
async def refused(process: Halting) -> AsyncIterator[None]:
    """Somebody has misspelt a key; then it is right again."""
    right = process.file.read_text()
    process.file.write_text(right.replace("policy:", "polcy:"))
    process.running.process.send_signal(signal.SIGHUP)
    yield
    process.file.write_text(right)
    process.running.process.send_signal(signal.SIGHUP)


async def _crash_decoders(process: Halting) -> None:
    """Again and again a decoder has a segmentation fault in the middle of a recording."""
    half = LONG_WAV[: len(LONG_WAV) // 2]

    async def body(crashed: asyncio.Event) -> AsyncIterator[bytes]:
        yield half
        await crashed.wait()

    while True:
        await process.ask(LONG_WAV)  # a decoder that has not come up yet would be a failed start, not a crash
        crashed = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(process.ask(body(crashed)))
            while not (pids := await _busy(process)):
                await asyncio.sleep(0.02)
            for pid in pids:
                os.kill(pid, signal.SIGSEGV)
            crashed.set()


async def _busy(process: Halting) -> list[int]:
    """The decoders that are at work."""
    async with process.running.api.get("/v1/status") as answer:
        return list((await answer.json())["decoders"]["busy"])


async def _starve(process: asyncio.subprocess.Process) -> None:
    """As a CPU limit does: it stands for half a second, then it runs for a quarter of one."""
    try:
        while True:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.5)
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.25)
    finally:
        process.send_signal(signal.SIGCONT)


async def _read_to_the_end(log: asyncio.StreamReader) -> None:
    while await log.readline():
        pass
