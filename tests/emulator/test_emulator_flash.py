"""FlashRecognizer: a whole recording in one request."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Scripted

SCORE = tones.compose(["天地", 1.5, "玄黄"])
WAV = tones.to_wav(SCORE.render(), 16000)


async def flash(http: aiohttp.ClientSession, cloud: Emulator, body: bytes, **changes: str) -> tuple[int, dict[str, Any]]:
    query = {"appkey": cloud.appkey, "token": changes.pop("token", None) or cloud.create_token(), "format": "wav"} | changes
    async with http.post(f"{cloud.gateway_url}/stream/v1/FlashRecognizer", params=query, data=body) as response:
        return response.status, await response.json()


async def test_a_recording_is_answered_in_sentences(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    status, answer = await flash(http, cloud, WAV)
    assert (status, answer["status"], answer["message"]) == (200, 20000000, "SUCCESS")
    assert answer["flash_result"]["duration"] == round(SCORE.duration * 1000)
    assert [each["text"] for each in answer["flash_result"]["sentences"]] == ["天地", "玄黄"]
    first, second = answer["flash_result"]["sentences"]
    assert 0 <= first["begin_time"] < first["end_time"] <= second["begin_time"] < second["end_time"] <= SCORE.duration * 1000
    assert "words" not in first


async def test_words_have_times_as_strings_as_on_the_vendors_page(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    _, answer = await flash(http, cloud, WAV, enable_word_level_result="true")
    words = [word for each in answer["flash_result"]["sentences"] for word in each["words"]]
    assert [each["text"] for each in words] == ["天", "地", "玄", "黄"]
    for word, symbol in zip(words, SCORE.symbols, strict=True):
        assert int(word["begin_time"]) == pytest.approx(symbol.start * 1000, abs=30)
        assert isinstance(word["end_time"], str)


async def test_five_minutes_are_not_too_long(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    long = tones.compose([60.0, "天", 240.0, "地"])
    _, answer = await flash(http, cloud, tones.to_wav(long.render(), 16000))
    assert [each["text"] for each in answer["flash_result"]["sentences"]] == ["天", "地"]


@pytest.mark.parametrize(
    ("body", "changes", "status"),
    [
        (WAV, {"token": "bad"}, 40000001),
        (WAV, {"appkey": "bad"}, 40020105),
        (WAV, {"format": "pcm"}, 40270001),
        (WAV, {"format": ""}, 40270001),
        (WAV, {"sample_rate": "44100"}, 41010101),
        (WAV[:30], {}, 40000009),
        (tones.to_wav(bytes(64000), 16000), {}, 40270002),
        (b"not audio", {"format": "mp4"}, 40270003),
    ],
)
async def test_what_the_cloud_would_refuse_is_refused(
    cloud: Emulator, http: aiohttp.ClientSession, body: bytes, changes: dict[str, str], status: int
) -> None:
    seen, answer = await flash(http, cloud, body, **changes)
    assert (seen, answer["status"], answer["result"]) == (400, status, "")
    assert "flash_result" not in answer


async def test_answers_can_be_scripted(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    cloud.script(Scripted(status=40000004))
    assert (await flash(http, cloud, WAV))[1]["status"] == 40000004
    assert cloud.calls[-1].status == 40000004
