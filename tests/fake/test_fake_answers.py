"""The fake answers from the audio and fails as it was told: from YAML, from a watched file, from a test that holds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.plugin import (
    AudioFormat,
    ConfigError,
    Context,
    Host,
    Interim,
    Options,
    Recognition,
    Rejected,
    Sentence,
    StreamEvent,
    Throttled,
    Unavailable,
    Utterance,
)
from asrproxy.testing.tones import compose, dictation, synthesize
from asrproxy_fake.provider import FakeProvider
from asrproxy_fake.settings import FakeSettings, Outage, Step

RATE = 16_000


@asynccontextmanager
async def fake(**said: object) -> AsyncIterator[FakeProvider]:
    provider = FakeProvider(FakeSettings.model_validate(said), Host("fake"))
    await provider.start()
    try:
        yield provider
    finally:
        await provider.aclose()


async def ask(provider: FakeProvider, text: str = "天地玄黄", **options: object) -> Recognition:
    return await provider.recognize(Utterance(synthesize(text, RATE), AudioFormat(RATE)), context(**options))


def context(**options: object) -> Context:
    return Context("test", asyncio.get_running_loop().time() + 60, Options(**options))  # type: ignore[arg-type]


async def outcomes(provider: FakeProvider, calls: int) -> list[str]:
    answers = [await asyncio.gather(ask(provider), return_exceptions=True) for _ in range(calls)]
    return [answer.text if isinstance(answer, Recognition) else type(answer).__name__ for (answer,) in answers]


async def test_a_script_is_met_call_by_call_and_then_calls_are_answered_well() -> None:
    script = [{"error": "unavailable", "times": 2}, {"text": "别的"}, {"truncate": 0.5}, {}, {"error": "timeout"}]
    async with fake(script=script) as provider:
        assert await outcomes(provider, 8) == [
            "Unavailable", "Unavailable", "别的", "天地", "天地玄黄", "AttemptTimeout", "天地玄黄", "天地玄黄"
        ]  # fmt: skip
        assert provider.script.calls == 8


async def test_an_error_carries_what_the_script_says_of_it() -> None:
    async with fake(script=[{"error": "throttled", "retry_after": "2s", "vendor_code": 40000005}]) as provider:
        with pytest.raises(Throttled) as caught:
            await ask(provider)
        assert (caught.value.retry_after, caught.value.vendor_code) == (2.0, 40000005)


async def test_the_same_seed_fails_the_same_calls() -> None:
    async with fake(failure_rate=0.4, failure="garbled", seed=7) as first, fake(failure_rate=0.4, failure="garbled", seed=7) as second:
        found = await outcomes(first, 40)
        assert found == await outcomes(second, 40)
        assert 5 <= found.count("Garbled") <= 30


async def test_an_outage_of_a_known_length_ends_and_one_from_a_test_lasts_until_it_is_ended() -> None:
    async with fake(outages=[{"after": 0, "for": "1h", "error": "throttled"}]) as provider:
        assert await outcomes(provider, 2) == ["Throttled"] * 2
    async with fake(outages=[{"after": "1h"}]) as provider:
        assert await outcomes(provider, 1) == ["天地玄黄"]
        provider.script.go_down()
        assert await outcomes(provider, 2) == ["Unavailable"] * 2
        provider.script.recover()
        assert await outcomes(provider, 1) == ["天地玄黄"]


async def test_a_test_holds_calls_sees_them_arrive_and_lets_them_go() -> None:
    async with fake() as provider:
        provider.script.hold()
        calls = [asyncio.create_task(ask(provider)) for _ in range(3)]
        await provider.script.arrived(3)
        assert provider.status()["in_flight"] == 3
        calls[0].cancel()
        await asyncio.wait(calls[:1])
        assert provider.script.in_flight == 2
        provider.script.release()
        await provider.script.idle()
        assert [(await each).text for each in calls[1:]] == ["天地玄黄"] * 2


async def test_steps_can_be_added_between_two_calls() -> None:
    async with fake() as provider:
        provider.script.fail("refused", times=2)
        provider.script.add(Step(text="x"))
        assert await outcomes(provider, 4) == ["Refused", "Refused", "x", "天地玄黄"]


async def test_a_watched_file_changes_what_a_running_fake_does(tmp_path: Path) -> None:
    file = tmp_path / "script.yaml"
    async with fake(script_file=str(file), script=[{"text": "before"}]) as provider:
        assert await outcomes(provider, 2) == ["before", "天地玄黄"]
        file.write_text("script: [{error: refused, times: 2}]\ntext: nothing\n")
        assert await outcomes(provider, 3) == ["Refused", "Refused", "天地玄黄"]
        file.write_text("outages: [{error: unavailable}]\n")
        assert await outcomes(provider, 2) == ["Unavailable"] * 2
        file.write_text("{}\n")
        assert await outcomes(provider, 1) == ["天地玄黄"]


async def test_a_watched_file_with_a_mistake_says_so_at_the_start_and_at_each_call(tmp_path: Path) -> None:
    file = tmp_path / "script.yaml"
    file.write_text("scirpt: []")
    provider = FakeProvider(FakeSettings(script_file=file), Host("fake"))
    with pytest.raises(ConfigError, match="scirpt"):
        await provider.start()
    file.write_text("script: []")
    await provider.start()
    file.write_text("script: [")
    with pytest.raises(Rejected, match=r"script\.yaml"):
        await ask(provider)


async def test_audio_without_tones_is_answered_with_the_text_of_the_configuration() -> None:
    silence = Utterance(bytes(RATE), AudioFormat(RATE))
    async with fake() as quiet, fake(text="hello") as speaking:
        assert (await quiet.recognize(silence, context())).text == ""
        assert (await speaking.recognize(silence, context())).text == "hello"


async def test_words_are_where_they_were_sounded() -> None:
    score = compose(["天地", 0.7, "hello"])
    async with fake() as provider:
        answer = await provider.recognize(Utterance(score.render(RATE), AudioFormat(RATE)), context(words=True))
    assert answer.words is not None
    assert [each.text for each in answer.words] == ["天", "地", "hello"]
    assert answer.words[1].start == pytest.approx(score.symbols[1].start, abs=0.02)
    assert answer.words[2].end == pytest.approx(score.symbols[-1].end, abs=0.02)


@pytest.mark.parametrize(("text", "marked"), [("天地 玄黄", "天地，玄黄。"), ("to be or", "to, be, or.")])
async def test_punctuation_is_where_the_pauses_are(text: str, marked: str) -> None:
    async with fake() as provider:
        assert (await ask(provider, text, punctuation=True)).text == marked
        assert "，" not in (await ask(provider, text, punctuation=False)).text


async def test_it_holds_to_what_it_claims() -> None:
    async with fake(capabilities={"longest": "1s", "sample_rates": [8000], "concurrency": 1}) as provider:
        with pytest.raises(Rejected, match="longer"):
            await provider.recognize(Utterance(bytes(8000 * 2 * 2), AudioFormat(8000)), context())
        with pytest.raises(Rejected, match="16000 Hz"):
            await provider.recognize(Utterance(bytes(100), AudioFormat(16000)), context())
        provider.script.hold()
        short = Utterance(bytes(100), AudioFormat(8000))
        first = asyncio.create_task(provider.recognize(short, context()))
        await provider.script.arrived()
        with pytest.raises(Throttled, match="more than 1"):
            await provider.recognize(short, context())
        provider.script.release()
        await first


@pytest.mark.parametrize(
    "wrong",
    [{"error": "unavailable", "text": "x"}, {"retry_after": "1s"}, {"error": "no such"}, {"times": 0}, {"truncate": 1.0}, {"sleep": "1s"}],
)
def test_a_step_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        FakeSettings.model_validate({"script": [wrong]})


def test_an_outage_is_written_with_for() -> None:
    assert FakeSettings.model_validate({"outages": [{"after": "1s", "for": "2s"}]}).outages == (Outage(after=1, lasts=2),)


async def stream(provider: FakeProvider, pcm: bytes, sizes: list[int], **options: object) -> list[StreamEvent]:
    async def pieces() -> AsyncIterator[bytes]:
        first, turn = 0, 0
        while first < len(pcm):
            size = sizes[turn % len(sizes)]
            yield pcm[first : first + size]
            first, turn = first + size, turn + 1

    return [each async for each in provider.stream(pieces(), AudioFormat(8_000), context(**options))]


@given(st.integers(0, 10_000), st.lists(st.integers(1, 5_000), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 400))
@settings(max_examples=25, deadline=None)
def test_live_sentences_are_the_phrases_however_the_audio_was_cut(seed: int, sizes: list[int]) -> None:
    score = dictation(8, seed=seed, pauses=(0.5, 1.5))

    async def run() -> list[StreamEvent]:
        async with fake() as provider:
            return await stream(provider, score.render(8_000), sizes)

    phrases = [[score.symbols[0]]]
    for before, each in zip(score.symbols, score.symbols[1:], strict=False):
        phrases.append([each]) if each.start - before.end > 0.4 else phrases[-1].append(each)
    events = asyncio.run(run())
    sentences = [each for each in events if isinstance(each, Sentence)]
    assert [each.text for each in sentences] == ["".join(each.text for each in phrase) for phrase in phrases]
    for sentence, phrase in zip(sentences, phrases, strict=True):
        assert sentence.start == pytest.approx(phrase[0].start, abs=0.02)
        assert sentence.end == pytest.approx(phrase[-1].end, abs=0.02)
    assert sum(isinstance(each, Interim) for each in events) == len(score.symbols)


async def test_a_live_sentence_comes_at_its_pause_and_not_only_at_the_end() -> None:
    never = asyncio.Event()

    async def audio() -> AsyncIterator[bytes]:
        yield synthesize("天地", 8_000, tail=0.8)
        await never.wait()

    async with fake() as provider, aclosing(provider.stream(audio(), AudioFormat(8_000), context(words=True))) as events:  # type: ignore[type-var]
        seen = [await anext(events) for _ in range(3)]
        assert [each.text for each in seen] == ["天", "天地", "天地"]
        assert isinstance(seen[-1], Sentence)
        assert [each.text for each in seen[-1].words or ()] == ["天", "地"]


async def test_a_stream_meets_the_script_too() -> None:
    async with fake(script=[{"error": "unavailable"}]) as provider:
        with pytest.raises(Unavailable):
            await stream(provider, bytes(16_000), [3_200])
