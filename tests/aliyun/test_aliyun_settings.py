"""What the configuration may say, and what it comes to."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic import ValidationError

from asrproxy.plugin import ConfigError, Host
from asrproxy_aliyun.provider import AliyunProvider, capabilities_of
from asrproxy_aliyun.settings import AliyunSettings

KEYS: dict[str, Any] = {"appkey": "a", "access_key_id": "k", "access_key_secret": "s"}


@pytest.mark.parametrize(
    ("settings", "gateway", "tokens"),
    [
        ({}, "https://nls-gateway-cn-shanghai.aliyuncs.com", "https://nls-meta.cn-shanghai.aliyuncs.com"),
        ({"region": "cn-beijing"}, "https://nls-gateway-cn-beijing.aliyuncs.com", "https://nls-meta.cn-shanghai.aliyuncs.com"),
        (
            {"region": "cn-shenzhen", "network": "internal"},
            "http://nls-gateway-cn-shenzhen-internal.aliyuncs.com",
            "https://nls-meta.cn-shanghai.aliyuncs.com",
        ),
        (
            {"region": "ap-southeast-1"},
            "https://nls-gateway-ap-southeast-1.aliyuncs.com",
            "https://nlsmeta.ap-southeast-1.aliyuncs.com",
        ),
        ({"gateway_url": "http://localhost:1/", "token_url": "http://localhost:2"}, "http://localhost:1", "http://localhost:2"),
        ({"region": "new", "gateway_url": "http://g", "token_url": "http://t"}, "http://g", "http://t"),
    ],
)
def test_hosts_come_from_the_region_unless_given(settings: dict[str, Any], gateway: str, tokens: str) -> None:
    made = AliyunSettings.model_validate(KEYS | settings)
    assert (made.gateway, made.token_service) == (gateway, tokens)


@pytest.mark.parametrize(
    "settings",
    [
        {"access_key_secret": None},
        {"token": "t"},
        {"region": "new"},
        {"region": "new", "gateway_url": "http://g"},
        {"region": "nearest", "network": "internal"},
        {"gateway_url": "ws://g"},
        {"gateway_url": "https://g/path"},
        {"gateway_url": "https://user:secret@g"},
        {"appkey": "  "},
        {"transport": "grpc"},
        {"sample_rate": 44100},
        {"unknown": 1},
        {"websocket": {"keepalive": "10s"}},
        {"truncated": {"chars_per_second": 0}},
    ],
)
def test_what_cannot_work_is_refused_and_shows_no_secret(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        AliyunSettings.model_validate(KEYS | settings)
    assert "secret" not in str(caught.value).replace("access_key_secret", "")


def test_secrets_are_not_printed() -> None:
    made = AliyunSettings.model_validate({"appkey": "app-key", "access_key_id": "key-id", "access_key_secret": "key-secret"})
    assert not any(secret in repr(made) for secret in ("app-key", "key-id", "key-secret"))


def test_capabilities_follow_the_settings() -> None:
    def of(**settings: Any) -> Any:
        return capabilities_of(AliyunSettings.model_validate(KEYS | settings))

    assert of() == AliyunProvider.capabilities
    assert of().options == {"punctuation", "itn", "vocabulary"}
    assert not of().streaming
    assert of(transport="websocket").streaming
    assert of(transport="websocket").words
    assert of(transport="sdk").words
    assert not of(transport="sdk").streaming
    assert 59 <= of().longest < 60
    assert of().whole is None
    assert 59 <= of(long="flash").longest < 60
    assert of(long="flash").whole == pytest.approx(3124, abs=1)
    assert of(long="flash", sample_rate=8000).whole == pytest.approx(6249, abs=1)
    assert of(sample_rate=8000).formats[0].sample_rate == 8000
    assert of(language=None).languages is None
    assert of(truncated="off") == of()


async def test_an_sdk_that_is_not_installed_stops_the_start_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nls", None)
    provider = AliyunProvider(AliyunSettings.model_validate(KEYS | {"transport": "sdk"}), Host("aliyun"))
    with pytest.raises(ConfigError, match="aliyun-sdk"):
        await provider.start()
    await provider.aclose()
