"""What is said: tones by default, a fixed text, or what another provider recognises."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from asrproxy_aliyun.emulator.answers import Heard, Remembered
from asrproxy_aliyun.emulator.audio import Sound
from tests.emulator.wire import connect, recognize


class Counted:
    """Ears that count how often they are used."""

    interval = 0.2

    def __init__(self) -> None:
        self.listened = 0
        self.go = asyncio.Event()

    async def start(self) -> None:
        """Nothing to open."""

    async def heard(self, sound: Sound) -> Heard:
        self.listened += 1
        await self.go.wait()
        return Heard(f"{len(sound.samples)} bytes")

    async def aclose(self) -> None:
        """Nothing was opened."""


async def test_the_same_sound_is_listened_to_once_however_many_send_it(http: aiohttp.ClientSession) -> None:
    ears = Counted()
    async with Emulator(ears=Remembered(ears)) as cloud, asyncio.TaskGroup() as group:
        calls = [group.create_task(recognize(http, cloud, bytes(640))) for _ in range(20)]
        await cloud.calls_arrived(20)
        ears.go.set()
        assert {(await each)[1]["result"] for each in calls} == {"640 bytes"}
        assert ears.listened == 1
        assert (await recognize(http, cloud, bytes(642)))[1]["result"] == "642 bytes"
        assert ears.listened == 2


async def test_one_who_hangs_up_does_not_take_the_answer_from_the_others(http: aiohttp.ClientSession) -> None:
    ears = Counted()
    async with Emulator(ears=Remembered(ears)) as cloud:
        first, second = (asyncio.create_task(recognize(http, cloud, bytes(640))) for _ in range(2))
        await cloud.calls_arrived(2)
        first.cancel()
        await cloud.ledger.until(lambda: cloud.in_flight == 1)
        ears.go.set()
        assert (await second)[1]["result"] == "640 bytes"
        assert ears.listened == 1


async def test_a_fixed_text_is_said_in_every_face(http: aiohttp.ClientSession) -> None:
    async with Emulator(answers="text:good morning") as cloud:
        pcm = tones.synthesize("天地")
        assert (await recognize(http, cloud, pcm))[1]["result"] == "good morning"
        messages = await (await connect(http, cloud)).whole(pcm, enable_words=True)
        sentence = next(each["payload"] for each in messages if each["header"]["name"] == "SentenceEnd")
        assert sentence["result"] == "good morning"
        assert [each["text"] for each in sentence["words"]] == ["good", "morning"]


async def test_an_installed_provider_can_do_the_listening(http: aiohttp.ClientSession) -> None:
    async with Emulator(answers="fake") as cloud:
        for rate in (8000, 16000):
            pcm = tones.synthesize("天地玄黄", rate)
            assert (await recognize(http, cloud, pcm, sample_rate=str(rate)))[1]["result"] == "天地玄黄"


async def test_answers_that_nobody_can_give_are_refused() -> None:
    with pytest.raises(ValueError, match="nobody"):
        Emulator(answers="nobody")


async def test_real_speech_is_recognised_by_the_embedded_recogniser(http: aiohttp.ClientSession, shared_speech: Path) -> None:
    pytest.importorskip("asrproxy_local.provider", exc_type=ImportError)
    pytest.importorskip("moonshine_voice", reason="comes with the extra local")
    pcm = decoded(shared_speech / "en-jfk-inaugural.flac")
    async with Emulator(answers="local") as cloud:
        assert "country" in (await recognize(http, cloud, pcm))[1]["result"].lower()
        messages = await (await connect(http, cloud)).whole(pcm)
        said = " ".join(each["payload"]["result"] for each in messages if each["header"]["name"] == "SentenceEnd")
        assert "country" in said.lower()


def decoded(file: Path) -> bytes:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
    with av.open(str(file)) as container:
        frames = [each for frame in container.decode(audio=0) for each in resampler.resample(frame)] + resampler.resample(None)
    return b"".join(each.to_ndarray().tobytes() for each in frames)
