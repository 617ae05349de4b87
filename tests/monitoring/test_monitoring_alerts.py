"""A real Prometheus watches a sidecar go wrong in each of the ways there is an alert for, and get well again.

The rules are the ones that are shipped, with their minutes made tenths of seconds; that the real minutes are right, promtool's unit tests
hold.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientConnectionError, ClientSession

from asrproxy.config.load import loads
from asrproxy.discovery import provider_type
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Outage
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

    async def firing(self) -> set[str]:
        async with self._session.get(f"{self._url}/api/v1/alerts") as answer:
            alerts = (await answer.json())["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    async def until(self, name: str, *, fires: bool) -> None:
        while (name in await self.firing()) is not fires:
            await asyncio.sleep(0.1)


@asynccontextmanager
async def prometheus(target: str) -> AsyncIterator[Watching]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(yaml.safe_dump(quick()))
        scrape = {"job_name": "asrproxy", "static_configs": [{"targets": [target.removeprefix("http://")]}]}
        every = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"}
        (folder / "prometheus.yml").write_text(yaml.safe_dump({"global": every, "rule_files": ["rules.yaml"], "scrape_configs": [scrape]}))
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
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
                yield Watching(session, url)
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

    task = asyncio.create_task(calling())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.timeout(300)
async def test_each_alert_fires_when_it_goes_wrong_and_clears_when_it_is_well_again(start: Start) -> None:
    seen: set[str] = set()

    async def through(watching: Watching, *names: str, fires: bool) -> None:
        for name in names:
            await watching.until(name, fires=fires)
        seen.update(names if fires else ())

    async with (
        Emulator() as cloud,
        start(SIDECAR.format(cloud=cloud, day=0.05)) as client,
        prometheus(client.sidecar.ops_urls[0]) as watching,
    ):
        async with load(client):
            # The vendor is away: requests fail, the circuit opens, nobody is ready; then it is back.
            await cloud.gateway_outage(Outage.REFUSE)
            failing = ("AsrproxyErrorBudgetBurnsFast", "AsrproxyErrorBudgetBurns", "AsrproxyCircuitOpen", "AsrproxyNotReady")
            await through(watching, *failing, fires=True)
            await cloud.gateway_outage(Outage.NONE)
            await through(watching, *failing, fires=False)
        # More callers than permits: two under way, four in the queue, the seventh refused.
        cloud.hold_answers()
        callers = [asyncio.create_task(client.post(WAV)) for _ in range(12)]
        await through(watching, "AsrproxyQueueGrows", "AsrproxyLimitNear", "AsrproxyRequestsRefused", fires=True)
        cloud.release_answers()
        await asyncio.gather(*callers)
        await through(watching, "AsrproxyQueueGrows", "AsrproxyLimitNear", "AsrproxyRequestsRefused", fires=False)
        # A token that lives for a minute is always near its end; the next one lives for a day.
        await _tokens(client, cloud, lifetime=60.0)
        await through(watching, "AsrproxyTokenNearItsEnd", fires=True)
        await _tokens(client, cloud, lifetime=86_400.0)
        await through(watching, "AsrproxyTokenNearItsEnd", fires=False)
        # A day may cost as much as five calls; then it may cost more.
        for _ in range(6):
            await client.post(WAV, route="paid")
        await through(watching, "AsrproxyBudgetNearlySpent", fires=True)
        async with load(client, route="paid"):
            await through(watching, "AsrproxyBudgetSpent", fires=True)
        richer = SIDECAR.format(cloud=cloud, day=1000)
        settings = loads(richer, "test.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)
        await client.sidecar.runtime.reload(settings)
        await through(watching, "AsrproxyBudgetNearlySpent", "AsrproxyBudgetSpent", fires=False)
    for unseen in ("AsrproxyConfigurationRefused", "AsrproxyEventLoopLags", "AsrproxyDecodersFail", "AsrproxySharesNothing"):
        seen.add(unseen)  # a file, a busy loop, a broken decoder and a lost Redis: their metrics have tests of their own
    assert seen == {rule["alert"] for group in quick()["groups"] for rule in group["rules"] if "alert" in rule}


async def _tokens(client: Client, cloud: Emulator, *, lifetime: float) -> None:
    """From here on tokens live so long; the one in use is refused, so that there is a new one."""
    object.__setattr__(cloud.settings, "token_lifetime", lifetime)
    cloud.expire_all_tokens()
    await client.post(WAV)
