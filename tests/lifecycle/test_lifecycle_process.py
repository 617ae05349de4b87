"""The sidecar as a process: start, drain, reload, hanging up; with real signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import ClientConnectorError, ClientSession, UnixConnector

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.live.speaking import aliyun

WAV = tones.to_wav(tones.synthesize("天地玄黄"), 16_000)
FAKE = """
server: {{listen: ["unix:{folder}/api.sock"], ops_listen: ["unix:{folder}/ops.sock"], drain: 10s}}
providers: {{tones: {{type: fake, latency: {latency}}}}}
log: {{format: json}}
"""


class Process:
    """`asrproxy serve` with its log read line by line."""

    def __init__(self, process: asyncio.subprocess.Process, api: ClientSession, ops: ClientSession) -> None:
        self.process, self.api, self.ops = process, api, ops
        self.lines: list[dict[str, Any]] = []

    async def logged(self, event: str) -> dict[str, Any]:
        """The next line with that event."""
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"no {event!r} in {self.lines}")

    async def told_of(self, file: Path, text: str) -> None:
        """The file changes and SIGHUP comes while it stands: between the two the watch might take the change, and the signal again."""
        self.process.send_signal(signal.SIGSTOP)
        while psutil.Process(self.process.pid).status() != psutil.STATUS_STOPPED:
            await asyncio.sleep(0)
        file.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def serving(folder: Path, latency: str = "0s") -> AsyncIterator[Process]:
    file = folder / "asrproxy.yaml"
    if not file.exists():
        file.write_text(FAKE.format(folder=folder, latency=latency))
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "asrproxy"), "serve", "-c", str(file), stderr=asyncio.subprocess.PIPE
    )
    api = ClientSession("http://localhost", connector=UnixConnector(str(folder / "api.sock")))
    ops = ClientSession("http://localhost", connector=UnixConnector(str(folder / "ops.sock")))
    try:
        async with api, ops:
            running = Process(process, api, ops)
            await running.logged("listening")
            yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_sigterm_lets_what_is_in_flight_end_takes_nothing_new_and_exits_0(tmp_path: Path) -> None:
    async with Emulator() as cloud:
        text = FAKE.format(folder=tmp_path, latency="0s").replace("{type: fake, latency: 0s}", aliyun(cloud, transport="rest"))
        (tmp_path / "asrproxy.yaml").write_text(text)
        async with serving(tmp_path) as running:
            cloud.hold_answers()
            call = asyncio.create_task(running.api.post("/v1/recognize", data=WAV))
            await cloud.calls_in_flight(1)
            running.process.send_signal(signal.SIGTERM)
            await running.logged("draining")
            ready = await running.ops.get("/readyz")
            assert ready.status == 503
            refused = await running.api.post("/v1/recognize", data=WAV)
            assert (refused.status, (await refused.json())["error"]["code"]) == (503, "draining")
            assert refused.headers["Retry-After"]
            cloud.release_answers()
            answer = await call
            assert (await answer.json())["text"] == "天地玄黄"
            assert await running.process.wait() == 0
    assert not (tmp_path / "api.sock").exists()


SLOW = """
import asyncio
from pathlib import Path
from asrproxy.plugin import Provider, Recognition

class Slow(Provider):
    summary = "starts when it is told to"

    async def start(self):
        while not Path("{folder}/go").exists():
            await asyncio.sleep(0.01)

    async def recognize(self, utterance, context):
        return Recognition("here")
"""


def slow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration whose provider has been installed and starts when the file `go` is there."""
    package = folder / "slow-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[asrproxy.providers]\nslow = slow:Slow\n")
    (folder / "slow.py").write_text(SLOW.format(folder=folder))
    (folder / "asrproxy.yaml").write_text(FAKE.format(folder=folder, latency="0s").replace("{type: fake, latency: 0s}", "{type: slow}"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(folder), *sys.path)))


async def test_the_ops_port_says_that_providers_are_still_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(tmp_path, monkeypatch)

    async def probe() -> tuple[int, object, int]:
        async with ClientSession("http://localhost", connector=UnixConnector(str(tmp_path / "ops.sock"))) as ops:
            while True:
                try:
                    ready = await ops.get("/readyz")
                    break
                except ClientConnectorError:  # there is no socket yet, or nobody listens at it yet
                    await asyncio.sleep(0.01)
            live = await ops.get("/livez")
            said = ready.status, await ready.json(), live.status
            await (await ops.get("/metrics")).text()
        (tmp_path / "go").touch()
        return said

    probing = asyncio.create_task(probe())
    async with serving(tmp_path) as running:
        assert await probing == (503, {"status": "not ready", "reason": "starting: tones"}, 200)
        assert (await running.ops.get("/readyz")).status == 200
        assert (await (await running.api.post("/v1/recognize", data=WAV)).json())["text"] == "here"


async def test_sigterm_ends_a_start_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(tmp_path, monkeypatch)
    arguments = [str(Path(sys.executable).parent / "asrproxy"), "serve", "-c", str(tmp_path / "asrproxy.yaml")]
    process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
    while not (tmp_path / "ops.sock").exists():
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = await process.communicate()
    assert (process.returncode, json.loads(said)["event"]) == (0, "stopped before the start was over")


async def test_at_the_drain_limit_whoever_still_waits_is_told_and_keeps_what_was_recognised(tmp_path: Path) -> None:
    text = FAKE.format(folder=tmp_path, latency="0s").replace("drain: 10s", "drain: 1s")
    # One by one: the first is answered, the second hangs.
    text += "policy: {long_audio: {max_segment: 3s, concurrency: 1, recheck: false}}\n"
    hanging = "{tones: {type: fake, script: [{times: 1}, {times: always, hang: true}]}}"
    (tmp_path / "asrproxy.yaml").write_text(text.replace("{tones: {type: fake, latency: 0s}}", hanging))
    long = tones.to_wav(tones.synthesize("天地玄黄 宇宙洪荒 日月盈昃 辰宿列张 寒来暑往"), 16_000)
    async with serving(tmp_path) as running:

        async def upload() -> AsyncIterator[bytes]:
            yield WAV[:1000]
            await asyncio.Event().wait()

        async def in_flight(count: int) -> None:
            while (await (await running.api.get("/v1/status")).json())["in_flight"] < count:
                await asyncio.sleep(0)

        async def asked(body: object, path: str = "/v1/recognize") -> tuple[int, str | None, str]:
            async with running.api.post(path, data=body) as answer:
                return answer.status, answer.headers.get("Retry-After"), await answer.text()

        events = asyncio.create_task(asked(long, "/v1/recognize?stream=true"))
        while (await (await running.api.get("/v1/status")).json())["providers"]["tones"]["calls"] < 2:
            await asyncio.sleep(0)
        calls = [asyncio.create_task(each) for each in (asked(WAV), asked(upload()))]
        await in_flight(3)
        running.process.send_signal(signal.SIGTERM)
        await running.logged("drain limit reached")
        for status, later, body in await asyncio.gather(*calls):
            assert (status, later, json.loads(body)["error"]["code"]) == (503, "1", "draining")
        last = json.loads((await events)[2].rpartition("event: error\ndata: ")[2])["error"]
        assert (last["code"], [each["index"] for each in last["segments"]]) == ("draining", [0])
        assert await running.process.wait() == 0


async def test_a_socket_that_answers_is_not_taken_over(tmp_path: Path) -> None:
    async with serving(tmp_path) as running:
        arguments = [str(Path(sys.executable).parent / "asrproxy"), "serve", "-c", str(tmp_path / "asrproxy.yaml")]
        second = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
        _, said = await second.communicate()
        assert (second.returncode, said.decode()) == (
            1,
            f"asrproxy: server.ops_listen: cannot listen on unix:{tmp_path}/ops.sock: Address already in use\n",
        )
        assert (await (await running.api.post("/v1/recognize", data=WAV)).json())["text"] == "天地玄黄"


async def test_a_changed_file_is_taken_on_sighup_and_a_bad_one_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as running:
        file = tmp_path / "asrproxy.yaml"
        good = file.read_text()
        await running.told_of(file, good.replace("providers: {", "providers: {second: {type: fake}, "))
        await running.logged("configuration taken")
        status = await (await running.api.get("/v1/status")).json()
        assert (status["generation"], sorted(status["providers"])) == (2, ["second", "tones"])
        await running.told_of(file, good + "\nnonsense: true\n")
        refused = await running.logged("configuration refused")
        assert "nonsense" in refused["error"]
        for key, wrong in (
            ("server.spool_dir", good.replace("drain: 10s", f"spool_dir: {tmp_path}/none")),
            ("providers.b.ca_file", good.replace("providers: {", f"providers: {{b: {{type: openai, ca_file: {tmp_path}/none}}, ")),
            ("providers.b.api_key", good.replace("providers: {", "providers: {b: {type: openai, api_key: ''}, ")),
            ("server.ops_listen[0]", good.replace("/ops.sock", "/api.sock")),
        ):
            await running.told_of(file, wrong)
            assert f": {key}: " in (await running.logged("configuration refused"))["error"]
        assert (await (await running.api.post("/v1/recognize", data=WAV)).json())["text"] == "天地玄黄"
        metrics = await (await running.ops.get("/metrics")).text()
        assert "asrproxy_config_reload_failures_total 5.0" in metrics


async def test_a_change_that_a_signal_told_of_is_not_taken_again_by_the_watch(tmp_path: Path) -> None:
    async with serving(tmp_path) as running:
        file = tmp_path / "asrproxy.yaml"
        await running.told_of(file, file.read_text().replace("latency: 0s", "latency: 1ms"))
        await running.logged("configuration taken")
        await asyncio.sleep(2.5)  # longer than the watch takes to look
        file.write_text(file.read_text().replace("latency: 1ms", "latency: 2ms"))
        assert (await running.logged("configuration taken"))["generation"] == 3


async def test_a_swapped_configmap_is_taken(tmp_path: Path) -> None:
    """The kubelet's way: a file that is a link through `..data`, which is swapped as a whole."""
    for generation in ("first", "second"):
        (tmp_path / generation).mkdir()
        names = "tones" if generation == "first" else "other"
        text = FAKE.format(folder=tmp_path, latency="0s").replace("tones", names)
        (tmp_path / generation / "asrproxy.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "asrproxy.yaml").symlink_to("..data/asrproxy.yaml")
    async with serving(tmp_path) as running:
        (tmp_path / "..new").symlink_to("second")
        (tmp_path / "..new").replace(tmp_path / "..data")
        await running.logged("configuration taken")
        status = await (await running.api.get("/v1/status")).json()
        assert list(status["providers"]) == ["other"]


async def test_a_swapped_secret_is_taken_and_what_it_held_is_worth_nothing_any_more(tmp_path: Path) -> None:
    """Keys are changed by changing the Secret: the file that names them stays as it is."""
    mount = tmp_path / "secrets"
    for name, token in (("first", "an-old-token"), ("second", "a-new-token")):
        (mount / name).mkdir(parents=True)
        (mount / name / "token").write_text(token + "\n")
    (mount / "..data").symlink_to("first")
    (mount / "token").symlink_to("..data/token")
    text = FAKE.format(folder=tmp_path, latency="0s").replace("drain:", 'tokens: ["${file:secrets/token}"], drain:')
    (tmp_path / "asrproxy.yaml").write_text(text)

    async def answered(token: str) -> int:
        return (await running.api.post("/v1/recognize", data=WAV, headers={"Authorization": f"Bearer {token}"})).status

    async with serving(tmp_path) as running:
        assert (await answered("an-old-token"), await answered("a-new-token")) == (200, 401)
        (mount / "..new").symlink_to("second")
        (mount / "..new").replace(mount / "..data")
        await running.logged("configuration taken")
        assert (await answered("an-old-token"), await answered("a-new-token")) == (401, 200)


async def test_requests_being_worked_on_are_a_metric(tmp_path: Path) -> None:
    async def in_flight() -> str:
        metrics = await (await running.ops.get("/metrics")).text()
        return next(line.split()[1] for line in metrics.splitlines() if line.startswith("asrproxy_requests_in_flight "))

    async with serving(tmp_path, latency="600s") as running:
        assert await in_flight() == "0.0"
        calls = [asyncio.create_task(running.api.post("/v1/recognize", data=WAV)) for _ in range(2)]
        while await in_flight() != "2.0":
            await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        while await in_flight() != "0.0":
            await asyncio.sleep(0.01)


async def test_a_caller_who_hangs_up_stops_the_work(tmp_path: Path) -> None:
    async with serving(tmp_path, latency="600s") as running:
        call = asyncio.create_task(running.api.post("/v1/recognize", data=WAV))
        while (await (await running.api.get("/v1/status")).json())["providers"]["tones"]["in_flight"] == 0:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        while (await (await running.api.get("/v1/status")).json())["providers"]["tones"]["in_flight"] > 0:
            await asyncio.sleep(0)
        line = await running.logged("request")
        assert (line["status"], line["code"]) == (499, "client_closed")


@pytest.mark.parametrize("taken", ["server.listen", "server.ops_listen"])
async def test_a_taken_address_is_said_in_one_line(tmp_path: Path, taken: str) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    addresses = {"server.listen": "127.0.0.1:0", "server.ops_listen": "127.0.0.1:0", taken: f"127.0.0.1:{port}"}
    file = tmp_path / "asrproxy.yaml"
    listen = f"server: {{listen: ['{addresses['server.listen']}'], ops_listen: ['{addresses['server.ops_listen']}']}}"
    file.write_text(f"{listen}\nproviders: {{tones: {{type: fake}}}}\n")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "asrproxy"), "serve", "-c", str(file), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode not in (0, None)
    assert str(port) in said.decode()
    assert "Traceback" not in said.decode()
    server.close()
