"""The fault table, callers: whoever hangs up at any stage frees everything, whoever never finishes is told so and let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Outage, Scripted
from tests.faults.caller import Answer, connect, head, heard
from tests.faults.proxy import reset
from tests.faults.world import TEXT, WAV, World, world

SMALL = 65_536
"""Bytes of a body that are kept in memory here."""
OTHER_RATE = tones.to_wav(tones.compose([TEXT, 3.0], lead=0.2, tail=0.2).render(44_100), 44_100)
"""A recording that has to be converted."""
MINUTES = tones.to_wav(tones.compose([TEXT, 1.0] * 60, lead=0.2, tail=0.2).render(), 16_000)
FORM = b'--b\r\nContent-Disposition: form-data; name="audio"\r\n\r\n' + WAV[:4096]
PATIENT = {"timeout": "60s", "attempt_timeout": "50s"}
LET_GO = 8.0
"""Seconds after his answer within which one who still drips is let go; aiohttp alone would hear him for ten."""


@dataclass
class Line:
    """A caller's connection to the sidecar and the vendor behind it. neighbour: another caller, who stays."""

    running: World
    cloud: Emulator
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    neighbour: asyncio.Task[Answer] | None = None

    async def send(self, *pieces: bytes) -> None:
        for each in pieces:
            self.writer.write(each)
        await self.writer.drain()


async def until(holds: Callable[[], Any]) -> None:
    """The test's time limit fails what never comes to hold."""
    while not holds():
        await asyncio.sleep(0.01)


async def in_flight(line: Line) -> None:
    await until(lambda: line.running.running.runtime.in_flight)


async def connected(line: Line) -> None:
    await line.send()


async def in_the_headers(line: Line) -> None:
    await line.send(head(len(WAV))[:40])


async def in_a_short_body(line: Line) -> None:
    await line.send(head(len(WAV)), WAV[: len(WAV) // 2])
    await in_flight(line)


async def in_a_spooled_body(line: Line) -> None:
    await line.send(head(len(MINUTES)), MINUTES[: 4 * SMALL])
    await in_flight(line)


async def in_a_form(line: Line) -> None:
    await line.send(form_head(), chunk(FORM))
    await in_flight(line)


async def at_the_decoder(line: Line) -> None:
    await line.send(head(None), chunk(OTHER_RATE[:-1]))  # it waits for the rest
    await until(lambda: line.running.running.runtime.decoders.status()["busy"])


async def in_the_queue(line: Line) -> None:
    line.cloud.hold_answers()
    line.neighbour = asyncio.create_task(line.running.ask())
    await line.cloud.calls_in_flight(1)
    await line.send(head(len(WAV)), WAV)
    await until(lambda: line.running.status()["limiter"]["queued"]["short"])


async def without_a_token(line: Line) -> None:
    await line.cloud.token_outage(Outage.SILENT)
    line.cloud.expire_all_tokens()
    await line.send(head(len(WAV)), WAV)
    await until(lambda: line.running.status()["in_flight"])


async def at_the_vendor(line: Line) -> None:
    line.cloud.hold_answers()
    await line.send(head(len(WAV)), WAV)
    await line.cloud.calls_in_flight(1)


async def before_a_retry(line: Line) -> None:
    line.cloud.script(Scripted(status=50000000))
    await line.send(head(len(WAV)), WAV)
    await until(lambda: line.running.status()["retry_budget"]["left"] < 10)
    assert line.running.status()["in_flight"] == 0


async def between_events(line: Line) -> None:
    await line.send(head(len(MINUTES), stream="true"), MINUTES)
    await line.reader.readuntil(b"event: segment")
    line.cloud.hold_answers()


@dataclass(frozen=True)
class Stage:
    """reach: sends until the stage is reached. policy, aliyun: what it needs. asked: there is a request to account for."""

    reach: Callable[[Line], Awaitable[None]]
    policy: dict[str, Any] = field(default_factory=dict)
    aliyun: dict[str, Any] = field(default_factory=dict)
    asked: bool = True


STAGES = {
    "connected": Stage(connected, asked=False),
    "in the headers": Stage(in_the_headers, asked=False),
    "in a short body": Stage(in_a_short_body),
    "in a spooled body": Stage(in_a_spooled_body),
    "in a form": Stage(in_a_form),
    "at the decoder": Stage(at_the_decoder),
    "in the queue": Stage(in_the_queue, policy={"limits": {"concurrency": 1}}),
    "without a token": Stage(without_a_token, aliyun={"keys": True, "token_timeout": "40s"}),
    "at the vendor": Stage(at_the_vendor),
    "at the vendor over a WebSocket": Stage(at_the_vendor, aliyun={"transport": "websocket"}),
    "before a retry": Stage(before_a_retry, policy={"retries": {"backoff": {"initial": "50s", "max": "50s", "jitter": "none"}}}),
    "between events": Stage(between_events, policy={"long_audio": {"max_segment": "10s", "concurrency": 2}}),
}


@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize("name", STAGES)
async def test_a_caller_who_hangs_up_frees_everything(tmp_path: Path, name: str, how: str) -> None:
    stage = STAGES[name]
    server = {"spool_memory": SMALL, "body_timeout": "60s", "audio": {"idle": "100ms"}}
    async with (
        Emulator() as cloud,
        world(cloud, tmp_path / "spool", server=server, policy=PATIENT | stage.policy, aliyun=dict(stage.aliyun)) as running,
    ):
        assert (await running.ask()).outcome == "ok"
        before = await running.rests()
        line = Line(running, cloud, *await connect(running.running.url))
        await stage.reach(line)

        if how == "closed":
            line.writer.close()
        else:
            reset(line.writer)

        await until(lambda: len(gone(running)) == stage.asked)
        if name == "without a token":  # whoever asks for it asks for all
            await cloud.token_outage(Outage.NONE)
        if line.neighbour is not None:
            await until(lambda: not running.status()["limiter"]["queued"]["short"])
            cloud.release_answers()
            assert (await line.neighbour).outcome == "ok"
        # Answers are still held: at the vendor too nothing goes on that nobody waits for.
        await cloud.all_connections_free()
        await running.rests(before)
        cloud.release_answers()
        calls = len(cloud.calls)
        assert (await running.ask()).outcome == "ok"
        assert len(cloud.calls) == calls + 1
        assert len(gone(running)) == stage.asked
        await running.rests(before)


def gone(running: World) -> list[int]:
    """The requests that are accounted for as those of callers who hung up."""
    return [each.status for each in running.ended() if each.status == 499]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def form_head() -> bytes:
    return head(None).replace(b"Connection", b"Content-Type: multipart/form-data; boundary=b\r\nConnection")


# What he has sent when he falls silent, or begins to drip.
UNFINISHED = {
    "half a head": head(len(WAV))[:40],
    "no body at all": head(len(WAV)),
    "half a short body": head(len(WAV)) + WAV[: len(WAV) // 2],
    "half a spooled body": head(len(MINUTES)) + MINUTES[: 2 * SMALL],
    "half a chunk": head(None) + b"8000\r\n" + WAV[:4096],
    "chunks without an end": head(None) + chunk(WAV[:4096]),
    "half a form": form_head() + b"8000\r\n" + FORM,
}


@pytest.mark.parametrize("dripping", [False, True], ids=["silent", "dripping"])
async def test_callers_who_never_finish_are_told_so_and_let_go(tmp_path: Path, dripping: bool) -> None:
    server = {"spool_memory": SMALL, "body_timeout": "200ms", "audio": {"idle": "100ms"}}
    async with Emulator() as cloud, world(cloud, tmp_path / "spool", server=server, policy=PATIENT) as running:
        assert (await running.ask()).outcome == "ok"
        before = await running.rests()

        answers = await asyncio.gather(*(told(running.running.url, each, dripping=dripping) for each in UNFINISHED.values()))

        assert {name: each.outcome for name, each in zip(UNFINISHED, answers, strict=True)} == dict.fromkeys(UNFINISHED, "request_timeout")
        assert [each.status for each in running.ended()] == [200] + [408] * len(UNFINISHED)
        assert len(cloud.calls) == 1
        await running.rests(before)
        assert (await running.ask()).outcome == "ok"


async def told(address: str, sent: bytes, *, dripping: bool) -> Answer:
    """What is answered to one who sends so much and then nothing, or a byte now and then; he does not hang up, and does not have to."""
    reader, writer = await connect(address)
    writer.write(sent)

    async def drip() -> None:
        while dripping:
            writer.write(b"0")
            await asyncio.sleep(0.05)

    task = asyncio.create_task(drip())
    try:
        said = await reader.readuntil(b"\r\n\r\n")
        length = int(said.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        said += await reader.readexactly(length)
        async with asyncio.timeout(LET_GO):
            with suppress(ConnectionResetError):  # what he sent last may cross our end
                said += await reader.read()
        return heard(said, 0.0)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        writer.transport.abort()
