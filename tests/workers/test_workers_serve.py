"""A sidecar of several processes is one sidecar: one token, one rate, one set of counts; a worker's end is nobody's loss."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from aiohttp import ClientError, ClientSession, TCPConnector, UnixConnector
from prometheus_client.parser import text_string_to_metric_families

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator

WAV = tones.to_wav(tones.synthesize("天地玄黄", 16_000), 16_000)
FAKE = "providers: {{tones: {{type: fake, latency: {latency}}}}}"


class Serving:
    """`asrproxy serve` with several workers. api: a new connection for each request, so that every worker gets some."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, api: ClientSession, ops: ClientSession) -> None:
        self.process, self.url, self.api, self.ops = process, url, api, ops
        self.lines: list[dict[str, Any]] = []

    async def logged(self, event: str) -> dict[str, Any]:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"no {event!r} in {self.lines}")

    async def text(self) -> str:
        async with self.api.post("/v1/recognize", data=WAV) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            return str(body["text"])

    async def until_all_answered(self, workers: int) -> int:
        """Calls until each worker has answered one; how many calls that took."""
        seen: set[int] = set()
        calls = 0
        while len(seen) < workers:
            async with self.api.get("/v1/status") as answer:
                seen.add((await answer.json())["worker"]["index"])
            assert await self.text() == "天地玄黄"
            calls += 1
        return calls

    async def metric(self, name: str, **labels: str) -> list[float]:
        async with self.ops.get("/metrics") as answer:
            text = await answer.text()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]

    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children()
        return [each for each in children if "asrproxy.api.worker" in each.cmdline()]


@asynccontextmanager
async def serving(
    folder: Path, providers: str, workers: int = 3, rest: str = "", server: str = "drain: 20s", scratch: Path | None = None
) -> AsyncIterator[Serving]:
    """scratch: its folder for temporary files, None: one that is removed. It is killed at the end, and cannot clear away itself."""
    if scratch is None:
        with TemporaryDirectory(prefix="workers-", ignore_cleanup_errors=True) as name:  # short: sockets are in it
            async with serving(folder, providers, workers, rest, server, Path(name)) as running:
                yield running
        return
    file = folder / "asrproxy.yaml"
    listen = f"listen: ['127.0.0.1:0', 'unix:{folder}/api.sock'], ops_listen: ['unix:{folder}/ops.sock']"
    file.write_text(f"server: {{{listen}, workers: {workers}, {server}}}\n{providers}\n{rest}\n")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "asrproxy"), "serve", "-c", str(file), stderr=asyncio.subprocess.PIPE, limit=2**20,
        env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip
    ops = ClientSession("http://localhost", connector=UnixConnector(str(folder / "ops.sock")))
    running = Serving(process, "", ops, ops)
    try:
        async with ops:
            running.url = (await running.logged("listening"))["api"][0]
            async with ClientSession(running.url, connector=TCPConnector(force_close=True)) as running.api:
                yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_every_worker_answers_and_the_counts_are_one_sidecars(tmp_path: Path) -> None:
    async with serving(tmp_path, FAKE.format(latency="0s")) as running:
        calls = await running.until_all_answered(3)
        assert await running.metric("asrproxy_requests_total", route="default") == [calls]
        assert sum(await running.metric("asrproxy_request_duration_seconds_count")) == calls
        assert await running.metric("asrproxy_config_generation") == [1, 1, 1]
        async with running.api.get("/metrics") as answer:  # on the API port too, and whichever worker is asked
            assert f"{float(calls)}" in await answer.text()
        for path in ("/readyz", "/livez"):
            for session in (running.api, running.ops):
                async with session.get(path) as answer:
                    assert answer.status == 200


async def test_the_last_requests_of_all_are_told_whichever_is_asked_none_twice_and_none_left_out(tmp_path: Path) -> None:
    keeping = "log: {transcripts: true}"
    async with serving(tmp_path, FAKE.format(latency="0s"), rest=keeping, server="drain: 20s, tokens: [night]") as running:
        running.api.headers["Authorization"] = "Bearer night"
        told: list[dict[str, Any]] = []
        last = calls = 0

        async def look(path: str) -> None:
            nonlocal last
            async with running.api.get(f"/v1/recent?after={last}&limit=500{path}") as answer:
                body = await answer.json()
                assert (answer.status, body["unheard"]) == (200, [])
            assert all(last < each["number"] <= body["last"] for each in body["requests"])
            told.extend(body["requests"])
            last = body["last"]

        while len({each["worker"] for each in told}) < 3:
            texts = asyncio.gather(*(running.text() for _ in range(5)))
            while not texts.done():  # looked at while they come
                await look("&transcripts=true")
            await texts
            calls += 5
        await look("&transcripts=true")
        assert len(told) == calls == len({each["request_id"] for each in told})
        assert [each["number"] for each in told] == sorted(each["number"] for each in told)
        assert {each["text"] for each in told} == {"天地玄黄"}
        async with running.api.get("/v1/recent?limit=2") as answer:
            text = await answer.text()
            assert [each["request_id"] for each in json.loads(text)["requests"]] == [each["request_id"] for each in told[-2:]]
            assert "天地" not in text
        for headers, session, expected in (({"Authorization": "Bearer other"}, running.api, 401), ({}, running.ops, 404)):
            async with session.get("/v1/recent?transcripts=true", headers=headers) as answer:
                assert answer.status == expected
        async with running.api.get("/v1/recent?after=x") as answer:
            assert (answer.status, (await answer.json())["error"]["param"]) == (400, "after")


async def test_a_worker_that_does_not_say_its_last_requests_is_named(tmp_path: Path) -> None:
    async with serving(tmp_path, FAKE.format(latency="0s"), workers=2) as running:
        await running.until_all_answered(2)
        async with ClientSession(running.url, connector=TCPConnector(limit=1)) as api:  # one connection, so one worker
            async with api.get("/v1/status") as answer:
                answering = (await answer.json())["worker"]["index"]
            async with api.post("/v1/recognize", data=WAV) as answer:
                assert answer.status == 200
            [halted] = [each for each in running.workers() if json.loads(each.cmdline()[-1])["index"] != answering]
            halted.send_signal(signal.SIGSTOP)
            try:
                async with api.get("/v1/recent") as answer:
                    heard = await answer.json()
            finally:
                halted.send_signal(signal.SIGCONT)
        assert heard["unheard"] == [1 - answering]
        assert {each["worker"] for each in heard["requests"]} == {answering}


async def test_a_unix_socket_reaches_them_too(tmp_path: Path) -> None:
    async with serving(tmp_path, FAKE.format(latency="0s")):
        connector = UnixConnector(str(tmp_path / "api.sock"))
        async with ClientSession("http://localhost", connector=connector) as session, session.post("/v1/recognize", data=WAV) as answer:
            assert (await answer.json())["text"] == "天地玄黄"


async def test_the_ops_port_answers_in_the_contracts_shape(tmp_path: Path) -> None:
    async with serving(tmp_path, FAKE.format(latency="0s")) as running:
        async with running.ops.get("/v1/status") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "not_found")
        async with running.ops.post("/livez") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (405, "method_not_allowed")
        for malformed in (b"FOO /livez HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /livez HTTP/1.1\r\nsecret-of-mine\r\n\r\n"):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "ops.sock"))
            writer.write(malformed)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            error = json.loads(body)["error"]
            assert error["code"] == "invalid_parameter"
            assert f"X-Request-Id: {error['request_id']}".encode() in head
            assert b"secret-of-mine" not in body


async def test_the_workers_make_one_token_and_keep_one_rate(tmp_path: Path) -> None:
    limits = "policy: {limits: {rate: 1000/s, concurrency: 9, queue: 90}}"
    async with Emulator() as cloud, serving(tmp_path, aliyun(cloud), rest=limits) as running:
        await running.until_all_answered(3)
        assert cloud.tokens_created == 1
        async with running.api.get("/v1/status") as answer:
            status = await answer.json()
        assert status["providers"]["aliyun"]["limiter"]["concurrency"] == 3
        assert status["fleet"]["supervisor"] == "here"
        while status["fleet"]["rates"]["aliyun"]["sidecars"] != 3:
            async with running.api.get("/v1/status") as answer:
                status = await answer.json()


async def test_a_worker_that_is_killed_is_started_again_and_no_new_caller_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, FAKE.format(latency="0s")) as running:
        before = {each.pid for each in running.workers()}
        victim = before.copy().pop()
        os.kill(victim, signal.SIGKILL)
        ended = await running.logged("worker ended")
        assert ended["status"] == -signal.SIGKILL
        answered = lost = 0
        while victim in {each.pid for each in running.workers()} or len(running.workers()) < 3 or answered < 30:
            try:
                assert await running.text() == "天地玄黄"
                answered += 1
            except ClientError:
                lost += 1  # one that the killed worker had accepted
        assert lost <= 1
        await running.logged("worker listening")
        await running.until_all_answered(3)


async def test_sigterm_ends_all_with_what_is_in_flight_answered(tmp_path: Path) -> None:
    async with Emulator() as cloud, serving(tmp_path, aliyun(cloud)) as running:
        cloud.hold_answers()
        calls = [asyncio.create_task(running.text()) for _ in range(24)]
        await cloud.calls_in_flight(24)
        workers = running.workers()
        running.process.send_signal(signal.SIGTERM)
        await running.logged("draining")
        cloud.release_answers()
        assert await asyncio.gather(*calls) == ["天地玄黄"] * 24
        assert await running.process.wait() == 0
    assert not [each for each in workers if each.is_running()]
    assert not (tmp_path / "api.sock").exists()
    assert not (tmp_path / "ops.sock").exists()


async def test_a_supervisor_that_is_killed_leaves_no_worker_behind(tmp_path: Path) -> None:
    async with serving(tmp_path, FAKE.format(latency="0s")) as running:
        workers = running.workers()
        running.process.kill()
        await running.process.wait()
        assert not (await asyncio.to_thread(psutil.wait_procs, workers, 30))[1]


async def test_what_a_killed_sidecar_leaves_is_cleared_away_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="workers-") as name:
        scratch, elsewhere = Path(name), tmp_path / "elsewhere"
        for kept in (elsewhere, scratch / "asrproxy-strange", scratch / "other"):
            kept.mkdir()
        (elsewhere / "lock").touch()
        (scratch / "other" / "lock").touch()
        (scratch / "asrproxy-link").symlink_to(elsewhere)
        (scratch / "asrproxy-file").touch()
        strangers = set(scratch.iterdir())
        one, two, three = tmp_path / "1", tmp_path / "2", tmp_path / "3"
        for each in (one, two, three):
            each.mkdir()
        fake = FAKE.format(latency="0s")
        async with serving(one, fake, workers=2, scratch=scratch) as living:
            (of_the_living,) = set(scratch.iterdir()) - strangers
            async with serving(two, fake, workers=2, scratch=scratch) as killed:
                workers = killed.workers()
            assert not (await asyncio.to_thread(psutil.wait_procs, workers, 30))[1]
            (of_the_dead,) = set(scratch.iterdir()) - strangers - {of_the_living}
            async with serving(three, fake, workers=2, scratch=scratch) as next_one:
                (its_own,) = set(scratch.iterdir()) - strangers - {of_the_living}
                assert its_own != of_the_dead
                await living.until_all_answered(2)
                next_one.process.terminate()
                assert await next_one.process.wait() == 0
            assert set(scratch.iterdir()) == strangers | {of_the_living}
        assert list(elsewhere.iterdir()) == [elsewhere / "lock"]


async def test_sighup_reaches_every_worker(tmp_path: Path) -> None:
    async with serving(tmp_path, FAKE.format(latency="0s")) as running:
        file = tmp_path / "asrproxy.yaml"
        file.write_text(file.read_text().replace("latency: 0s", "latency: 1ms"))
        running.process.send_signal(signal.SIGHUP)
        while min(await running.metric("asrproxy_config_generation")) < 2:
            await asyncio.sleep(0.02)


async def test_what_cannot_start_is_said_and_ends_it(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    file = tmp_path / "asrproxy.yaml"
    for text in (
        f"server: {{listen: ['127.0.0.1:{port}'], ops_listen: [], workers: 2}}\nproviders: {{tones: {{type: fake}}}}\n",
        "server: {listen: ['127.0.0.1:0'], ops_listen: [], workers: 2}\n"
        f"providers: {{a: {{type: replay, mode: record, folder: {tmp_path}, provider: {{type: openai, ca_file: /nowhere.pem}}}}}}\n",
    ):
        file.write_text(text)
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "asrproxy"), "serve", "-c", str(file), stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        assert process.returncode in (1, 2), said
        assert re.search(rf"asrproxy: .*({port}|nowhere)", said.decode()), said
        assert "Traceback" not in said.decode()
    server.close()


def aliyun(cloud: Emulator) -> str:
    return (
        f"providers: {{aliyun: {{type: aliyun, appkey: {cloud.appkey}, access_key_id: {cloud.access_key_id}, "
        f"access_key_secret: {cloud.access_key_secret}, gateway_url: '{cloud.gateway_url}', token_url: '{cloud.token_url}'}}}}"
    )


async def test_the_workers_spend_one_budget_and_remember_it_over_a_restart(tmp_path: Path) -> None:
    providers = "providers: {paid: {type: fake, price: {per_call: 1, currency: CNY}}}"
    budget = "routes: {default: {providers: [paid], budget: {day: 1000}}}"
    spent = 0.0
    for _ in range(2):
        async with serving(tmp_path, providers, workers=2, rest=budget, server=f"state: '{tmp_path}/state'") as running:
            spent += await running.until_all_answered(2)
            while set(await running.metric("asrproxy_budget_spent", period="day")) != {spent}:
                await asyncio.sleep(0.05)
            spent += await running.until_all_answered(2)
            running.process.send_signal(signal.SIGTERM)
            await running.process.communicate()
