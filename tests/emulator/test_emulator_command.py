"""`asrproxy emulate aliyun` as a process: it says where it is, does as it is told over its control endpoint, and ends when asked."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
import yaml

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Scripted
from asrproxy_aliyun.emulator.client import ControlError, EmulatorClient

RUN = "import sys; from asrproxy_aliyun.emulator.command import command; sys.exit(command(sys.argv[1:]))"
PCM = tones.synthesize("天地玄黄")


@dataclass
class Running:
    process: asyncio.subprocess.Process
    gateway: str
    token: str
    control: str
    settings: dict


@asynccontextmanager
async def running(*flags: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, "--port", "0", *flags, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        ready = re.fullmatch(r"ready gateway=(\S+) token=(\S+) control=(\S+)\n", (await process.stdout.readline()).decode())
        assert ready is not None
        snippet = b""
        while b"routes" not in snippet:
            snippet += await process.stdout.readline()
        snippet += await process.stdout.readline()
        yield Running(process, *ready.groups(), settings=yaml.safe_load(snippet))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def recognize(http: aiohttp.ClientSession, emulator: Running, token: str) -> dict:
    url = f"{emulator.gateway}/stream/v1/asr?appkey={emulator.settings['providers']['aliyun']['appkey']}"
    async with http.post(url, data=PCM, headers={"X-NLS-Token": token}) as response:
        return await response.json()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_when_it_is_asked_to(number: signal.Signals, http: aiohttp.ClientSession) -> None:
    async with running() as emulator, EmulatorClient(emulator.control) as cloud:
        await cloud.hold_answers()
        call = asyncio.create_task(recognize(http, emulator, await cloud.create_token()))
        await cloud.wait(arrived=1)
        emulator.process.send_signal(number)
        assert await emulator.process.wait() == 0
        with pytest.raises(aiohttp.ClientError):
            await call


async def test_what_it_prints_can_be_pasted_into_a_configuration(http: aiohttp.ClientSession) -> None:
    async with running("--appkey", "mine", "--access-key-id", "id", "--access-key-secret", "secret") as emulator:
        assert emulator.settings == {
            "providers": {
                "aliyun": {
                    "type": "aliyun", "appkey": "mine", "access_key_id": "id", "access_key_secret": "secret",
                    "gateway_url": emulator.gateway, "token_url": emulator.token,
                }
            },
            "routes": {"default": {"providers": ["aliyun"]}},
        }  # fmt: skip


async def test_flags_are_obeyed(http: aiohttp.ClientSession) -> None:
    flags = ["--answers", "text:good morning", "--failure-rate", "0", "--latency", "1ms", "--token-lifetime", "2h", "--concurrency", "none"]
    async with running(*flags) as emulator, EmulatorClient(emulator.control) as cloud:
        assert (await recognize(http, emulator, await cloud.create_token()))["result"] == "good morning"
        assert (await cloud.status())["latency"] == pytest.approx(0.001)


async def test_one_port_is_enough(http: aiohttp.ClientSession) -> None:
    async with running() as emulator, EmulatorClient(emulator.gateway) as cloud:
        await cloud.token_outage("error", 500)
        assert (await http.get(f"{emulator.gateway}/")).status == 500
        await cloud.token_outage("none")
        assert (await (await http.get(f"{emulator.gateway}/")).json())["Code"] == "MissingAction"
        await cloud.gateway_outage("error", 503)
        assert (await http.post(f"{emulator.gateway}/stream/v1/asr")).status == 503
        await cloud.gateway_outage("none")
        assert (await recognize(http, emulator, await cloud.create_token()))["result"] == "天地玄黄"


@pytest.mark.parametrize("flags", [["--latency", "soon"], ["--failure-rate", "2"], ["--silence", "golden"], ["--answers", "nobody"]])
async def test_flags_that_make_no_sense_stop_the_start(flags: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, "--port", "0", *flags, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode != 0
    assert out == b""
    assert flags[-1].encode() in errors
    assert b"Traceback" not in errors


async def test_a_tester_in_another_process_can_do_everything(http: aiohttp.ClientSession) -> None:
    async with running() as emulator, EmulatorClient(emulator.control) as cloud:
        token = await cloud.create_token()
        assert (await recognize(http, emulator, token))["result"] == "天地玄黄"
        await cloud.script(Scripted(status=50000000), Scripted(text="月"))
        assert [(await recognize(http, emulator, token))["status"] for _ in range(2)] == [50000000, 20000000]
        assert [(each["kind"], each["status"], each["text"]) for each in await cloud.calls()] == [
            ("rest", 20000000, "天地玄黄"), ("rest", 50000000, None), ("rest", 20000000, "月"),
        ]  # fmt: skip
        await cloud.script(Scripted(reset=True), Scripted(cut=5))
        for _ in range(2):
            with pytest.raises(aiohttp.ClientError):
                await recognize(http, emulator, token)
        await cloud.adjust(failure_rate=1.0, failure_status=40000005, latency="2ms")
        assert (await recognize(http, emulator, token))["status"] == 40000005
        await cloud.adjust(failure_rate=0)
        await cloud.hold_answers()
        call = asyncio.create_task(recognize(http, emulator, token))
        assert (await cloud.wait(in_flight=1))["in_flight"] == 1
        await cloud.release_answers()
        assert (await call)["status"] == 20000000
        await cloud.all_connections_free()
        assert await cloud.expire_all_tokens() == 1
        assert "expired" in (await recognize(http, emulator, token))["message"]
        assert await cloud.revoke_tokens() == 1
        assert "invalid" in (await recognize(http, emulator, token))["message"]
        await cloud.gateway_outage("refuse")
        await cloud.token_outage("error", 500)
        with pytest.raises(aiohttp.ClientError):
            await recognize(http, emulator, token)
        assert (await http.get(f"{emulator.token}/")).status == 500
        assert {name: (await cloud.status())[name] for name in ("gateway", "token")} == {"gateway": "refuse", "token": "error"}
        await cloud.gateway_outage("none")
        assert (await cloud.status())["requests"] == {"rest": 9}
        await cloud.forget()
        assert (await cloud.status())["requests"] == {}


async def test_the_control_endpoint_says_what_is_wrong() -> None:
    async with running() as emulator, EmulatorClient(emulator.control) as cloud:
        with pytest.raises(ControlError, match="only latency"):
            await cloud.adjust(weather=1)
        with pytest.raises(ControlError, match="duration"):
            await cloud.adjust(latency="soon")
        with pytest.raises(ControlError, match="not reached"):
            await cloud.wait(arrived=1, timeout=0.01)
        with pytest.raises(ControlError, match=r"refuse.*silent"):
            await cloud.gateway_outage("strike")
