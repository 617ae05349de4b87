"""The policy round a live session: a permit while it lasts, and a circuit that does not wait for its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from asrproxy.plugin import AudioFormat, CircuitOpen, Context, Interim, RateLimited, StreamEvent, Traffic, Unavailable
from asrproxy.policy.stack import ProviderStack
from tests.policy.policy_world import WIDE, Vendor, context, outcome, policy, speech, stack, virtual_time


class Talker(Vendor):
    """Streams what it is told to: a moment's wait, an event, an error, or None for the end."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[StreamEvent | Exception | None] = asyncio.Queue()

    async def stream(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> AsyncIterator[StreamEvent]:
        while (line := await self.lines.get()) is not None:
            if isinstance(line, Exception):
                raise line
            yield line

    def says(self, *lines: StreamEvent | Exception | None) -> None:
        for line in lines:
            self.lines.put_nowait(line)


WORD = Interim(0, 0.0, "word")


async def nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def listening(guarded: ProviderStack) -> asyncio.Task[None]:
    async def listen() -> None:
        async for _ in guarded.stream(nothing(), WIDE, context(traffic=Traffic.LIVE)):
            pass

    return asyncio.ensure_future(listen())


async def opened(talker: Talker) -> ProviderStack:
    """With a circuit that is open for a minute."""
    guarded = stack(talker, policy(circuit={"failures": 1, "reset": "60s"}, attempt_timeout="15s"))
    talker.says(Unavailable("down"))
    await asyncio.gather(listening(guarded), return_exceptions=True)
    assert guarded.status()["circuit"]["state"] == "open"  # type: ignore[index]
    return guarded


async def turns() -> None:
    await asyncio.sleep(0.01)


@virtual_time
async def test_it_takes_a_permit_for_as_long_as_it_lasts() -> None:
    talker = Talker()
    tried = stack(talker, policy(limits={"rate": None, "concurrency": 1, "queue_timeout": "5s"}))
    session = listening(tried)
    talker.says(WORD)
    await turns()
    assert tried.status()["in_flight"] == 1
    assert isinstance(await outcome(tried.call(speech(), context())), RateLimited)
    talker.says(None)
    await session
    assert await outcome(tried.call(speech(), context())) == "text"
    assert tried.status()["in_flight"] == 0


@virtual_time
async def test_one_that_is_given_up_gives_its_permit_back() -> None:
    talker = Talker()
    tried = stack(talker)
    session = listening(tried)
    await turns()
    session.cancel()
    await asyncio.gather(session, return_exceptions=True)
    assert tried.status()["in_flight"] == 0


@virtual_time
async def test_a_trial_lets_the_others_in_with_its_first_word() -> None:
    talker = Talker()
    guarded = await opened(talker)
    await asyncio.sleep(60)
    session = listening(guarded)
    await turns()
    assert isinstance(await outcome(guarded.call(speech(), context())), CircuitOpen)
    talker.says(WORD)
    await turns()
    assert await outcome(guarded.call(speech(), context())) == "text"
    assert not session.done()
    talker.says(None)
    await session


@virtual_time
async def test_a_trial_in_which_nobody_speaks_lets_them_in_after_an_attempts_timeout() -> None:
    talker = Talker()
    guarded = await opened(talker)
    await asyncio.sleep(60)
    session = listening(guarded)
    await asyncio.sleep(14.9)
    assert guarded.status()["circuit"]["state"] == "half-open"  # type: ignore[index]
    await asyncio.sleep(0.2)
    assert guarded.status()["circuit"]["state"] == "closed"  # type: ignore[index]
    talker.says(None)
    await session


@virtual_time
async def test_failing_after_a_good_beginning_counts_as_failing() -> None:
    talker = Talker()
    guarded = await opened(talker)
    await asyncio.sleep(60)
    session = listening(guarded)
    talker.says(WORD)
    await turns()
    assert guarded.status()["circuit"]["state"] == "closed"  # type: ignore[index]
    talker.says(Unavailable("down"))
    error = (await asyncio.gather(session, return_exceptions=True))[0]
    assert isinstance(error, Unavailable)
    assert error.provider == "vendor"
    assert guarded.status()["circuit"]["state"] == "open"  # type: ignore[index]


@virtual_time
async def test_a_session_that_fails_while_the_circuit_is_open_already_says_so() -> None:
    talker, other = Talker(), Talker()
    guarded = stack(talker, policy(circuit={"failures": 1, "reset": "60s"}))
    talker.says(WORD)
    session = listening(guarded)
    await turns()
    assert not session.done()
    guarded.warn(10.0)  # one failure is enough
    talker.lines, before = other.lines, talker.lines
    other.says(Unavailable("down"))
    await asyncio.gather(listening(guarded), return_exceptions=True)
    assert guarded.status()["circuit"]["state"] == "open"  # type: ignore[index]
    before.put_nowait(Unavailable("down"))
    assert isinstance((await asyncio.gather(session, return_exceptions=True))[0], Unavailable)
