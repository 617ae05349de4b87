"""Live audio: sentences with their times in the caller's audio, nothing lost and nothing doubled when the vendor drops the line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from asrproxy.plugin import AudioFormat, Interim, Refused, Sentence, StreamEvent, Unreachable, UnsupportedParameter
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Outage, Scripted
from tests.aliyun.making import RATE, Made, Make, context_of

FORMAT = AudioFormat(RATE)


class Microphone:
    """Audio in pieces of 50 ms; what is put in later comes later."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def hear(self, samples: bytes) -> None:
        for start in range(0, len(samples), 1600):
            self._pieces.put_nowait(samples[start : start + 1600])

    async def taken(self) -> None:
        """Returns when all of it has been listened to."""
        while not self._pieces.empty():
            await asyncio.sleep(0.005)

    def end(self) -> None:
        self._pieces.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece


async def _all(made: Made, microphone: Microphone, **options: object) -> list[StreamEvent]:
    return [event async for event in made.provider.stream(aiter(microphone), FORMAT, context_of(**options))]


async def test_sentences_with_times_words_and_interim_results(make: Make) -> None:
    made = await make(transport="websocket")
    score = tones.compose([0.5, "天地玄黄", 1.5, "宇宙洪荒日月", 1.2])
    microphone = Microphone()
    microphone.hear(score.render(RATE))
    microphone.end()
    events = await _all(made, microphone, words=True)
    sentences = [event for event in events if isinstance(event, Sentence)]
    assert [(event.index, event.text) for event in sentences] == [(0, "天地玄黄"), (1, "宇宙洪荒日月")]
    for sentence, first in zip(sentences, (score.symbols[0], score.symbols[4]), strict=True):
        assert sentence.start == pytest.approx(first.start, abs=0.2)
        assert sentence.words is not None
        assert sentence.words[0].start == pytest.approx(first.start, abs=0.05)
    interims = [event for event in events if isinstance(event, Interim)]
    assert {event.index for event in interims} == {0, 1}
    assert all("天地玄黄".startswith(event.text) for event in interims if event.index == 0)


async def test_a_sentence_comes_while_the_audio_goes_on(make: Make) -> None:
    made = await make(transport="websocket")
    microphone = Microphone()
    microphone.hear(tones.compose(["天地", 1.5]).render(RATE))
    events = made.provider.stream(aiter(microphone), FORMAT, context_of())
    async for event in events:
        if isinstance(event, Sentence):
            assert event.text == "天地"
            microphone.hear(tones.compose(["玄黄"]).render(RATE))
            microphone.end()
            break
    rest = [event.text async for event in events if isinstance(event, Sentence)]
    assert rest == ["玄黄"]


async def test_a_line_that_breaks_in_a_sentence_loses_and_doubles_nothing(make: Make, cloud: Emulator) -> None:
    made = await make(transport="websocket")
    score = tones.compose(["天地玄黄", 1.5, "宇宙洪荒日月盈昃", 1.2, "辰宿"])
    samples = score.render(RATE)
    middle = int((score.symbols[7].end + 0.02) * RATE) * 2
    microphone = Microphone()
    microphone.hear(samples[:middle])
    sentences: list[Sentence] = []
    broken = False
    async for event in made.provider.stream(aiter(microphone), FORMAT, context_of()):
        if isinstance(event, Sentence):
            sentences.append(event)
        elif event.index == 1 and len(event.text) > 1 and not broken:
            # In the middle of the second sentence the gateway resets every connection, and is back at once.
            broken = True
            await cloud.gateway_outage(Outage.RESET)
            await cloud.gateway_outage(Outage.NONE)
            microphone.hear(samples[middle:])
            microphone.end()
    assert [sentence.text for sentence in sentences] == ["天地玄黄", "宇宙洪荒日月盈昃", "辰宿"]
    assert [sentence.index for sentence in sentences] == [0, 1, 2]
    for sentence, symbol in zip(sentences, (score.symbols[0], score.symbols[4], score.symbols[12]), strict=True):
        assert sentence.start == pytest.approx(symbol.start, abs=0.25)
    assert cloud.ledger.requests["transcriber"] >= 2


async def test_a_caller_who_pauses_is_kept_connected_and_times_stay_right() -> None:
    from contextlib import AsyncExitStack

    from asrproxy.plugin import Host
    from asrproxy_aliyun.provider import AliyunProvider
    from asrproxy_aliyun.settings import AliyunSettings

    async with AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(Emulator(idle=1.0, data_gap=1.0))
        settings = {
            "appkey": cloud.appkey,
            "gateway_url": cloud.gateway_url,
            "token": cloud.create_token(),
            "transport": "websocket",
            "websocket": {"keepalive": 0.3},
        }
        provider = AliyunProvider(AliyunSettings.model_validate(settings), Host("aliyun"))
        stack.push_async_callback(provider.aclose)
        await provider.start()
        score = tones.compose(["天地玄黄", 1.2, "宇宙洪荒"])
        samples = score.render(RATE)
        middle = int((score.symbols[3].end + 0.5) * RATE) * 2
        microphone = Microphone()
        microphone.hear(samples[:middle])
        asyncio.get_running_loop().call_later(2.5, lambda: (microphone.hear(samples[middle:]), microphone.end()))
        events = [event async for event in provider.stream(aiter(microphone), FORMAT, context_of(words=True))]
        sentences = [event for event in events if isinstance(event, Sentence)]
        assert [sentence.text for sentence in sentences] == ["天地玄黄", "宇宙洪荒"]
        words = [word for sentence in sentences for word in sentence.words or ()]
        for word, symbol in zip(words, score.symbols, strict=True):
            assert word.start == pytest.approx(symbol.start, abs=0.05)
        assert cloud.ledger.requests["transcriber"] == 1


async def test_a_sentence_is_finished_where_the_caller_stops_sending(make: Make, cloud: Emulator) -> None:
    """A microphone that is switched off sends no silence, and NLS counts silence in audio."""
    made = await make(transport="websocket", websocket={"keepalive": 0.2})
    score = tones.compose(["天地玄黄", 0.4, "宇宙洪荒"], lead=0.3, tail=0.0)
    samples = score.render(RATE)
    middle = int((score.symbols[3].end + 0.02) * RATE) * 2
    microphone = Microphone()
    microphone.hear(samples[:middle])
    sentences: list[Sentence] = []
    async for event in made.provider.stream(aiter(microphone), FORMAT, context_of(words=True)):
        if isinstance(event, Sentence):
            sentences.append(event)
            if len(sentences) == 1:
                microphone.hear(samples[middle:])
                microphone.end()
    assert [sentence.text for sentence in sentences] == ["天地玄黄", "宇宙洪荒"]
    words = [word for sentence in sentences for word in sentence.words or ()]
    for word, symbol in zip(words, score.symbols, strict=True):
        assert word.start == pytest.approx(symbol.start, abs=0.05)
    assert cloud.ledger.requests["transcriber"] == 1


@pytest.mark.parametrize("seed", range(2))
async def test_lines_that_break_again_and_again_lose_and_double_nothing(make: Make, cloud: Emulator, seed: int) -> None:
    made = await make(transport="websocket")
    score = tones.dictation(30, seed=seed, pauses=(0.9, 1.3))
    samples = score.render(RATE)
    chance = Random(seed)
    places = [0, *sorted(chance.randrange(0, len(samples), 2) for _ in range(4)), len(samples)]
    microphone = Microphone()
    listening = asyncio.create_task(_all(made, microphone, words=True))
    for number, (begin, end) in enumerate(pairwise(places)):
        if number:
            await microphone.taken()
            await cloud.calls_in_flight(1)
            await cloud.gateway_outage(Outage.RESET)
            await cloud.gateway_outage(Outage.NONE)
        microphone.hear(samples[begin:end])
    microphone.end()
    sentences = [event for event in await listening if isinstance(event, Sentence)]
    assert "".join(sentence.text for sentence in sentences) == score.text
    words = [word for sentence in sentences for word in sentence.words or ()]
    for word, symbol in zip(words, score.symbols, strict=True):
        assert word.start == pytest.approx(symbol.start, abs=0.05)
    assert [sentence.index for sentence in sentences] == list(range(len(sentences)))


async def test_a_vendor_that_is_away_for_a_moment_loses_nothing(make: Make, cloud: Emulator) -> None:
    made = await make(transport="websocket")
    await made.text()
    await cloud.gateway_outage(Outage.REFUSE)
    back = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, back.set)
    microphone = Microphone()
    microphone.hear(tones.synthesize("天地玄黄", RATE))
    microphone.end()
    listening = asyncio.create_task(_all(made, microphone))
    await back.wait()
    await cloud.gateway_outage(Outage.NONE)
    assert [event.text for event in await listening if isinstance(event, Sentence)] == ["天地玄黄"]


async def test_where_another_could_go_on_a_broken_line_is_not_mended_for_long(make: Make, cloud: Emulator) -> None:
    made = await make(transport="websocket")
    await made.text()
    await cloud.gateway_outage(Outage.REFUSE)
    microphone = Microphone()
    microphone.hear(bytes(3200))
    with pytest.raises(Unreachable):
        async for _ in made.provider.stream(aiter(microphone), FORMAT, replace(context_of(), patience=0.0)):
            pass


async def test_an_expired_token_is_replaced_before_the_stream_begins(make: Make, cloud: Emulator) -> None:
    made = await make(transport="websocket", websocket={"reconnects": 0})
    await made.text()
    cloud.expire_all_tokens()
    microphone = Microphone()
    microphone.hear(tones.synthesize("天地", RATE))
    microphone.end()
    events = await _all(made, microphone)
    assert [event.text for event in events if isinstance(event, Sentence)] == ["天地"]
    assert cloud.tokens_created == 2


async def test_a_vendor_that_stays_away_ends_the_stream_with_its_error(make: Make, cloud: Emulator) -> None:
    made = await make(transport="websocket", websocket={"reconnects": 1})
    await made.text()
    await cloud.gateway_outage(Outage.REFUSE)
    microphone = Microphone()
    microphone.hear(bytes(3200))
    with pytest.raises(Unreachable):
        await _all(made, microphone)


@pytest.mark.parametrize("when", ["before the task", "after its stop"])
async def test_a_vendor_that_takes_calls_and_never_answers_ends_the_stream_too(make: Make, cloud: Emulator, when: str) -> None:
    made = await make(transport="websocket", websocket={"reconnects": 2, "answer": 0.2})
    await made.text()
    if when == "before the task":
        await cloud.gateway_outage(Outage.SILENT)
    else:
        cloud.script(*[Scripted(silent=True)] * 3)
    microphone = Microphone()
    microphone.hear(bytes(3200))
    microphone.end()
    with pytest.raises(Unreachable):
        await _all(made, microphone)


async def test_a_refused_app_key_is_not_tried_again(make: Make, cloud: Emulator) -> None:
    made = await make(transport="websocket", appkey="another")
    microphone = Microphone()
    microphone.hear(bytes(3200))
    with pytest.raises(Refused):
        await _all(made, microphone)
    assert cloud.ledger.requests["transcriber"] == 1


async def test_a_caller_who_leaves_frees_the_vendors_connection(make: Make, cloud: Emulator) -> None:
    made = await make(transport="websocket")
    microphone = Microphone()
    microphone.hear(tones.synthesize("天地玄黄", RATE))
    listening = asyncio.create_task(_all(made, microphone))
    await cloud.calls_in_flight(1)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await cloud.all_connections_free()


async def test_silence_and_nothing_give_no_sentences(make: Make) -> None:
    made = await make(transport="websocket")
    for samples in (bytes(2 * RATE), b""):
        microphone = Microphone()
        microphone.hear(samples)
        microphone.end()
        assert await _all(made, microphone) == []


async def test_what_the_microphone_raises_comes_out(make: Make) -> None:
    made = await make(transport="websocket")

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(3200)
        raise ConnectionResetError("the caller is gone")

    with pytest.raises(ConnectionResetError):
        async for _ in made.provider.stream(broken(), FORMAT, context_of()):
            pass


async def test_only_the_websocket_streams(make: Make) -> None:
    made = await make()
    with pytest.raises(UnsupportedParameter):
        made.provider.stream(aiter(Microphone()), FORMAT, context_of())


async def test_a_line_is_kept_for_the_next_task_only_where_that_is_configured(make: Make, cloud: Emulator) -> None:
    once = await make(transport="websocket")
    again = await make(transport="websocket", websocket={"reuse": True})
    for _ in range(4):
        assert await once.text() == await again.text() == "天地玄黄"
    assert once.provider.status()["lines_opened"] == 4
    assert again.provider.status()["lines_opened"] == 1
    await cloud.gateway_outage(Outage.RESET)
    await cloud.gateway_outage(Outage.NONE)
    assert await again.text() == "天地玄黄"
