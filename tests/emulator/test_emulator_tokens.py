"""CreateToken takes what the vendor takes, and refuses what the vendor refuses in the vendor's words."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import pytest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest, RpcRequest
from hypothesis import given
from hypothesis import strategies as st

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator, ScriptedToken
from asrproxy_aliyun.emulator.signature import signature, string_to_sign
from tests.emulator.wire import recognize, signed

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


def create_with_the_official_client(cloud: Emulator, *, secret: str | None = None, security_token: str | None = None) -> dict:
    secret = cloud.access_key_secret if secret is None else secret
    client = (
        AcsClient(cloud.access_key_id, secret, "cn-shanghai")
        if security_token is None
        else AcsClient(region_id="cn-shanghai", credential=StsTokenCredential(cloud.access_key_id, secret, security_token))
    )
    request = CommonRequest()
    request.set_method("POST")
    request.set_domain(cloud.token_url.removeprefix("http://"))
    request.set_version("2019-02-28")
    request.set_action_name("CreateToken")
    return json.loads(client.do_action_with_exception(request))


def test_the_signature_is_that_of_the_vendors_published_example() -> None:
    parameters = {
        "Timestamp": "2016-02-23T12:46:24Z", "Format": "XML", "AccessKeyId": "testid", "Action": "DescribeRegions",
        "SignatureMethod": "HMAC-SHA1", "SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf", "Version": "2014-05-26",
        "SignatureVersion": "1.0",
    }  # fmt: skip
    assert signature("testsecret", string_to_sign("GET", parameters)) == "OLeaidS1JvxuMvnyHOwuJ+uX5qY="


@given(st.dictionaries(TEXT, TEXT, max_size=6), st.sampled_from(["GET", "POST"]), TEXT)
def test_the_official_client_signs_everything_as_we_do(parameters: dict[str, str], method: str, secret: str) -> None:
    from aliyunsdkcore.auth.composer import rpc_signature_composer

    parameters = {name: value for name, value in parameters.items() if name != "Signature"}
    theirs = vars(rpc_signature_composer)["__compose_string_to_sign"](method, parameters)
    assert string_to_sign(method, parameters) == theirs
    assert signature(secret, theirs) == vars(rpc_signature_composer)["__get_signature"](theirs, secret)


@pytest.mark.parametrize("place", ["GET in the query", "POST in the query", "POST in the body", "POST in both"])
async def test_parameters_may_come_in_the_query_or_in_the_body(cloud: Emulator, http: aiohttp.ClientSession, place: str) -> None:
    method = place.split(maxsplit=1)[0]
    parameters = signed(cloud, method, SignatureType="")
    half = dict(list(parameters.items())[:5])
    rest = {name: value for name, value in parameters.items() if name not in half}
    query, body = {"query": (parameters, None), "body": ({}, parameters), "both": (half, rest)}[place.rsplit(maxsplit=1)[-1]]
    async with http.request(method, f"{cloud.token_url}/", params=query, data=body) as response:
        answer = await response.json()
    assert response.status == 200
    assert answer["Token"]["ExpireTime"] > time.time()
    assert (await recognize(http, cloud, tones.synthesize("天"), token=answer["Token"]["Id"]))[1]["result"] == "天"


async def test_the_official_core_client_gets_a_token(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    answer = await asyncio.to_thread(create_with_the_official_client, cloud)
    assert (await recognize(http, cloud, tones.synthesize("天"), token=answer["Token"]["Id"]))[1]["status"] == 20000000


async def test_the_official_core_client_is_told_that_its_secret_is_wrong(cloud: Emulator) -> None:
    client = AcsClient(cloud.access_key_id, "not the secret", "cn-shanghai")
    request = RpcRequest("nls-cloud-meta", "2019-02-28", "CreateToken")
    request.set_endpoint(cloud.token_url.removeprefix("http://"))
    with pytest.raises(ServerException) as caught:
        await asyncio.to_thread(client.do_action_with_exception, request)
    # The client says this only when the string to sign in our message equals its own.
    assert caught.value.get_error_code() == "InvalidAccessKeySecret"
    with pytest.raises(ServerException, match="SignatureDoesNotMatch"):
        await asyncio.to_thread(create_with_the_official_client, cloud, secret="not the secret")
    assert cloud.tokens_created == 0


async def test_an_sts_token_of_the_official_client_is_taken_or_refused_as_configured() -> None:
    async with Emulator(security_token="the one") as cloud:
        assert "Token" in await asyncio.to_thread(create_with_the_official_client, cloud, security_token="the one")
        with pytest.raises(ServerException, match="SecurityToken"):
            await asyncio.to_thread(create_with_the_official_client, cloud, security_token="another")
    async with Emulator() as cloud:
        assert "Token" in await asyncio.to_thread(create_with_the_official_client, cloud, security_token="any")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"AccessKeyId": "LTAIunknown"}, 404, "InvalidAccessKeyId.NotFound"),
        ({"secret": "wrong"}, 400, "SignatureDoesNotMatch"),
        ({"age": 901}, 400, "InvalidTimeStamp.Expired"),
        ({"age": -902}, 400, "InvalidTimeStamp.Expired"),
        ({"Timestamp": "yesterday"}, 400, "InvalidTimeStamp.Format"),
        ({"Action": "CreateTokens"}, 404, "InvalidAction.NotFound"),
        ({"Version": "2019-02-27"}, 404, "InvalidVersion"),
        ({"SignatureMethod": "HMAC-MD5"}, 400, "InvalidParameter.SignatureMethod"),
        ({"SignatureNonce": ""}, 400, "MissingSignatureNonce"),
    ],
)
async def test_what_is_wrong_with_a_call_is_said(
    cloud: Emulator, http: aiohttp.ClientSession, changes: dict, status: int, code: str
) -> None:
    async with http.get(f"{cloud.token_url}/", params=signed(cloud, **changes)) as response:
        answer = await response.json()
    assert (response.status, answer["Code"]) == (status, code)
    assert {"RequestId", "HostId", "Message", "Recommend"} <= set(answer)
    assert cloud.tokens_created == 0


async def test_a_nonce_is_good_for_one_call(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    parameters = signed(cloud)
    codes = []
    for _ in range(2):
        async with http.get(f"{cloud.token_url}/", params=parameters) as response:
            codes.append((await response.json()).get("Code"))
    assert codes == [None, "SignatureNonceUsed"]


async def test_a_clock_that_is_off_shows_in_the_date_and_in_the_judgement(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    cloud.set_clock_offset(3600)
    async with http.get(f"{cloud.token_url}/", params=signed(cloud)) as response:
        assert (await response.json())["Code"] == "InvalidTimeStamp.Expired"
        assert response.headers["Date"] != ""
    async with http.get(f"{cloud.token_url}/", params=signed(cloud, age=-3600)) as response:
        assert (await response.json())["Token"]["ExpireTime"] > time.time() + 86400 + 3000


async def test_tokens_end_each_in_its_own_way(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    first, second = cloud.create_token(), cloud.create_token(lifetime=30)
    pcm = tones.synthesize("天")
    assert (await recognize(http, cloud, pcm, token=first))[1]["status"] == 20000000
    cloud.set_clock_offset(31)
    answers = [(await recognize(http, cloud, pcm, token=each))[1] for each in (first, second)]
    assert [each["status"] for each in answers] == [20000000, 40000001]
    assert answers[1]["message"] == f"Gateway:ACCESS_DENIED:The token '{second}' has expired!"
    cloud.expire_all_tokens()
    assert "has expired" in (await recognize(http, cloud, pcm, token=first))[1]["message"]
    cloud.revoke_tokens()
    assert (await recognize(http, cloud, pcm, token=first))[1]["message"] == f"Meta:ACCESS_DENIED:The token '{first}' is invalid!"


async def test_errors_of_the_token_service_can_be_scripted(cloud: Emulator, http: aiohttp.ClientSession) -> None:
    cloud.script(ScriptedToken(http_status=400, code="Throttling.User", message="flow control"), ScriptedToken(body="<html>"))
    seen = []
    for _ in range(3):
        async with http.get(f"{cloud.token_url}/", params=signed(cloud)) as response:
            seen.append((response.status, (await response.text())[:6]))
    assert [status for status, _ in seen] == [400, 503, 200]
    assert seen[1][1] == "<html>"
