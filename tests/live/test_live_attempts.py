"""A live session is one attempt at its provider: announced, counted and, when it fails, told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from asrproxy.events import AttemptEnded, Noted
from asrproxy.plugin import AudioFormat, Context, Unavailable
from asrproxy.testing import tones
from tests.live.speaking import server, speaking
from tests.policy.policy_world import WIDE, Heard, Vendor, context, stack, virtual_time
from tests.recognize.conftest import Client, Start, start

__all__ = ["start"]

SCORE = tones.compose(["天地玄黄", 1.0, "宇宙洪荒"], lead=0.3, tail=0.3)
BROKEN = "{type: fake, script: [{times: 100, error: unavailable}]}"


def attempts(client: Client) -> list[tuple[str, str]]:
    return [
        (event.provider, "ok" if event.error is None else type(event.error).__name__)
        for event in client.events
        if isinstance(event, AttemptEnded)
    ]


async def test_a_session_is_one_attempt_with_the_audio_it_was_given(start: Start) -> None:
    async with start(server() + "providers: {tones: {type: fake}}") as client:
        async with speaking(client) as speaker:
            await speaker.say(SCORE.render())
            await speaker.stop()
            await speaker.rest()
        assert attempts(client) == [("tones", "ok")]
        (event,) = [event for event in client.events if isinstance(event, AttemptEnded)]
        assert event.audio_seconds == pytest.approx(SCORE.duration, abs=0.01)
        assert event.request_id == speaker.told[0]["request_id"]
        _, metrics = await client.get("/metrics")
        assert 'asrproxy_attempts_total{outcome="ok",provider="tones"} 1.0' in metrics


@pytest.mark.parametrize("second", [BROKEN, BROKEN.replace("fake,", "fake, capabilities: {streaming: false},")], ids=["stream", "cuts"])
async def test_the_error_says_what_each_provider_was_asked(start: Start, second: str) -> None:
    text = f"providers: {{a: {BROKEN}, b: {second}}}\npolicy: {{retries: {{attempts: 1}}}}\nroutes: {{default: {{providers: [a, b]}}}}"
    async with start(server() + text) as client:
        async with speaking(client) as speaker:
            await speaker.say(SCORE.render())
            await speaker.stop()
            told = await speaker.rest()
        assert attempts(client) == [("a", "Unavailable"), ("b", "Unavailable")]
    error = told[-1]["error"]
    assert (told[-1]["type"], error["code"]) == ("error", "provider_error")
    assert [(each["provider"], each["outcome"], each["code"]) for each in error["attempts"]] == [
        ("a", "failed", "unavailable"),
        ("b", "failed", "unavailable"),
    ]


async def test_a_caller_who_leaves_ends_the_attempt(start: Start) -> None:
    async with start(server() + "providers: {tones: {type: fake}}") as client:
        async with speaking(client) as speaker:
            await speaker.say(SCORE.render()[:32_000])
        while client.sidecar.runtime.in_flight:
            await asyncio.sleep(0.01)
        assert attempts(client) == [("tones", "Cancelled")]


@virtual_time
async def test_a_plugins_defect_is_the_vendors_failure_and_noted() -> None:
    class Defective(Vendor):
        async def stream(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> Any:  # type: ignore[override]
            async for _ in audio:
                raise KeyError("index")
            yield

    async def silence() -> AsyncIterator[bytes]:
        while True:
            yield bytes(3200)

    heard, asked = Heard(), context()
    tried = stack(Defective(), observer=heard)
    async with aclosing(silence()) as audio:
        with pytest.raises(Unavailable) as caught:
            await anext(tried.stream(audio, WIDE, asked))
    assert caught.value.provider == "vendor"
    assert [type(event.error) for event in heard.of(AttemptEnded)] == [Unavailable]
    assert [event.event for event in heard.of(Noted)] == ["provider defect"]
    assert [record.outcome for record in asked.trail.records] == ["failed"]
