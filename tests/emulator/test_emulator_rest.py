"""One sentence over HTTP: what is sent is heard, and what the cloud would refuse is refused with its codes."""

from __future__ import annotations

import asyncio
import io
import wave

import aiohttp
import pytest

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Scripted
from tests.emulator.wire import recognize

PCM = tones.synthesize("天地玄黄")


def wav(samples: bytes, *, rate: int = 16000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("format", ["pcm", "PCM", "wav"])
async def test_what_is_sent_is_heard(cloud: Emulator, http: aiohttp.ClientSession, rate: int, format: str) -> None:
    samples = tones.synthesize("宇宙洪荒", rate)
    body = wav(samples, rate=rate) if format == "wav" else samples
    status, answer = await recognize(http, cloud, body, format=format, sample_rate=str(rate))
    assert (status, answer["status"], answer["message"], answer["result"]) == (200, 20000000, "SUCCESS", "宇宙洪荒")
    assert len(answer["task_id"]) == 32


async def test_a_lost_piece_of_audio_is_a_lost_piece_of_text(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    assert (await recognize(http, cloud, PCM[: len(PCM) // 2]))[1]["result"] == "天地"


async def test_the_vendors_own_curl_call_names_neither_format_nor_rate(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    url = f"{cloud.gateway_url}/stream/v1/asr?appkey={cloud.appkey}"
    headers = {"X-NLS-Token": cloud.create_token(), "Content-Type": "application/x-www-form-urlencoded"}
    async with http.post(url, data=PCM, headers=headers) as response:
        assert (await response.json())["result"] == "天地玄黄"


async def test_the_length_in_the_header_of_a_streamed_wav_is_not_believed(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    body = bytearray(wav(PCM))
    body[4:8] = body[40:44] = b"\xff\xff\xff\xff"
    assert (await recognize(http, cloud, bytes(body), format="wav"))[1]["result"] == "天地玄黄"


@pytest.mark.parametrize(
    ("audio", "changes", "http_status", "status"),
    [
        (PCM, {"token": "no such token"}, 400, 40000001),
        (PCM, {"appkey": ""}, 400, 40000003),
        (PCM, {"appkey": "another"}, 400, 40020105),
        (PCM, {"format": "flac"}, 400, 40000003),
        (PCM, {"sample_rate": "44100"}, 400, 41010101),
        (PCM, {"sample_rate": "many"}, 400, 40000003),
        (PCM, {"format": "wav"}, 400, 40000009),
        (b"RIFF", {"format": "wav"}, 400, 40000009),
        (wav(PCM)[:40], {"format": "wav"}, 400, 40000009),
        (wav(PCM, channels=2), {"format": "wav"}, 400, 40000009),
        (wav(PCM, width=1), {"format": "wav"}, 400, 40000009),
        (wav(PCM, rate=8000), {"format": "wav"}, 400, 41010101),
        (bytes(2 * 16000 * 60 + 2), {}, 400, 41010104),
        (b"", {}, 400, 40000000),
        (b"not audio", {"format": "mp3"}, 400, 40270003),
        (PCM, {"audio_address": "https://example.com/a.wav"}, 400, 40270006),
    ],
)
async def test_what_the_cloud_would_refuse_is_refused(
    cloud: Emulator, http: aiohttp.ClientSession, audio: bytes, changes: dict[str, str], http_status: int, status: int
) -> None:
    seen, answer = await recognize(http, cloud, audio, **changes)
    assert (seen, answer["status"], answer["result"]) == (http_status, status, "")
    assert cloud.status().statuses == {str(status): 1}
    assert (await recognize(http, cloud, PCM))[1]["result"] == "天地玄黄"
    assert cloud.connections_accepted == 1


async def test_sixty_seconds_are_not_too_long(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    assert (await recognize(http, cloud, bytes(2 * 16000 * 60)))[1] | {"task_id": ""} == {
        "task_id": "", "result": "", "status": 20000000, "message": "SUCCESS",
    }  # fmt: skip


async def test_a_missing_token_and_an_unknown_path_are_named(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{cloud.gateway_url}/stream/v1/asr?appkey={cloud.appkey}", data=PCM) as response:
        assert (await response.json())["message"] == "Gateway:ACCESS_DENIED:Missing authorization header!"
    async with http.post(f"{cloud.gateway_url}/stream/v2/asr", data=PCM) as response:
        assert (await response.json())["status"] == 40010001


async def test_unverified_behaviour_of_the_vendor_can_be_set(http: aiohttp.ClientSession) -> None:
    async with Emulator(http_errors="always-200", silence="error", longest=1.0, too_long_status=40000003) as cloud:
        assert [(status, answer["status"]) for status, answer in [await recognize(http, cloud, bytes(size)) for size in (3200, 64000)]] == [
            (200, 40270002),
            (200, 40000003),
        ]


@pytest.mark.parametrize("codec", ["mp3", "opus", "aac", "amr"])
async def test_compressed_audio_is_heard(cloud: Emulator, http: aiohttp.ClientSession, codec: str) -> None:
    rate = 8000 if codec == "amr" else 16000
    body = encoded(tones.synthesize("天地玄黄", rate), rate, codec)
    assert (await recognize(http, cloud, body, format=codec, sample_rate=str(rate)))[1]["result"] == "天地玄黄"


def encoded(samples: bytes, rate: int, codec: str) -> bytes:
    import av
    import numpy

    encoder, container_format = {
        "mp3": ("libmp3lame", "mp3"), "opus": ("libopus", "ogg"), "aac": ("aac", "adts"), "amr": ("libopencore_amrnb", "amr"),
    }[codec]  # fmt: skip
    if encoder not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {encoder}")
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(numpy.frombuffer(samples, "<i2").reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


async def test_more_calls_at_once_than_were_bought_are_too_many(http: aiohttp.ClientSession) -> None:
    async with Emulator(concurrency=2) as cloud, asyncio.TaskGroup() as group:
        cloud.hold_answers()
        held = [group.create_task(recognize(http, cloud, PCM)) for _ in range(2)]
        await cloud.calls_arrived(2)
        status, answer = await recognize(http, cloud, PCM)
        assert (status, answer["status"]) == (400, 40000005)
        cloud.release_answers()
        assert [(await each)[1]["result"] for each in held] == ["天地玄黄"] * 2
        assert (await recognize(http, cloud, PCM))[1]["status"] == 20000000


async def test_more_calls_a_second_than_were_bought_are_too_many(http: aiohttp.ClientSession) -> None:
    async with Emulator(rate=5.0) as cloud:
        statuses = [(await recognize(http, cloud, PCM))[1]["status"] for _ in range(6)]
    assert statuses[:5] == [20000000] * 5
    assert statuses[5] == 40000005


async def test_a_caller_who_hangs_up_frees_the_connection(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    cloud.hold_answers()
    call = asyncio.create_task(recognize(http, cloud, PCM))
    arrived = await cloud.call_arrived()
    call.cancel()
    await cloud.all_connections_free()
    assert arrived.status == 40010004
    cloud.release_answers()
    assert (await recognize(http, cloud, PCM))[1]["status"] == 20000000


async def test_hundreds_of_calls_can_be_held_at_once() -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with Emulator(concurrency=None) as cloud, aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
        cloud.hold_answers()
        calls = [group.create_task(recognize(http, cloud, PCM)) for _ in range(400)]
        await cloud.calls_arrived(400)
        assert cloud.status().max_in_flight == 400
        cloud.release_answers()
        assert {(await each)[1]["result"] for each in calls} == {"天地玄黄"}


@pytest.mark.parametrize(
    ("script", "status", "answer"),
    [
        (Scripted(status=50000000), 500, {"status": 50000000, "result": "", "message": "Gateway:GRPC_ERROR:Grpc error!"}),
        (Scripted(status=40000005, http_status=429), 429, {"status": 40000005}),
        (Scripted(status=40000010), 400, {"message": "Gateway:FREE_TRIAL_EXPIRED:The free trial has expired!"}),
        (Scripted(text="月日"), 200, {"result": "月日", "status": 20000000}),
        (Scripted(keep=0.5), 200, {"result": "天地"}),
        (Scripted(task_id="another"), 200, {"task_id": "another", "result": "天地玄黄"}),
    ],
)
async def test_the_next_answer_can_be_scripted(
    cloud: Emulator, http: aiohttp.ClientSession, script: Scripted, status: int, answer: dict[str, object]
) -> None:
    cloud.script(script)
    seen, found = await recognize(http, cloud, PCM)
    assert (seen, {name: found[name] for name in answer}) == (status, answer)
    assert (await recognize(http, cloud, PCM))[1]["result"] == "天地玄黄"


async def test_an_answer_can_be_spoilt(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    cloud.script(Scripted(http_status=502, body="<html>Bad Gateway</html>"), Scripted(cut=10), Scripted(reset=True))
    url, headers = f"{cloud.gateway_url}/stream/v1/asr?appkey={cloud.appkey}", {"X-NLS-Token": cloud.create_token()}
    async with http.post(url, data=PCM, headers=headers) as response:
        assert (response.status, response.content_type, await response.text()) == (502, "text/html", "<html>Bad Gateway</html>")
    async with http.post(url, data=PCM, headers=headers) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        await http.post(url, data=PCM, headers=headers)


async def test_a_call_that_gets_no_answer_waits_until_it_gives_up(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    cloud.script(Scripted(silent=True))
    call = asyncio.create_task(recognize(http, cloud, PCM))
    await cloud.call_arrived()
    assert (await recognize(http, cloud, PCM))[1]["status"] == 20000000
    assert not call.done()
    call.cancel()
    await cloud.all_connections_free()


async def test_a_share_of_calls_fails_and_the_seed_says_which(http: aiohttp.ClientSession) -> None:
    async def statuses() -> list[int]:
        async with Emulator(failure_rate=0.5, failure_status=50000001, seed=7) as cloud:
            return [(await recognize(http, cloud, PCM))[1]["status"] for _ in range(40)]

    first = await statuses()
    assert set(first) == {20000000, 50000001}
    assert await statuses() == first
