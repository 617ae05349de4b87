"""The gateway and the token service go out of service and come back, each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, Outage
from tests.emulator.wire import connect, recognize, signed

PCM = tones.synthesize("天")
LOST = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
Ask = Callable[[], Awaitable[int]]


@pytest.fixture(params=["gateway", "token"])
def service(request: pytest.FixtureRequest, cloud: Emulator, http: aiohttp.ClientSession) -> tuple[Ask, Callable, Ask]:
    """How one service is asked, how it is put out of order, and how the other one is asked."""

    async def ask_gateway() -> int:
        headers = {"X-NLS-Token": cloud.create_token()}
        async with http.post(f"{cloud.gateway_url}/stream/v1/asr?appkey={cloud.appkey}", data=PCM, headers=headers) as response:
            return response.status

    async def ask_token() -> int:
        async with http.get(f"{cloud.token_url}/", params=signed(cloud)) as response:
            return response.status

    if request.param == "gateway":
        return ask_gateway, cloud.gateway_outage, ask_token
    return ask_token, cloud.token_outage, ask_gateway


@pytest.mark.parametrize(
    ("outage", "error"),
    [(Outage.REFUSE, aiohttp.ClientConnectorError), (Outage.RESET, LOST)],
)
async def test_connections_fail_and_come_back(
    service: tuple[Ask, Callable, Ask], outage: Outage, error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    ask, put, ask_other = service
    assert await ask() == 200
    await put(outage)
    with pytest.raises(LOST):
        await ask()  # may still be on a connection that was kept
    with pytest.raises(error):
        await ask()
    assert await ask_other() == 200
    await put(Outage.NONE)
    assert await ask() == 200


async def test_errors_of_the_front_door(service: tuple[Ask, Callable, Ask]) -> None:
    ask, put, ask_other = service
    await put(Outage.ERROR, 504)
    assert (await ask(), await ask_other()) == (504, 200)
    await put(Outage.NONE)
    assert await ask() == 200


async def test_a_silent_service_answers_when_it_is_back(service: tuple[Ask, Callable, Ask]) -> None:
    ask, put, ask_other = service
    await put(Outage.SILENT)
    asked = asyncio.ensure_future(ask())
    assert await ask_other() == 200
    assert not asked.done()
    await put(Outage.NONE)
    assert await asked == 200


async def test_calls_under_way_are_reset_with_the_rest(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    cloud.hold_answers()
    speaker = await connect(http, cloud)
    await speaker.start()
    await cloud.call_arrived()
    call = asyncio.create_task(recognize(http, cloud, PCM))
    await cloud.call_arrived()
    await cloud.gateway_outage(Outage.RESET)
    with pytest.raises(LOST):
        await call
    await speaker.hear()
    assert (await speaker.socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    await cloud.all_connections_free()
