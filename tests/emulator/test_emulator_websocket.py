"""The streaming face: order of messages, their fields, and what becomes of a client that leaves the order."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct

import aiohttp
import pytest

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Scripted
from tests.emulator.wire import connect, names

PCM = tones.synthesize("天地玄黄")
TWO = tones.compose(["天地", 1.2, "玄黄"])


async def test_one_sentence(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    speaker = await connect(http, cloud, "SpeechRecognizer")
    messages = await speaker.whole(PCM)
    assert names(messages) == ["RecognitionStarted", "RecognitionCompleted"]
    assert messages[-1]["payload"] == {"result": "天地玄黄", "duration": round(1000 * len(PCM) / 32000)}
    for message in messages:
        header = message["header"]
        assert (header["namespace"], header["status"], header["task_id"]) == ("SpeechRecognizer", 20000000, speaker.task_id)
        assert (header["status_text"], len(header["message_id"])) == ("Gateway:SUCCESS:Success.", 32)


async def test_a_sentence_grows_where_intermediate_results_were_asked_for(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    messages = await (await connect(http, cloud, "SpeechRecognizer")).whole(PCM, enable_intermediate_result=True)
    texts = [each["payload"]["result"] for each in messages if each["header"]["name"] == "RecognitionResultChanged"]
    assert len(texts) >= 2
    assert all("天地玄黄".startswith(each) for each in texts)
    assert sorted(set(texts), key=len) == texts


async def test_a_stream_is_cut_into_sentences_at_silences(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    messages = await (await connect(http, cloud)).whole(TWO.render())
    assert names(messages) == [
        "TranscriptionStarted", "SentenceBegin", "SentenceEnd", "SentenceBegin", "SentenceEnd", "TranscriptionCompleted",
    ]  # fmt: skip
    ends = [each["payload"] for each in messages if each["header"]["name"] == "SentenceEnd"]
    begins = [each["payload"] for each in messages if each["header"]["name"] == "SentenceBegin"]
    assert [(each["index"], each["result"]) for each in ends] == [(1, "天地"), (2, "玄黄")]
    assert [each["begin_time"] for each in ends] == [each["time"] for each in begins]
    assert all(each["begin_time"] < each["time"] for each in ends)
    assert "words" not in ends[0]


async def test_the_silence_that_ends_a_sentence_can_be_set_and_changed(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    speaker = await connect(http, cloud)
    await speaker.start(max_sentence_silence=2000)
    await speaker.say(TWO.render())
    await speaker.send("ControlTranscription", {"max_sentence_silence": 400})
    await speaker.say(tones.synthesize("宇", lead=0.5, tail=0.5) + tones.synthesize("宙"))
    await speaker.stop()
    ends = [each["payload"]["result"] for each in await speaker.hear_all() if each["header"]["name"] == "SentenceEnd"]
    assert ends == ["天地玄黄", "宇", "宙"]


async def test_words_have_times_in_the_stream(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    messages = await (await connect(http, cloud)).whole(TWO.render(), enable_words=True)
    words = [word for each in messages if each["header"]["name"] == "SentenceEnd" for word in each["payload"]["words"]]
    assert [each["text"] for each in words] == ["天", "地", "玄", "黄"]
    for word, symbol in zip(words, TWO.symbols, strict=True):
        assert word["startTime"] == pytest.approx(symbol.start * 1000, abs=30)
        assert word["endTime"] == pytest.approx(symbol.end * 1000, abs=30)


async def test_frames_of_any_size_give_the_same_text(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    for piece in (77, 640, 100_000):
        speaker = await connect(http, cloud)
        await speaker.start()
        await speaker.say(PCM, piece)
        await speaker.stop()
        assert "天地玄黄" in [each.get("payload", {}).get("result") for each in await speaker.hear_all()]


@pytest.mark.parametrize("format", ["wav", "mp3"])
async def test_other_formats_can_be_streamed(cloud: Emulator, http: aiohttp.ClientSession, format: str) -> None:
    from tests.emulator.test_emulator_rest import encoded

    body = tones.to_wav(PCM, 16000) if format == "wav" else encoded(PCM, 16000, format)
    for namespace in ("SpeechRecognizer", "SpeechTranscriber"):
        speaker = await connect(http, cloud, namespace)
        await speaker.start(format=format)
        await speaker.say(body, 20)
        await speaker.stop()
        assert "天地玄黄" in [each.get("payload", {}).get("result") for each in await speaker.hear_all()]


async def test_a_second_task_may_follow_on_the_same_connection(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    speaker = await connect(http, cloud, "SpeechRecognizer")
    for number in range(2):
        speaker.task_id = f"{number:032x}"
        messages = await speaker.whole(PCM)
        assert messages[-1]["payload"]["result"] == "天地玄黄"
        assert messages[-1]["header"]["task_id"] == speaker.task_id
    assert cloud.connections_accepted == 1


async def test_a_bad_token_is_refused_in_the_handshake_in_plain_text(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
    }
    async with http.get(f"{cloud.gateway_url}/ws/v1", headers=headers | {"X-NLS-Token": "bad"}) as response:
        assert (response.status, response.headers["Server"]) == (403, "Tengine")
        assert await response.text() == "Meta:ACCESS_DENIED:The token 'bad' is invalid!."
    socket = await http.ws_connect(f"{cloud.websocket_url}?token={cloud.create_token()}")
    await socket.close()
    assert cloud.status().refused_handshakes == 1


@pytest.mark.parametrize(
    ("name", "payload", "header", "status", "text"),
    [
        ("StartTranscription", {}, {"message_id": None}, 40000002, "Gateway:MESSAGE_INVALID:Invalid message id 'null'!"),
        ("StartTranscription", {}, {"task_id": "a-b"}, 40000002, "Gateway:MESSAGE_INVALID:Invalid task id 'a-b'!"),
        ("StartTranscription", {}, {"appkey": None}, 40000003, "Gateway:PARAMETER_INVALID:appkey not set"),
        ("StartTranscription", {}, {"appkey": "x"}, 40020105, "Meta:APPKEY_NOT_EXIST:Appkey not exist!"),
        ("StartTranscription", {"sample_rate": 44100}, {}, 41010101, "UNSUPPORTED_SAMPLE_RATE"),
        ("StartTranscription", {"max_sentence_silence": 100}, {}, 40000003, None),
        ("StartTranscription", {}, {"namespace": "SpeechSinger"}, 40010001, None),
        ("SingTranscription", {}, {}, 40010003, "Gateway:DIRECTIVE_INVALID:[SingTranscription]"),
        ("StopTranscription", None, {}, 40000002, "Gateway:MESSAGE_INVALID:Can't process message in state'INIT'!"),
    ],
)
async def test_a_message_that_is_wrong_fails_the_task(
    cloud: Emulator, http: aiohttp.ClientSession, name: str, payload: dict | None, header: dict, status: int, text: str | None
) -> None:
    speaker = await connect(http, cloud)
    await speaker.send(name, payload, **header)
    message = await speaker.hear()
    assert (message["header"]["name"], message["header"]["status"]) == ("TaskFailed", status)
    assert message["header"]["status_text"] == (text or message["header"]["status_text"])
    await speaker.start()
    assert (await speaker.hear())["header"]["status_text"] == "Gateway:MESSAGE_INVALID:Can't process message in state'FAILED'!"


async def test_a_second_stop_fails_the_task(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    cloud.hold_answers()
    speaker = await connect(http, cloud)
    await speaker.start()
    await speaker.say(PCM)
    await speaker.stop()
    await speaker.stop()
    assert (await speaker.hear_all())[-1]["header"]["status"] == 40010005
    await cloud.all_connections_free()
    assert cloud.calls[-1].status == 40010005


async def test_a_recognizer_takes_sixty_seconds_and_no_more(http: aiohttp.ClientSession) -> None:
    async with Emulator(longest=2.0) as cloud:
        speaker = await connect(http, cloud, "SpeechRecognizer")
        assert (await speaker.whole(bytes(2 * 32000)))[-1]["header"]["status"] == 20000000
        assert (await speaker.whole(bytes(2 * 32000 + 2)))[-1]["header"]["status"] == 41010104


async def test_who_says_nothing_is_sent_away(http: aiohttp.ClientSession) -> None:
    async with Emulator(idle=0.2) as cloud:
        for started in (False, True):
            speaker = await connect(http, cloud)
            if started:
                await speaker.start()
                assert (await speaker.hear())["header"]["name"] == "TranscriptionStarted"
            failed = (await speaker.hear())["header"]
            assert (failed["status"], failed["status_text"]) == (
                40000004, "Gateway:IDLE_TIMEOUT:Websocket session is idle for too long time",
            )  # fmt: skip
            assert (await speaker.socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert cloud.calls[-1].status == 40000004


async def test_who_waits_for_us_is_not_idle_but_afterwards_is(http: aiohttp.ClientSession) -> None:
    async with Emulator(idle=0.2, latency=0.5) as cloud:
        speaker = await connect(http, cloud)
        assert (await speaker.whole(PCM))[-1]["header"]["name"] == "TranscriptionCompleted"
        assert (await speaker.hear())["header"]["status"] == 40000004


async def test_pings_keep_a_connection_but_not_a_transcription(http: aiohttp.ClientSession) -> None:
    async with Emulator(idle=0.3, data_gap=0.9) as cloud:
        headers = {"X-NLS-Token": cloud.create_token()}
        async with http.ws_connect(cloud.websocket_url, headers=headers, heartbeat=0.1) as socket:
            speaker = await connect(http, cloud)
            speaker.socket = socket
            await speaker.start()
            failed = (await speaker.hear_all())[-1]["header"]
            assert (failed["status"], failed["status_text"].split(":")[1]) == (41040201, "GET_CLIENT_DATA_TIMEOUT")


@pytest.mark.parametrize("how", ["close", "vanish"])
async def test_a_client_that_goes_away_frees_its_task(cloud: Emulator, http: aiohttp.ClientSession, how: str) -> None:
    cloud.hold_answers()
    speaker = await connect(http, cloud)
    await speaker.start()
    await speaker.say(PCM)
    await speaker.stop()
    arrived = await cloud.call_arrived()
    if how == "close":
        await speaker.socket.close()
        assert speaker.socket.close_code == 1000
    else:
        speaker.socket.get_extra_info("socket").shutdown(2)
    await cloud.all_connections_free()
    assert arrived.status == 40010004


async def test_tasks_count_for_the_quota_and_give_it_back(http: aiohttp.ClientSession) -> None:
    async with Emulator(concurrency=1) as cloud:
        first, second = await connect(http, cloud), await connect(http, cloud)
        await first.start()
        assert (await first.hear())["header"]["name"] == "TranscriptionStarted"
        await second.start()
        assert (await second.hear())["header"]["status"] == 40000005
        await first.stop()
        assert names(await first.hear_all()) == ["TranscriptionCompleted"]
        third = await connect(http, cloud)
        assert (await third.whole(PCM))[-1]["header"]["name"] == "TranscriptionCompleted"


async def test_scripted_answers_come_over_the_socket_too(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    cloud.script(
        Scripted(status=50000000),
        Scripted(text="月"),
        Scripted(body="<html>"),
        Scripted(task_id="f" * 32),
        Scripted(cut=20),
        Scripted(reset=True),
    )

    async def last() -> str | None:
        speaker = await connect(http, cloud, "SpeechRecognizer")
        await speaker.start()
        await speaker.say(PCM)
        await speaker.stop()
        await speaker.hear()
        message = await speaker.socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.TEXT else None

    assert json.loads(await last() or "")["header"]["status"] == 50000000
    assert json.loads(await last() or "")["payload"]["result"] == "月"
    assert await last() == "<html>"
    assert json.loads(await last() or "")["header"]["task_id"] == "f" * 32
    assert len(await last() or "") == 20
    assert await last() is None
    cloud.script(Scripted(http_status=503, body="busy"))
    with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
        await connect(http, cloud)


async def test_many_streams_at_once(http: aiohttp.ClientSession) -> None:
    async with Emulator(concurrency=None) as cloud, asyncio.TaskGroup() as group:
        speakers = [await connect(http, cloud) for _ in range(50)]
        tasks = [group.create_task(each.whole(PCM, enable_intermediate_result=True)) for each in speakers]
        assert {(await each)[-2]["payload"]["result"] for each in tasks} == {"天地玄黄"}


@pytest.mark.parametrize("namespace", ["SpeechRecognizer", "SpeechTranscriber"])
async def test_a_connection_that_is_reset_in_mid_task_leaves_nothing_unsaid(namespace: str) -> None:
    loop, reported = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, said: reported.append(said))
    async with Emulator() as cloud, aiohttp.ClientSession() as http:
        cloud.hold_answers()
        for stopped in (False, True):
            speaker = await connect(http, cloud, namespace)
            await speaker.start()
            await speaker.say(PCM)
            if stopped:
                await speaker.stop()
            await cloud.calls_in_flight(1)
            while cloud.calls[-1].audio_bytes < len(PCM):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)
            transport = speaker.socket._response.connection.transport  # type: ignore[union-attr]
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            await cloud.all_connections_free()
            await speaker.socket.close()
    gc.collect()
    await asyncio.sleep(0)
    assert not reported
