"""The same answer of the vendor's gives the same typed error, whatever the transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.plugin import Garbled, ProviderError, Refused, Rejected, Throttled, Truncated, Unavailable, Unreachable
from asrproxy_aliyun.emulator import Emulator, Outage, Scripted
from asrproxy_aliyun.status import ERRORS, NO_SPEECH, cleaned, error_of_http, error_of_status, retry_after
from tests.aliyun.making import Make, context_of, utterance_of

TRANSPORTS = ["rest", "websocket", "sdk"]
UNKNOWN = {41999999: Rejected, 59999999: Unavailable}
EVERY = {**ERRORS, **UNKNOWN}


async def _error(made: Any, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await made.provider.recognize(utterance_of("天地玄黄"), context_of(**options))
    return caught.value


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_code_of_the_table_gives_its_error(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport, truncated=False)
    for code, expected in EVERY.items():
        answers = [Scripted(status=code, message="Gateway:SOMETHING:said")] * (2 if code == 40000001 else 1)
        cloud.script(*answers)
        error = await _error(made)
        assert type(error) is expected
        assert error.vendor_code == code
        assert "said" in error.message
    assert await made.text() == "天地玄黄"


async def test_every_code_of_the_table_gives_its_error_over_flash(make: Make, cloud: Emulator) -> None:
    made = await make(long="flash")
    for code, expected in EVERY.items():
        cloud.script(*[Scripted(status=code)] * (2 if code == 40000001 else 1))
        error = await _error(made, words=True)
        assert (type(error), error.vendor_code) == (expected, code)


@pytest.mark.parametrize("transport", [*TRANSPORTS, "flash"])
async def test_codes_that_mean_no_speech_are_an_empty_text(make: Make, cloud: Emulator, transport: str) -> None:
    flash = transport == "flash"
    made = await make(**({"long": "flash"} if flash else {"transport": transport}))
    for code in NO_SPEECH:
        cloud.script(Scripted(status=code))
        recognition = await made.provider.recognize(utterance_of("天地"), context_of(words=flash))
        assert (recognition.text, recognition.words) == ("", () if flash else None)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [429, 503, 400, 404, 502])
async def test_answers_without_a_status_of_nls_go_by_http(make: Make, cloud: Emulator, transport: str, status: int) -> None:
    made = await make(transport=transport)
    cloud.script(Scripted(http_status=status, body="<html>a balancer</html>"))
    error = await _error(made)
    assert type(error) is {429: Throttled, 503: Unavailable, 502: Unavailable, 404: Refused, 400: Rejected}[status]
    assert error.vendor_code == status


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_half_an_answer_is_garbled(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport)
    cloud.script(Scripted(cut=40))
    assert type(await _error(made)) is Garbled


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_page_in_place_of_an_answer_is_garbled(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport)
    cloud.script(Scripted(body="<html>hello</html>", http_status=200 if transport == "rest" else None))
    assert type(await _error(made)) is Garbled


@pytest.mark.parametrize("transport", ["websocket", "sdk"])
async def test_an_event_of_another_task_is_garbled(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport)
    cloud.script(Scripted(task_id="f" * 32))
    assert type(await _error(made)) is Garbled


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_connection_that_is_reset_is_unreachable(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport, pool={"warm": 0})
    cloud.script(Scripted(reset=True))
    assert type(await _error(made)) is Unreachable


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_gateway_that_nobody_listens_at_is_unreachable(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport)
    assert await made.text() == "天地玄黄"
    await cloud.gateway_outage(Outage.REFUSE)
    assert type(await _error(made)) is Unreachable
    await cloud.gateway_outage(Outage.NONE)
    assert await made.text() == "天地玄黄"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_name_without_an_address_is_unreachable(make: Make, transport: str) -> None:
    made = await make(transport=transport, gateway_url="http://gateway.invalid", token="given")
    assert type(await _error(made)) is Unreachable


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_app_key_of_nobodys_is_refused(make: Make, transport: str) -> None:
    made = await make(transport=transport, appkey="another")
    error = await _error(made)
    assert (type(error), error.vendor_code) == (Refused, 40020105)


async def test_a_gateway_that_is_somewhere_else_is_said_to_be(make: Make, cloud: Emulator) -> None:
    made = await make(gateway_url=cloud.token_url, token="given")
    error = await _error(made)
    assert isinstance(error, ProviderError)
    assert not error.retryable or isinstance(error, Garbled)


async def _voiced_all(utterance: Any) -> float:
    return float(utterance.duration)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_text_that_lacks_most_of_the_speech_is_truncated(make: Make, cloud: Emulator, transport: str) -> None:
    from dataclasses import replace

    made = await make(transport=transport, truncated={"min_seconds": 2})
    utterance = utterance_of("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往")
    heard = replace(context_of(), voiced=_voiced_all)
    assert (await made.provider.recognize(utterance, heard)).text.startswith("天地")
    cloud.script(Scripted(keep=0.05), Scripted(keep=0.05))
    with pytest.raises(Truncated) as caught:
        await made.provider.recognize(utterance, heard)
    assert (caught.value.text, caught.value.retryable) == ("天", True)
    # The same text for music or noise, in which the detector hears no speech, is what there is.
    assert (await made.provider.recognize(utterance, context_of())).text == "天"


@settings(deadline=None)
@given(st.integers(-(10**9), 10**9))
def test_every_code_has_an_error_that_says_whether_to_try_again(code: int) -> None:
    error = error_of_status(code, "said")
    assert error.vendor_code == code
    if code not in ERRORS:
        assert error.retryable is not (40_000_000 <= code < 50_000_000)


@settings(deadline=None)
@given(st.integers(100, 599), st.text(max_size=50))
def test_every_http_status_has_an_error(status: int, text: str) -> None:
    error = error_of_http(status, text)
    assert error.vendor_code in (status, 40000001)


@pytest.mark.parametrize(
    "message",
    ["Gateway:ACCESS_DENIED:The token 'abc' has expired!", "Meta:ACCESS_DENIED:The token '0123456789abcdef0123456789abcdef' is invalid!"],
)
def test_no_message_quotes_the_token(message: str) -> None:
    assert "abc" not in cleaned(message)
    assert "ACCESS_DENIED" in cleaned(message)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("-1", None), (None, None)])
def test_retry_after_is_read_where_it_is_a_number(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_silent_gateway_leaves_nothing_behind_when_given_up(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport)
    cloud.script(Scripted(silent=True))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await made.text()
    await cloud.all_connections_free()
