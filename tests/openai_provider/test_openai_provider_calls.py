"""The openai provider asks as OpenAI's documentation says, and takes each answer for what it means."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrproxy.plugin import (
    AudioFormat,
    ConfigError,
    Context,
    Garbled,
    Host,
    NotReady,
    Options,
    ProviderError,
    Recognition,
    Refused,
    Rejected,
    Throttled,
    Unavailable,
    Unreachable,
    Utterance,
    Word,
)
from asrproxy.testing.tones import synthesize
from asrproxy_openai.answer import error_of, recognition_of
from asrproxy_openai.provider import OpenAIProvider
from asrproxy_openai.settings import OpenAISettings
from tests.openai_provider.openai_server import KEY, OpenAIServer

RATE = 16_000


@asynccontextmanager
async def opened(**said: object) -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider(OpenAISettings.model_validate(said), Host("openai"))
    try:
        await provider.start()
        yield provider
    finally:
        await provider.aclose()


@asynccontextmanager
async def talking(**said: object) -> AsyncIterator[tuple[OpenAIProvider, OpenAIServer]]:
    async with OpenAIServer().running() as server, opened(base_url=server.url, api_key=KEY, **said) as provider:
        yield provider, server


async def ask(provider: OpenAIProvider, text: str = "天地玄黄", *, traceparent: str | None = None, **options: Any) -> Recognition:
    context = Context("req-1", asyncio.get_running_loop().time() + 60, Options(**options), traceparent=traceparent)
    return await provider.recognize(Utterance(synthesize(text, RATE), AudioFormat(RATE)), context)


async def test_the_form_says_what_the_caller_and_the_configuration_ask_for() -> None:
    async with talking(model="m", prompt="ours", temperature=0.5, language="en-US") as (provider, server):
        await ask(provider)
        await ask(provider, language="zh-CN", prompt="theirs", temperature=0.0)
        assert server.requests == [
            {"model": "m", "response_format": "json", "language": "en", "prompt": "ours", "temperature": "0.5"},
            {"model": "m", "response_format": "json", "language": "zh", "prompt": "theirs", "temperature": "0"},
        ]


async def test_words_language_and_the_servers_own_id_come_back() -> None:
    async with talking(response_format="verbose_json", words=True) as (provider, _):
        answer = await ask(provider, "天地", words=True)
    assert (answer.text, answer.language, answer.vendor_id) == ("天地", "zh", "req_1")
    assert answer.words is not None
    assert [each.text for each in answer.words] == ["天", "地"]
    assert answer.words[0].start == pytest.approx(0.1, abs=0.02)


async def test_headers_of_the_configuration_the_request_and_its_trace_are_sent() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with talking(headers={"X-Team": "speech"}) as (provider, server):
        await ask(provider, traceparent=trace)
    (sent,) = server.headers
    assert (sent["Authorization"], sent["X-Team"], sent["X-Request-Id"], sent["traceparent"]) == (f"Bearer {KEY}", "speech", "req-1", trace)


async def test_a_configured_header_is_sent_in_place_of_ours_however_it_is_written() -> None:
    """Two of one name are refused by most servers, Host and Content-Length by all."""
    mine = {"user-agent": "us", "accept-encoding": "identity", "authorization": "Basic x", "HOST": "speech.test"}
    ours = {"content-length": "5", "x-request-id": "x", "content-type": "x", "Traceparent": "x", "Tracestate": "x"}
    async with OpenAIServer(key=None).running() as server, opened(base_url=server.url, api_key=KEY, headers=mine | ours) as provider:
        await ask(provider, traceparent="00-1-2-01")
    (sent,) = server.headers
    names = [name.lower() for name in sent]
    assert len(names) == len(set(names))
    assert {name: sent[name] for name in mine} == mine
    assert (sent["X-Request-Id"], sent["traceparent"], sent.get("tracestate")) == ("req-1", "00-1-2-01", None)


async def test_calls_one_after_the_other_share_a_connection() -> None:
    async with talking() as (provider, server):
        for _ in range(5):
            await ask(provider)
        assert server.connections == 1
        assert provider.status()["connections"] == {"reused": 4, "stale": 0}


async def test_a_kept_connection_that_the_server_closed_is_replaced_without_the_caller_noticing() -> None:
    async with talking() as (provider, server):
        await ask(provider)
        server.abort = "kept"
        assert (await ask(provider)).text == "天地玄黄"
        assert (server.aborted, server.connections) == (1, 2)
        assert provider.status()["connections"] == {"reused": 1, "stale": 1}


async def test_a_server_that_hangs_up_on_a_new_connection_is_asked_once() -> None:
    async with talking() as (provider, server):
        server.abort = "all"
        with pytest.raises(Unreachable):
            await ask(provider)
        assert server.aborted == 1
        server.abort = "none"
        await ask(provider)
        server.abort = "all"
        with pytest.raises(Unreachable):
            await ask(provider)
        assert server.aborted == 3  # the kept connection and its one replacement


async def test_long_audio_arrives_whole() -> None:
    text = "天地玄黄宇宙洪荒" * 20
    async with talking() as (provider, _):
        assert (await ask(provider, text)).text == text


async def test_a_cancelled_call_closes_its_connection() -> None:
    async with talking() as (provider, server):
        server.hold()
        call = asyncio.create_task(ask(provider))
        await server.arrived()
        call.cancel()
        await asyncio.wait([call])
        await server.idle()  # the server's handler is cancelled by nothing but the connection's end


async def test_nobody_listening_is_unreachable_with_the_cause_kept() -> None:
    async with OpenAIServer().running() as server:
        url = server.url
    async with opened(base_url=url) as provider:
        with pytest.raises(Unreachable) as caught:
            await ask(provider)
        assert isinstance(caught.value.__cause__, OSError)


async def test_a_certificate_that_is_not_trusted_is_unreachable_and_ca_file_makes_it_trusted(tmp_path: Path) -> None:
    certificate = _self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with OpenAIServer().running(ssl_context=context) as server:
        async with opened(base_url=server.url, api_key=KEY) as provider:
            with pytest.raises(Unreachable):
                await ask(provider)
        async with opened(base_url=server.url, api_key=KEY, ca_file=str(certificate)) as provider:
            assert (await ask(provider)).text == "天地玄黄"


async def test_a_ca_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        async with opened(ca_file=str(tmp_path / "none.pem")):
            pass


async def test_a_call_before_the_start_is_not_ready() -> None:
    with pytest.raises(NotReady):
        await ask(OpenAIProvider(OpenAISettings(), Host("openai")))


async def test_a_redirect_is_not_followed() -> None:
    async with talking() as (provider, server):
        server.answer = (307, {"Location": "http://127.0.0.1:1/"}, b"")
        with pytest.raises(Refused, match="redirects"):
            await ask(provider)
        assert server.calls() == 1


async def test_a_key_that_the_server_quotes_is_not_repeated() -> None:
    async with talking() as (provider, server):
        server.fail(Refused)
        with pytest.raises(Refused, match="Incorrect API key") as caught:
            await ask(provider)
        assert KEY not in str(caught.value) + caught.value.message


async def test_an_answer_without_end_is_not_kept_in_memory() -> None:
    async with talking() as (provider, server):
        server.answer = (200, {}, b" " * (17 * 2**20))
        with pytest.raises(Garbled, match="longer than"):
            await ask(provider)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Rejected), (401, Refused), (402, Refused), (403, Refused), (404, Refused), (408, Unavailable), (413, Rejected), (415, Rejected),
     (418, Refused), (422, Rejected), (429, Throttled), (500, Unavailable), (502, Unavailable), (503, Unavailable), (529, Unavailable)],
)  # fmt: skip
def test_each_status_is_one_error(status: int, kind: type[ProviderError]) -> None:
    error = error_of(status, {}, b"<html>")
    assert type(error) is kind
    assert error.vendor_code == status
    assert "<html>" not in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7.0), ({"Retry-After": "0.5"}, 0.5), ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
     ({"Retry-After": format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)}, 0.0), ({"Retry-After": "soon"}, None),
     ({"retry-after-ms": "inf"}, None), ({"retry-after-ms": "nan", "Retry-After": "1"}, None), ({}, None)],
)  # fmt: skip
def test_the_servers_wish_for_a_pause_is_kept(headers: dict[str, str], seconds: float | None) -> None:
    assert error_of(429, headers, b"{}").retry_after == seconds
    assert error_of(503, headers, b"{}").retry_after == seconds


def test_a_pause_until_a_date_is_counted_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    seconds = error_of(429, {"Retry-After": date}, b"{}").retry_after
    assert seconds is not None
    assert 500 < seconds <= 600


def test_an_empty_account_is_not_asked_again() -> None:
    body = json.dumps({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}).encode()
    assert type(error_of(429, {"Retry-After": "1"}, body)) is Refused


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b'{"txt": ""}', b'{"text": 1}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_a_transcription_is_garbled(body: bytes) -> None:
    with pytest.raises(Garbled):
        recognition_of(body, words=False, duration=1, vendor_id=None)


def test_a_server_that_has_no_words_after_all_is_garbled_but_silence_is_not() -> None:
    with pytest.raises(Garbled, match="words: false"):
        recognition_of(b'{"text": "x"}', words=True, duration=1, vendor_id=None)
    assert recognition_of(b'{"text": " "}', words=True, duration=1, vendor_id=None).words == ()


def test_times_that_overlap_or_overshoot_are_put_in_order() -> None:
    body = json.dumps({"text": "a b", "words": [{"word": " a", "start": 0, "end": 0.9}, {"word": "b", "start": 0.8, "end": 1.2}]}).encode()
    assert recognition_of(body, words=True, duration=1.0, vendor_id=None).words == (Word("a", 0.0, 0.9), Word("b", 0.8, 1.0))


@given(st.lists(st.tuples(st.floats(-1, 9), st.floats(-1, 9))), st.floats(0.1, 5))
def test_words_are_always_in_order_and_within_the_utterance(times: list[tuple[float, float]], duration: float) -> None:
    body = json.dumps({"text": "x", "words": [{"word": "x", "start": start, "end": end} for start, end in times]}).encode()
    before = 0.0
    for word in recognition_of(body, words=True, duration=duration, vendor_id=None).words or ():
        assert before <= word.start <= word.end <= duration
        before = word.start


_JSON = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda each: st.dictionaries(st.sampled_from(["error", "message", "code"]), each) | st.lists(each),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())


@given(st.integers(201, 599), st.binary(max_size=50) | _JSON)
def test_whatever_a_failing_server_says_is_an_error_of_ours(status: int, body: bytes) -> None:
    assert isinstance(error_of(status, {}, body), ProviderError)


@pytest.mark.parametrize(
    "wrong",
    [{"base_url": "ftp://x"}, {"base_url": "example.com"}, {"base_url": "https://user:key@example.com"}, {"path": "audio"},
     {"words": True}, {"temperature": 2}, {"apikey": "x"}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        OpenAISettings.model_validate(wrong)


def test_another_path_below_another_address() -> None:
    assert str(OpenAISettings(base_url="https://api.groq.com/openai/v1/").url) == "https://api.groq.com/openai/v1/audio/transcriptions"
    assert str(OpenAISettings(base_url="http://h:1", path="/inference").url) == "http://h:1/inference"


def _self_signed(folder: Path) -> Path:
    x509 = pytest.importorskip("cryptography.x509", reason="comes with aliyun-python-sdk-core")
    from ipaddress import ip_address

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file
