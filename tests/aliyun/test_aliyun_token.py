"""One valid token for every call: renewed ahead, made once however many want it, and never asked for in a hurry."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from typing import Any

import psutil
import pytest

from asrproxy.plugin import (
    CircuitChanged,
    CircuitOpen,
    Event,
    Garbled,
    ProviderError,
    Refused,
    Throttled,
    TokenRefreshed,
    Unavailable,
    Unreachable,
    pybreaker,
)
from asrproxy_aliyun.createtoken import CreateToken, Credentials
from asrproxy_aliyun.emulator import Emulator, Outage, Scripted, ScriptedToken
from asrproxy_aliyun.token import Token, TokenLease
from asrproxy_aliyun.token_call import sign
from tests.aliyun.making import Make
from tests.policy.policy_world import virtual_time

TRANSPORTS = ["rest", "websocket", "sdk"]


def test_the_signature_is_the_vendors() -> None:
    """Alibaba Cloud's own example of the RPC signature."""
    query = (
        "Timestamp=2016-02-23T12:46:24Z Format=XML AccessKeyId=testid Action=DescribeRegions SignatureMethod=HMAC-SHA1 "
        "SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf Version=2014-05-26 SignatureVersion=1.0"
    )
    params = dict(pair.split("=", 1) for pair in query.split())
    assert sign("GET", params, "testsecret") == "OLeaidS1JvxuMvnyHOwuJ+uX5qY="


async def test_a_hundred_first_calls_make_one_token(make: Make, cloud: Emulator) -> None:
    made = await make()
    assert set(await asyncio.gather(*(made.text() for _ in range(100)))) == {"天地玄黄"}
    assert cloud.tokens_created == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_expired_token_is_replaced_once_without_a_caller_noticing(make: Make, cloud: Emulator, transport: str) -> None:
    made = await make(transport=transport)
    assert await made.text() == "天地玄黄"
    cloud.expire_all_tokens()
    assert set(await asyncio.gather(*(made.text() for _ in range(64)))) == {"天地玄黄"}
    assert cloud.tokens_created == 2
    cloud.revoke_tokens()
    assert set(await asyncio.gather(*(made.text() for _ in range(64)))) == {"天地玄黄"}
    assert cloud.tokens_created == 3


async def test_a_token_that_was_replaced_meanwhile_is_just_used(make: Make, cloud: Emulator) -> None:
    made = await make()
    await made.text()
    cloud.hold_answers()
    slow = asyncio.create_task(made.text())
    await cloud.calls_in_flight(1)
    cloud.expire_all_tokens()
    quick = asyncio.create_task(made.text())
    await cloud.calls_in_flight(2)
    cloud.release_answers()
    assert await asyncio.gather(slow, quick) == ["天地玄黄"] * 2
    assert cloud.tokens_created == 2


async def test_a_gateway_that_refuses_every_token_does_not_hammer_the_token_service(make: Make, cloud: Emulator) -> None:
    made = await make()
    await made.text()
    cloud.script(*[Scripted(status=40000001)] * 40)
    for _ in range(20):
        with pytest.raises(Refused) as caught:
            await made.text()
        assert caught.value.vendor_code == 40000001
    assert cloud.tokens_created <= 3


async def test_a_given_token_is_used_and_cannot_be_replaced(make: Make, cloud: Emulator) -> None:
    made = await make(token=cloud.create_token())
    assert await made.text() == "天地玄黄"
    cloud.expire_all_tokens()
    with pytest.raises(Refused):
        await made.text()
    assert cloud.ledger.requests["token"] == 0


async def test_a_short_lived_token_is_renewed_before_it_ends() -> None:
    async with Emulator(token_lifetime=5.0) as cloud:
        renewed: asyncio.Queue[Event] = asyncio.Queue()
        source = Watched(_source(cloud))
        lease = TokenLease(source, provider="aliyun", announce=renewed.put_nowait)
        lease.start()
        try:
            await renewed.get()
            first = lease.current()
            await renewed.get()
            # Renewed ahead: the first one still held.
            assert first is not None
            assert first.expires > source.asked[1]
            assert lease.current() not in (None, first)
        finally:
            await lease.aclose()


async def test_a_wrong_key_is_refused_at_once_and_not_asked_for_again(cloud: Emulator) -> None:
    lease = TokenLease(_source(cloud, secret="wrong"), provider="aliyun")
    for _ in range(10):
        with pytest.raises(Refused) as caught:
            await lease.token()
        assert caught.value.vendor_code in ("SignatureDoesNotMatch", "InvalidAccessKeySecret")
        assert "wrong" not in caught.value.message
    assert cloud.ledger.requests["token"] == 1
    assert not lease.health().ready


async def test_an_unknown_key_is_refused(cloud: Emulator) -> None:
    with pytest.raises(Refused) as caught:
        await _source(cloud, key="unknown").issue(None)
    assert str(caught.value.vendor_code).startswith("InvalidAccessKeyId")
    assert "unknown" not in caught.value.message


@pytest.mark.parametrize(
    ("scripted", "expected"),
    [
        (ScriptedToken(), Unavailable),
        (ScriptedToken(http_status=500, code="InternalError"), Unavailable),
        (ScriptedToken(http_status=400, code="Throttling.User", message="Request was denied due to user flow control."), Throttled),
        (ScriptedToken(http_status=400, code="SignatureDoesNotMatch", message="no colon in here"), Refused),
        (ScriptedToken(http_status=403, code="Forbidden.RAM", message="no"), Refused),
        (ScriptedToken(http_status=404, code="InvalidAction.NotFound", message="no"), Refused),
        (ScriptedToken(http_status=200, body="<html>login</html>"), Garbled),
        (ScriptedToken(http_status=200, body='{"Token": {}}'), Garbled),
        (ScriptedToken(http_status=200, body='{"Token": {"Id": "a", "ExpireTime": 1}}'), Garbled),
        (ScriptedToken(http_status=502, body="<html>bad gateway</html>"), Unavailable),
    ],
)
async def test_answers_of_the_token_service(cloud: Emulator, scripted: ScriptedToken, expected: type[ProviderError]) -> None:
    cloud.script(scripted)
    with pytest.raises(ProviderError) as caught:
        await _source(cloud).issue(None)
    assert type(caught.value) is expected


@pytest.mark.parametrize("outage", [Outage.REFUSE, Outage.RESET, Outage.SILENT])
async def test_a_token_service_that_is_gone_is_unreachable(cloud: Emulator, outage: Outage) -> None:
    await cloud.token_outage(outage)
    with pytest.raises(Unreachable) as caught:
        await _source(cloud, timeout=0.5).issue(None)
    assert cloud.access_key_id not in f"{caught.value} {caught.value.__cause__}"


async def test_the_old_token_serves_while_it_is_valid_and_the_renewal_fails() -> None:
    async with Emulator(token_lifetime=4.0) as cloud:
        told: asyncio.Queue[Event] = asyncio.Queue()
        source = Watched(_source(cloud))
        lease = TokenLease(source, provider="aliyun", announce=told.put_nowait)
        lease.start()
        try:
            assert isinstance(await told.get(), TokenRefreshed)
            first = lease.current()
            source.away = True
            failed = await told.get()
            assert isinstance(failed, TokenRefreshed)
            assert isinstance(failed.error, Unreachable)
            assert lease.current() is first is not None
            assert lease.health().ready
            source.away = False
            while not (isinstance(renewed := await told.get(), TokenRefreshed) and renewed.error is None):
                pass
            assert lease.current() not in (None, first)
        finally:
            await lease.aclose()


async def test_three_faults_open_the_circuit_and_one_trial_closes_it(cloud: Emulator) -> None:
    events: list[Event] = []
    lease = TokenLease(_source(cloud), provider="aliyun", reset=1.0, announce=events.append)
    cloud.script(*[ScriptedToken()] * 4)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await lease.token()
    with pytest.raises(CircuitOpen) as caught:
        await lease.token()
    assert caught.value.retry_after is not None
    assert cloud.ledger.requests["token"] == 3

    async def until_tried() -> BaseException:
        while True:
            try:
                await lease.token()
            except CircuitOpen:
                await asyncio.sleep(0.02)
            except Unavailable as error:
                return error

    # However many wait for the circuit, one trial passes and all hear of its failure.
    assert {type(error) for error in await asyncio.gather(*(until_tried() for _ in range(16)))} == {Unavailable}
    assert cloud.ledger.requests["token"] == 4

    async def until_closed() -> Token:
        while True:
            try:
                return await lease.token()
            except CircuitOpen:
                await asyncio.sleep(0.02)

    assert len({token.id for token in await asyncio.gather(*(until_closed() for _ in range(16)))}) == 1
    assert cloud.ledger.requests["token"] == 5
    changes = [(event.before, event.after) for event in events if isinstance(event, CircuitChanged)]
    assert changes == [("closed", "open"), ("open", "half-open"), ("half-open", "open"), ("open", "half-open"), ("half-open", "closed")]
    assert {event.name for event in events if isinstance(event, CircuitChanged)} == {"aliyun.token"}


class Away:
    """A token service that fails until a moment; it notes when it was asked, moments on the loop's clock."""

    def __init__(self, until: float, lifetime: float = 3600.0) -> None:
        self.until, self._lifetime = until, lifetime
        self.asked: list[float] = []

    async def issue(self, refused: Token | None) -> Token:
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        if now < self.until:
            raise Unreachable("it is away")
        return Token(f"token-{now}", now + self._lifetime, now + self._lifetime)


@virtual_time
async def test_a_start_while_the_service_is_away_is_ready_soon_after_it_is_back() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    service = Away(until=began + 0.9)
    lease = TokenLease(service, provider="aliyun", reset=60.0)
    lease.start()
    for _ in range(3):  # calls that do not wait until it is ready
        with suppress(Unreachable, CircuitOpen):
            await lease.token()
    assert lease.status()["circuit"] == "open"
    while not lease.health().ready:
        await asyncio.sleep(0.1)
    assert loop.time() - began < 2.0
    await lease.aclose()


@virtual_time
async def test_a_service_that_stays_away_is_asked_ever_less_often_and_later_left_alone_at_once() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    service = Away(until=began + 250, lifetime=100.0)
    lease = TokenLease(service, provider="aliyun", reset=60.0, jitter=lambda: 0.0)
    lease.start()
    while not lease.health().ready:
        await asyncio.sleep(0.5)
    assert [round(moment - began) for moment in service.asked] == [0, 1, 2, 3, 5, 9, 17, 33, 65, 125, 185, 245, 305]
    service.until = math.inf
    while lease.status()["circuit"] == "closed":
        await asyncio.sleep(0.5)
    assert lease.status()["retry_after"] == pytest.approx(60.0, abs=1.0)
    await lease.aclose()


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_wall_clock_that_is_set_neither_keeps_the_circuit_open_nor_closes_it(
    cloud: Emulator, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    lease = TokenLease(_source(cloud), provider="aliyun", reset=1.0)
    cloud.script(*[ScriptedToken()] * 3)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await lease.token()

    class Set(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Set:
            return super().now(tz) + timedelta(hours=hours)

    monkeypatch.setattr(pybreaker, "datetime", Set)
    with pytest.raises(CircuitOpen) as caught:
        await lease.token()
    assert caught.value.retry_after is not None
    assert caught.value.retry_after <= 1.0
    while True:
        try:
            assert (await lease.token()).id
            break
        except CircuitOpen:
            await asyncio.sleep(0.02)
    await lease.aclose()


async def test_refusals_and_throttling_never_open_the_circuit(cloud: Emulator) -> None:
    events: list[Event] = []
    lease = TokenLease(_source(cloud), provider="aliyun", announce=events.append)
    cloud.script(*[ScriptedToken(http_status=400, code="Throttling.User", message="flow control")] * 6)
    for _ in range(6):
        with pytest.raises(Throttled):
            await lease.token()
    assert not [event for event in events if isinstance(event, CircuitChanged)]
    assert (await lease.token()).id


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_clock_that_is_hours_off_changes_nothing(make: Make, cloud: Emulator, hours: int) -> None:
    cloud.set_clock_offset(hours * 3600.0)
    made = await make()
    assert await made.text() == "天地玄黄"
    assert cloud.tokens_created == 1
    (refreshed,) = [event for event in made.events if isinstance(event, TokenRefreshed)]
    assert refreshed.lifetime == pytest.approx(cloud.settings.token_lifetime, abs=5)
    # The skew is known from here on: the next token costs one call.
    before = cloud.ledger.requests["token"]
    cloud.expire_all_tokens()
    assert await made.text() == "天地玄黄"
    assert cloud.ledger.requests["token"] == before + 1


async def test_a_cancelled_waiter_leaves_the_refresh_to_the_others(cloud: Emulator) -> None:
    await cloud.token_outage(Outage.SILENT)
    lease = TokenLease(_source(cloud), provider="aliyun")
    first, second = (asyncio.create_task(lease.token()) for _ in range(2))
    await cloud.ledger.until(lambda: True)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await cloud.token_outage(Outage.NONE)
    assert (await second).id
    await lease.aclose()


async def test_a_call_that_is_given_up_leaves_no_process_and_no_connection(cloud: Emulator) -> None:
    await cloud.token_outage(Outage.SILENT)
    call = asyncio.create_task(_source(cloud).issue(None))
    while not _token_calls():
        await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert not _token_calls()


async def test_temporary_keys_send_their_security_token() -> None:
    async with Emulator(security_token="sts-token") as cloud:
        assert (await _source(cloud, security="sts-token").issue(None)).id
        with pytest.raises(ProviderError):
            await _source(cloud, security="another").issue(None)


async def test_the_environments_keys_and_proxies_are_not_taken(cloud: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIYUN_ACCESS_KEY_ID", "somebody-elses")
    monkeypatch.setenv("ALIYUN_ACCESS_KEY_SECRET", "somebody-elses")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert (await _source(cloud).issue(None)).id


async def test_nothing_secret_is_written_to_the_log(
    cloud: Emulator, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    await cloud.token_outage(Outage.REFUSE)
    with pytest.raises(Unreachable):
        await _source(cloud).issue(None)
    await cloud.token_outage(Outage.NONE)
    with pytest.raises(Refused):
        await _source(cloud, secret="wrong-secret").issue(None)
    written = caplog.text + "".join(capfd.readouterr())
    assert cloud.access_key_id not in written
    assert "wrong-secret" not in written


class Watched:
    """A source of tokens, which asks in a process of its own. asked: the moments at which it was. away: it fails at once."""

    def __init__(self, source: CreateToken) -> None:
        self._source = source
        self.asked: list[float] = []
        self.away = False

    async def issue(self, refused: Token | None) -> Token:
        self.asked.append(asyncio.get_running_loop().time())
        if self.away:
            raise Unreachable("the token service is away")
        return await self._source.issue(refused)


def _token_calls() -> list[psutil.Process]:
    """The processes that ask for a token, by what they run."""
    return [each for each in psutil.Process().children() if "asrproxy_aliyun.token_call" in each.cmdline()]


def _source(
    cloud: Emulator,
    *,
    key: str | None = None,
    secret: str | None = None,
    security: str | None = None,
    timeout: float = 5.0,
    wall: Callable[[], float] = time.time,
    **changes: Any,
) -> CreateToken:
    credentials = Credentials(key or cloud.access_key_id, secret or cloud.access_key_secret, security)
    return CreateToken(cloud.token_url, region="cn-shanghai", credentials=credentials, timeout=timeout, wall=wall, **changes)
