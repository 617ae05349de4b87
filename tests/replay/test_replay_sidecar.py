"""A vendor is recorded once and then played without it: whole sidecars, the emulated cloud, real sockets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from asrproxy.config.load import loads
from asrproxy.discovery import provider_type
from asrproxy.errors import ConfigError
from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from asrproxy_replay.settings import ReplaySettings
from tests.live.test_live_stream import session
from tests.recognize.conftest import Client, Start, start

__all__ = ["start"]

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
LONG = tones.to_wav(tones.compose([TEXT, 4.0, "宇宙洪荒", 4.0, "日月盈昃"]).render(), 16_000)
SERVER = 'server: {listen: ["127.0.0.1:0"], ops_listen: []}\n'
POLICY = """
policy:
  retries: {attempts: 3, backoff: {initial: 1ms, max: 2ms}}
  circuit: {failures: 1}
  long_audio: {max_segment: 5s, recheck: false, remember: {enabled: false}}
"""


def recording(folder: Path, cloud: Emulator, mode: str = "record") -> str:
    return f"""{SERVER}{POLICY}
providers:
  aliyun:
    type: replay
    mode: {mode}
    folder: {folder}
    provider:
      type: aliyun
      transport: websocket
      appkey: {cloud.appkey}
      access_key_id: {cloud.access_key_id}
      access_key_secret: {cloud.access_key_secret}
      gateway_url: {cloud.gateway_url}
      token_url: {cloud.token_url}
"""


def replaying(folder: Path) -> str:
    return f"""{SERVER}{POLICY}
providers:
  aliyun: {{type: replay, folder: {folder}}}
"""


async def answers(client: Client) -> list[dict[str, Any]]:
    """Everything there is to record: short and long, with options, live."""
    bodies = [
        (await client.post(WAV))[1],
        (await client.post(WAV, words="true"))[1],
        (await client.post(WAV, itn="true"))[1],
        (await client.post(LONG))[1],
    ]
    told = await session(client, tones.compose([TEXT, 1.5, "宇宙洪荒"]).render(), step=1600)
    return [{"text": each["text"], "segments": [_bare(part) for part in each["segments"]]} for each in bodies] + told[1:]


def _bare(segment: dict[str, Any]) -> dict[str, Any]:
    return {name: segment.get(name) for name in ("index", "start", "end", "text", "words")}


async def test_what_was_recorded_is_played_without_the_vendor_and_its_credentials(start: Start, tmp_path: Path) -> None:
    async with Emulator() as cloud:
        async with start(recording(tmp_path, cloud)) as client:
            recorded = await answers(client)
        secrets = [cloud.appkey, cloud.access_key_id, cloud.access_key_secret]
    assert [each["text"] for each in recorded[:4]] == [TEXT, TEXT, TEXT, "天地玄黄宇宙洪荒日月盈昃"]
    assert recorded[1]["segments"][0]["words"]
    assert recorded[-1]["type"] == "done"

    async with start(replaying(tmp_path)) as client:
        assert await answers(client) == recorded
        assert (await client.get("/v1/status"))[1]["providers"]["aliyun"]["played"] > 0

    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert TEXT.encode() in written
    for secret in secrets:
        assert secret.encode() not in written


async def test_neither_a_token_nor_the_vendors_name_for_a_call_is_written(start: Start, tmp_path: Path) -> None:
    async with Emulator() as cloud:
        token = cloud.create_token()
        configuration = recording(tmp_path, cloud).replace(f"access_key_id: {cloud.access_key_id}", f"token: {token}")
        async with start(configuration.replace(f"access_key_secret: {cloud.access_key_secret}", "")) as client:
            await answers(client)
        kept = [token, *(call.task_id for call in cloud.calls)]
    assert len(kept) > 5
    written = "".join(file.read_text() for file in tmp_path.iterdir())
    assert not [each for each in kept if each in written]


async def test_a_miss_says_what_to_do_and_is_neither_repeated_nor_held_against_the_folder(start: Start, tmp_path: Path) -> None:
    async with Emulator() as cloud, start(recording(tmp_path, cloud)) as client:
        await client.post(WAV)
    async with start(replaying(tmp_path)) as client:
        for _ in range(2):  # a circuit that opened after the first would say something else
            answer, body = await client.post(WAV, words="true", punctuation="true")
            assert (answer.status, body["error"]["code"]) == (502, "provider_error")
            assert body["error"]["retryable"] is False
            for part in ("0.", "16000 Hz", "words, punctuation", str(tmp_path), "mode auto"):
                assert part in body["error"]["message"]
            assert len(body["error"]["attempts"]) == 1
        assert (await client.post(WAV))[1]["text"] == TEXT


async def test_auto_asks_once_and_needs_no_vendor_for_what_it_has(start: Start, tmp_path: Path) -> None:
    async with Emulator() as cloud:
        configuration = recording(tmp_path, cloud, mode="auto")
        async with start(configuration) as client:
            first = await answers(client)
            calls = len(cloud.calls)
            assert await answers(client) == first
            assert len(cloud.calls) == calls
    async with start(configuration) as client:  # the cloud has gone
        assert await answers(client) == first
        answer, body = await client.post(WAV, punctuation="true")
        assert (answer.status, body["error"]["code"]) == (502, "provider_error")


async def test_auto_does_not_even_start_the_provider_for_what_it_has(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("text: ''")
    provider = f"{{type: fake, script_file: {script}}}"
    configuration = f"{SERVER}providers: {{v: {{type: replay, mode: auto, folder: {tmp_path}/tapes, provider: {provider}}}}}"
    async with start(configuration) as client:
        await client.post(WAV)
    script.write_text("a mistake, with which it does not start")
    async with start(configuration) as client:
        assert (await client.post(WAV))[1]["text"] == TEXT
        answer, body = await client.post(WAV, words="true")
        assert (answer.status, body["error"]["code"]) == (502, "provider_auth")
        assert "the provider whose answers are recorded does not start" in body["error"]["message"]


async def test_auto_asks_about_a_live_stream_that_only_begins_like_a_recorded_one(start: Start, tmp_path: Path) -> None:
    configuration = f"{SERVER}providers: {{v: {{type: replay, mode: auto, folder: {tmp_path}, provider: {{type: fake}}}}}}"
    first, second = (tones.compose([TEXT, 1.5, more]).render() for more in ("宇宙洪荒", "日月盈昃"))
    async with start(configuration) as client:
        for pcm, text in (
            (first, "天地玄黄宇宙洪荒"),
            (second, "天地玄黄日月盈昃"),
            (first, "天地玄黄宇宙洪荒"),
            (second, "天地玄黄日月盈昃"),
        ):
            told = await session(client, pcm, step=len(pcm))  # all of it in one piece: nothing is played before it shows that it differs
            assert told[-1]["text"] == text
        _, status = await client.get("/v1/status")
        figures = status["providers"]["v"]
        assert (figures["recorded"], figures["played"]) == (2, 2)


async def test_record_asks_anew_and_keeps_no_failure(start: Start, tmp_path: Path) -> None:
    configuration = (
        f"{SERVER}providers: {{v: {{type: replay, mode: record, folder: {tmp_path}, provider: {{type: fake, script: [SCRIPT]}}}}}}"
    )
    for script, status in (("{text: first}", 200), ("{text: second}", 200), ("{error: rejected}", 502)):
        async with start(configuration.replace("SCRIPT", script)) as client:
            assert (await client.post(WAV))[0].status == status
    async with start(replaying(tmp_path)) as client:
        assert (await client.post(WAV))[1]["text"] == "second"
    assert len(list(tmp_path.iterdir())) == 2  # the answer, and whose it is


async def test_what_the_recorded_provider_cannot_do_is_refused_as_it_would_refuse_it(start: Start, tmp_path: Path) -> None:
    capabilities = "{longest: 5s, languages: [zh-CN], options: [words], streaming: false, sample_rates: [8000]}"
    wrapped = f"{{type: fake, capabilities: {capabilities}}}"
    configuration = f"{SERVER}providers: {{v: {{type: replay, mode: MODE, folder: {tmp_path}, provider: {wrapped}}}}}"
    async with start(configuration.replace("MODE", "record")) as client:
        recorded = (await client.post(LONG))[1]
    async with start(configuration.replace("MODE", "replay")) as client:
        played = (await client.post(LONG))[1]
        assert [_bare(each) for each in played["segments"]] == [_bare(each) for each in recorded["segments"]]
        answer, body = await client.post(WAV, punctuation="true")
        assert (answer.status, body["error"]["param"]) == (400, "punctuation")
        answer, body = await client.post(WAV, language="en-US")
        assert (answer.status, body["error"]["param"]) == (400, "language")


async def test_a_folder_that_will_not_do_stops_the_start(start: Start, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no recordings; make them once: mode record"):
        async with start(replaying(tmp_path / "nothing")):
            pass
    wrapped = f"{SERVER}providers: {{v: {{type: replay, mode: record, folder: {tmp_path}, provider: {{type: TYPE}}}}}}"
    async with start(wrapped.replace("TYPE", "fake")):
        pass
    with pytest.raises(ConfigError, match="holds recordings of 'fake'; keep those of 'openai' in another folder"):
        async with start(wrapped.replace("TYPE", "openai")):
            pass
    with pytest.raises(ConfigError, match="mode auto needs the provider"):
        async with start(f"{SERVER}providers: {{v: {{type: replay, mode: auto, folder: {tmp_path}}}}}"):
            pass


async def test_a_broken_recording_is_named_and_not_asked_for_behind_the_back(start: Start, tmp_path: Path) -> None:
    configuration = f"{SERVER}providers: {{v: {{type: replay, mode: auto, folder: {tmp_path}, provider: {{type: fake}}}}}}"
    async with start(configuration) as client:
        await client.post(WAV)
        (file,) = [each for each in tmp_path.iterdir() if each.name != "provider.json"]
        for content in ("{", "[]", "{}", '{"answer": {"text": "x"}}', '{"answer": {"text": "x", "language": null, "words": [["a"]]}}'):
            file.write_text(content)
            answer, body = await client.post(WAV)
            assert answer.status == 502
            assert file.name in body["error"]["message"]
            assert "remove it and record again" in body["error"]["message"]


async def test_a_folder_that_cannot_be_written_is_said_at_the_start_and_later(start: Start, tmp_path: Path) -> None:
    configuration = f"{SERVER}providers: {{v: {{type: replay, mode: record, folder: {tmp_path}/tapes, provider: {{type: fake}}}}}}"
    (tmp_path / "tapes").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match=r"provider\.json cannot be written"):
        async with start(configuration):
            pass
    (tmp_path / "tapes").unlink()
    async with start(configuration) as client:
        shutil.rmtree(tmp_path / "tapes")
        (tmp_path / "tapes").write_text("a file again")
        answer, body = await client.post(WAV)
        assert (answer.status, body["error"]["retryable"]) == (502, False)
        assert "cannot be written" in body["error"]["message"]
        assert len(body["error"]["attempts"]) == 1  # the vendor is not paid again for an answer that cannot be kept


async def test_a_person_can_read_and_correct_a_recording(start: Start, tmp_path: Path) -> None:
    async with start(f"{SERVER}providers: {{v: {{type: replay, mode: record, folder: {tmp_path}, provider: {{type: fake}}}}}}") as client:
        await client.post(WAV, words="true", language="zh-CN")
    (file,) = [each for each in tmp_path.iterdir() if each.name != "provider.json"]
    body = json.loads(file.read_text())
    assert body["audio"] == {"seconds": pytest.approx(len(WAV) / 32_000, abs=0.01), "sample_rate": 16_000}
    assert body["options"] == {"language": "zh-CN", "words": True}
    assert [each[0] for each in body["answer"]["words"]] == list(TEXT)
    body["answer"]["text"] = "corrected"
    file.write_text(json.dumps(body))
    async with start(replaying(tmp_path)) as client:
        assert (await client.post(WAV, words="true", language="zh-CN"))[1]["text"] == "corrected"


@pytest.mark.parametrize("mode", ["record", "replay", "auto", ""])
def test_the_pages_example_is_a_good_configuration(mode: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "providers" / "replay.md").read_text(encoding="utf-8")
    text = page.split("```yaml\n")[1].partition("```")[0]
    configuration = loads(
        text, "replay.md", environ={"RECORDINGS": mode} if mode else {}, provider_settings=lambda name: provider_type(name).Settings
    )
    settings = configuration.providers["aliyun"].settings
    assert isinstance(settings, ReplaySettings)
    assert settings.mode == (mode or "replay")
    assert settings.provider is not None
    assert settings.provider.type == "aliyun"
