"""The vendor's own Python client, unmodified, cannot tell the emulator from the cloud."""

from __future__ import annotations

import asyncio
import json
import warnings
from dataclasses import dataclass, field
from typing import Any

import pytest

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Scripted

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)  # the client compares a string with `is`
    nls = pytest.importorskip("nls", reason="the vendor's client comes with the extra aliyun-sdk")

PCM = tones.synthesize("天地玄黄")


@dataclass
class Heard:
    """What the client's call-backs were called with."""

    events: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def callback(self, name: str) -> Any:
        def heard(message: str | None = None, *_: object) -> None:
            self.events.append(name)
            if message:
                self.messages.append(json.loads(message))

        return heard

    def results(self, name: str) -> list[str]:
        return [each["payload"]["result"] for each in self.messages if each["header"]["name"] == name]


def recognizer(cloud: Emulator, token: str, heard: Heard) -> Any:
    named = {name: heard.callback(name) for name in ("on_start", "on_result_changed", "on_completed", "on_error", "on_close")}
    return nls.NlsSpeechRecognizer(url=cloud.websocket_url, token=token, appkey=cloud.appkey, **named)


def transcriber(cloud: Emulator, token: str, heard: Heard) -> Any:
    which = ("on_start", "on_sentence_begin", "on_sentence_end", "on_result_changed", "on_completed", "on_error", "on_close")
    named = {name: heard.callback(name) for name in which}
    return nls.NlsSpeechTranscriber(url=cloud.websocket_url, token=token, appkey=cloud.appkey, **named)


def speak(client: Any, audio: bytes) -> None:
    for at in range(0, len(audio), 640):
        client.send_audio(audio[at : at + 640])


async def test_it_gets_a_token_and_recognizes_a_sentence(cloud: Emulator) -> None:
    heard = Heard()

    def work() -> None:
        from nls.token import getToken

        token = getToken(cloud.access_key_id, cloud.access_key_secret, url=cloud.token_url.removeprefix("http://"))
        client = recognizer(cloud, token, heard)
        client.start(aformat="pcm", enable_intermediate_result=True)
        speak(client, PCM)
        client.stop(timeout=3)  # as long as the client waits for the echo of its Close: late, and this raises

    await asyncio.to_thread(work)
    assert heard.events[0] == "on_start"
    assert "on_result_changed" in heard.events
    assert "on_error" not in heard.events
    assert heard.results("RecognitionCompleted") == ["天地玄黄"]
    assert cloud.tokens_created == 1


async def test_it_streams(cloud: Emulator) -> None:
    heard = Heard()

    def work() -> None:
        client = transcriber(cloud, cloud.create_token(), heard)
        client.start(aformat="pcm", enable_intermediate_result=True, ex={"max_sentence_silence": 600, "enable_words": True})
        speak(client, tones.compose(["天地", 1.0, "玄黄"]).render())
        client.ctrl(max_sentence_silence=800)
        client.stop(timeout=3)

    await asyncio.to_thread(work)
    assert heard.results("SentenceEnd") == ["天地", "玄黄"]
    assert [each for each in heard.events if each not in ("on_result_changed", "on_close")] == [
        "on_start", "on_sentence_begin", "on_sentence_end", "on_sentence_begin", "on_sentence_end", "on_completed",
    ]  # fmt: skip


async def test_a_bad_token_keeps_it_from_starting(cloud: Emulator) -> None:
    from nls.exception import NotStartException

    heard = Heard()

    def work() -> None:
        client = recognizer(cloud, "not a token", heard)
        client.start()
        client.send_audio(PCM)

    with pytest.raises(NotStartException):
        await asyncio.to_thread(work)
    assert "on_start" not in heard.events
    assert cloud.status().refused_handshakes == 1
    assert cloud.calls == []


async def test_a_failed_task_reaches_its_error_callback(cloud: Emulator) -> None:
    heard = Heard()
    cloud.script(Scripted(status=50000000))

    def work() -> None:
        client = transcriber(cloud, cloud.create_token(), heard)
        client.start()
        speak(client, PCM)
        client.stop(timeout=3)
        client.shutdown()

    await asyncio.to_thread(work)
    assert "on_completed" not in heard.events
    assert heard.messages[-1]["header"] | {"message_id": "", "task_id": ""} == {
        "namespace": "Default", "name": "TaskFailed", "status": 50000000, "message_id": "", "task_id": "",
        "status_text": "Gateway:GRPC_ERROR:Grpc error!",
    }  # fmt: skip
