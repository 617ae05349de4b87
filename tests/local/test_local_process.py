"""What becomes of calls when the engine's process crashes, hangs, is not needed, or outlives its sidecar."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from asrproxy.plugin import AttemptTimeout, ConfigError, Host, Noted, NotReady, Unavailable
from asrproxy_local.provider import LocalProvider
from tests.local.conftest import RATE, SAID, SENSE, Local, Running, package_recording, pcm_of


def forks(running: Running) -> list[psutil.Process]:
    assert running.pid is not None
    return [each for each in psutil.Process(running.pid).children() if not gone(each.pid)]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def begun(running: Running, count: int) -> None:
    """Returns when so many calls are with the provider."""
    await running.until(lambda: running.provider.status()["calls"] == count)


@pytest.fixture(scope="module")
def sentence() -> bytes:
    return pcm_of(SENSE)


@pytest.fixture(scope="module")
def reading() -> bytes:
    """Seconds of work."""
    return package_recording("two_cities.wav")


async def test_the_start_returns_at_once_and_health_says_that_it_is_loading(local: Local, sentence: bytes) -> None:
    async with local() as running:
        health = running.provider.health()
        assert (health.ready, health.reason) == (False, "loading moonshine")
        assert (await running.hear(sentence)).text == SAID
        assert running.provider.health().ready


async def test_the_engine_has_none_of_the_sidecars_secrets(local: Local, sentence: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_KEY", "secret-of-mine")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    async with local() as running:
        assert (await running.hear(sentence)).text == SAID
        assert running.pid is not None
        environment = psutil.Process(running.pid).environ()  # its forks come and go, and have the same
        assert "secret-of-mine" not in str(environment)
        assert environment["OMP_NUM_THREADS"] == "1"


async def test_a_call_that_cannot_wait_for_the_loading_is_told_so(local: Local, sentence: bytes) -> None:
    async with local() as running:
        with pytest.raises(NotReady, match="still loading"):
            await running.hear(sentence, within=0.0)


async def test_a_crash_of_the_engine_costs_the_calls_in_it_and_the_next_one_finds_another(local: Local, sentence: bytes) -> None:
    async with local(concurrency=1) as running:
        await running.ready()
        before = running.pid
        assert before is not None
        os.kill(before, signal.SIGSTOP)
        inside = asyncio.create_task(running.hear(sentence))
        await begun(running, 1)
        waiting = asyncio.create_task(running.hear(sentence))
        await begun(running, 2)
        os.kill(before, signal.SIGSEGV)
        os.kill(before, signal.SIGCONT)
        with pytest.raises(Unavailable, match="the embedded recogniser failed") as failed:
            await inside
        assert failed.value.retryable
        assert (await waiting).text == SAID
        assert running.pid not in (None, before)


async def test_a_crash_under_one_call_leaves_the_other_calls_alone(local: Local, reading: bytes) -> None:
    async with local(threads=2) as running:
        await running.ready()
        process = running.pid
        calls = [asyncio.create_task(running.hear(reading)) for _ in range(2)]
        await running.until(lambda: len(forks(running)) == 2)
        forks(running)[0].send_signal(signal.SIGSEGV)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(each).__name__ for each in answers) == ["Recognition", "Unavailable"]
        assert running.pid == process


async def test_a_cancelled_call_ends_its_work_and_nothing_else(local: Local, reading: bytes, sentence: bytes) -> None:
    async with local() as running:
        await running.ready()
        process = running.pid
        call = asyncio.create_task(running.hear(reading))
        await running.until(lambda: len(forks(running)) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await running.until(lambda: not forks(running))
        assert (await running.hear(sentence)).text == SAID
        assert running.pid == process


async def test_a_call_that_hangs_ends_at_its_deadline(local: Local, reading: bytes, sentence: bytes) -> None:
    async with local() as running:
        await running.ready()
        call = asyncio.create_task(running.hear(reading, within=1.0))
        await running.until(lambda: len(forks(running)) == 1)
        (fork,) = forks(running)
        fork.suspend()
        with pytest.raises(AttemptTimeout):
            await call
        await running.until(lambda: gone(fork.pid))
        assert (await running.hear(sentence)).text == SAID


async def test_a_process_that_hangs_is_replaced_and_the_calls_that_wait_are_not_lost(local: Local, sentence: bytes) -> None:
    async with local(concurrency=1) as running:
        await running.ready()
        before = running.pid
        assert before is not None
        os.kill(before, signal.SIGSTOP)
        hanging = asyncio.create_task(running.hear(sentence))
        await begun(running, 1)
        waiting = asyncio.create_task(running.hear(sentence))
        await begun(running, 2)
        hanging.cancel()
        assert (await waiting).text == SAID
        assert running.pid not in (None, before)
        assert gone(before)


async def test_the_process_ends_when_idle_and_the_next_call_starts_another(local: Local, sentence: bytes) -> None:
    async with local(idle="200ms") as running:
        assert (await running.hear(sentence)).text == SAID
        await running.until(lambda: running.provider.status()["state"] == "asleep")
        assert running.provider.health().ready
        assert (await running.hear(sentence)).text == SAID
        assert running.provider.status()["processes_started"] == 2


async def test_closing_ends_the_process_with_its_calls(local: Local, reading: bytes) -> None:
    async with local() as running:
        await running.ready()
        process = running.pid
        assert process is not None
        call = asyncio.create_task(running.hear(reading))
        await running.until(lambda: len(forks(running)) == 1)
        (fork,) = forks(running)
        await running.provider.aclose()
        assert gone(process)
        await running.until(lambda: gone(fork.pid))
        with pytest.raises((Unavailable, NotReady)):
            await call


async def test_the_process_ends_with_its_sidecar_however_that_ends(local: Local) -> None:
    program = (
        "import asyncio\n"
        "from asrproxy.plugin import Host\n"
        "from asrproxy_local.provider import LocalProvider\n"
        "async def main():\n"
        "    provider = LocalProvider(LocalProvider.Settings(), Host('local'))\n"
        "    await provider.start()\n"
        "    while provider.status()['pid'] is None:\n"
        "        await asyncio.sleep(0.01)\n"
        "    print(provider.status()['pid'], flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    sidecar = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    assert sidecar.stdout is not None
    process = int(await sidecar.stdout.readline())
    os.kill(process, signal.SIGSTOP)  # it cannot notice by itself
    sidecar.kill()
    await sidecar.wait()
    while not gone(process):
        await asyncio.sleep(0.01)


async def test_an_engine_that_does_not_load_says_why_and_keeps_nobody_waiting(local: Local, tmp_path: Path) -> None:
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    async with local(engine="whisper", folder=str(tmp_path)) as running:
        await running.until(lambda: running.provider.health().reason != "loading whisper")
        health = running.provider.health()
        assert not health.ready
        assert health.reason
        with pytest.raises(NotReady, match="is not ready"):
            await running.hear(bytes(2 * RATE))
        assert [event.level for event in running.announced if isinstance(event, Noted)] == ["error"]


async def test_weights_that_are_missing_and_may_not_be_fetched_are_asked_for(local: Local) -> None:
    async with local(engine="whisper", download=False) as running:
        await running.until(lambda: running.provider.health().reason != "loading whisper")
        with pytest.raises(NotReady, match=r"python -m asrproxy_local\.weights"):
            await running.hear(bytes(2 * RATE))


@pytest.mark.parametrize(
    ("engine", "package", "extra"), [("moonshine", "moonshine_voice", "local"), ("whisper", "zhconv", "local-whisper")]
)
async def test_a_missing_package_stops_the_start_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, engine: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    provider = LocalProvider(LocalProvider.Settings.model_validate({"engine": engine}), Host("local"))
    with pytest.raises(ConfigError, match=rf"asrproxy\[{extra}\]"):
        await provider.start()
