"""An utterance becomes its text over each transport, and what callers ask for reaches the vendor."""

from __future__ import annotations

import asyncio

import pytest

from asrproxy.plugin import AudioFormat, UnsupportedParameter, Utterance
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.aliyun.making import Make, context_of, utterance_of

TRANSPORTS = ["rest", "websocket", "sdk"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport_gives_the_same_recognition(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport)
    recognition = await made.provider.recognize(utterance_of("天地玄黄 宇宙洪荒"), context_of())
    assert recognition.text == "天地玄黄宇宙洪荒"
    assert recognition.language == "zh-CN"
    assert recognition.words is None
    assert recognition.vendor_id == cloud.calls[-1].task_id


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_eight_kilohertz(make: Make, transport: str) -> None:
    made = await make(transport=transport, sample_rate=8000)
    assert made.provider.capabilities.formats[0].sample_rate == 8000
    assert (await made.provider.recognize(utterance_of("日月盈昃", rate=8000), context_of())).text == "日月盈昃"


@pytest.mark.parametrize("transport", ["websocket", "sdk"])
async def test_words_carry_their_times(make: Make, transport: str) -> None:
    made = await make(transport=transport)
    assert "words" in made.provider.capabilities.options
    score = tones.compose(["天地玄黄", 1.2, "宇宙洪荒"])
    recognition = await made.provider.recognize(Utterance(score.render(16_000), AudioFormat(16_000)), context_of(words=True))
    assert recognition.text == "天地玄黄宇宙洪荒"
    assert recognition.words is not None
    assert "".join(word.text for word in recognition.words) == recognition.text
    for word, symbol in zip(recognition.words, score.symbols, strict=True):
        assert word.start == pytest.approx(symbol.start, abs=0.05)


async def test_rest_refuses_words_by_name(make: Make) -> None:
    made = await make()
    with pytest.raises(UnsupportedParameter) as caught:
        await made.text(words=True)
    assert caught.value.param == "words"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_options_of_the_caller_win_over_the_configuration(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport, punctuation=True, itn=False, vocabulary_id="configured", customization_id="model")
    await made.text()
    await made.text(punctuation=False, itn=True, vocabulary="asked")
    first, second = (dict(call.options) for call in cloud.calls)
    names = ("enable_punctuation_prediction", "enable_inverse_text_normalization", "vocabulary_id", "customization_id")
    assert [str(first[name]).lower() for name in names] == ["true", "false", "configured", "model"]
    assert [str(second[name]).lower() for name in names] == ["false", "true", "asked", "model"]


async def test_hot_words_themselves_are_refused_by_name(make: Make) -> None:
    made = await make()
    with pytest.raises(UnsupportedParameter) as caught:
        await made.text(vocabulary="天地,玄黄")
    assert caught.value.param == "vocabulary"


async def test_a_long_utterance_goes_whole_to_flash(make: Make, cloud: Emulator) -> None:
    made = await make(long="flash")
    assert (made.provider.capabilities.whole or 0) > 3000
    text = ("天地玄黄 " * 70).strip()
    recognition = await made.provider.recognize(utterance_of(text), context_of(words=True))
    assert recognition.text == text.replace(" ", "")
    assert recognition.words is not None
    assert len(recognition.words) == 280
    assert [sentence.text for sentence in recognition.sentences or ()] == [text.replace(" ", "")]  # no pause of 0.8 s
    assert [call.kind for call in cloud.calls] == ["flash"]
    assert (await made.text("日月")) == "日月"
    assert cloud.calls[-1].kind == "rest"


async def test_flash_refuses_text_without_punctuation(make: Make) -> None:
    made = await make(long="flash")
    with pytest.raises(UnsupportedParameter):
        await made.text(words=True, punctuation=False)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cancelled_call_frees_the_vendors_connection(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport, pool={"warm": 0})
    await made.text()
    cloud.hold_answers()
    call = asyncio.create_task(made.text())
    await cloud.calls_in_flight(1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await cloud.all_connections_free()
    cloud.release_answers()
    assert await made.text() == "天地玄黄"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sixteen_at_once(make: Make, transport: str) -> None:
    made = await make(transport=transport)
    texts = ["天地玄黄", "宇宙洪荒", "日月盈昃", "辰宿列张"] * 4
    assert await asyncio.gather(*(made.text(text) for text in texts)) == texts


async def test_the_status_names_no_secret(make: Make, cloud: Emulator) -> None:
    made = await make()
    await made.text()
    shown = repr(made.provider.status())
    for secret in (cloud.access_key_id, cloud.access_key_secret, cloud.appkey):
        assert secret not in shown
    assert made.provider.health().ready
