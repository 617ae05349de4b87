"""What `providers.<name>` of type `aliyun` may say: the reference of these keys."""

from __future__ import annotations

import os
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from yarl import URL

from asrproxy.plugin import CaFile, Misplaced, ProviderSettings, Seconds, SecretLine, Section, is_here
from asrproxy_aliyun.regions import REGIONS


class PoolSettings(Section):
    """`pool`: connections to the gateway that are kept for the next call."""

    size: int = Field(64, ge=1, le=4096, description="Connections kept; a call beyond them opens one of its own and closes it after.")
    idle: Seconds = Field(
        8.0, gt=0, description="A connection unused for this long is closed; below the vendor's own limit, or it closes them first."
    )
    warm: int = Field(2, ge=0, le=64, description="Connections opened at start, before the first call.")


class TruncatedSettings(Section):
    """`truncated`: when a text is so short for the speech sent that the call counts as failed and is tried again.

    Read speech has 5 to 8 syllables a second (Pellegrino, Coupé and Marsico 2011: Mandarin 5.2, English 6.2, Japanese 7.8), a Chinese
    character is one syllable and a Latin letter less than one, so a text with less than half a character for each second of clear
    speech lacks nine tenths of it. Four seconds keep a cough, a hum or one long vowel from being taken for speech.
    """

    chars_per_second: float = Field(0.5, gt=0, le=5, description="Characters (no spaces or punctuation) per second of clear speech.")
    min_seconds: Seconds = Field(4.0, description="Asked only where at least this much clear speech was sent.")


class WebsocketSettings(Section):
    """`websocket`: how the gateway's WebSocket is fed."""

    frame: Seconds = Field(0.1, gt=0, le=1, description="Audio in one binary frame.")
    pace: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Word times: times real time at which recorded audio is sent; 0: as fast as it is taken (the vendor asks for 1).",
    )
    reuse: bool = Field(False, description="A second sentence on the same connection; the vendor does not promise that it works.")
    keepalive: Seconds = Field(4.0, gt=0, lt=10, description="Live audio that pauses this long gets some silence: NLS hangs up after 10 s.")
    answer: Seconds = Field(
        10.0, gt=0, description="Live audio: a task that has not begun, or not ended after its stop, by then has failed."
    )
    reconnects: int = Field(
        8,
        ge=0,
        description="Live audio: connections tried in a row that bring no sentence, in five seconds where another provider could go on.",
    )
    stalled: Seconds = Field(
        15.0, gt=0, le=20, description="Live audio: where NLS says nothing for so long though somebody speaks, one new connection is tried."
    )


class SdkSettings(Section):
    """`sdk`: the vendor's own client, in threads."""

    workers: int = Field(16, ge=1, le=256, description="Calls under way at once; the SDK adds two threads of its own to each.")


def _off_or_settings(value: object) -> object:
    # YAML reads a bare `off` as false; what comes from the environment is text.
    return None if value is False or (isinstance(value, str) and value.strip().lower() in ("off", "false", "no")) else value


class AliyunSettings(ProviderSettings):
    """Alibaba Cloud Intelligent Speech Interaction (NLS)."""

    region: str = Field("cn-shanghai", description=f"{', '.join(REGIONS)}; any other with both URLs given.")
    network: Literal["public", "internal"] = Field("public", description="`internal`: the region's VPC gateway (plain http, port 80).")
    appkey: SecretLine = Field(description="The project's app key.")
    access_key_id: SecretLine | None = Field(None, description="Makes tokens, with access_key_secret.")
    access_key_secret: SecretLine | None = None
    security_token: SecretLine | None = Field(None, description="With temporary (STS) keys.")
    token: SecretLine | None = Field(None, description="A ready token in place of keys; used until the gateway refuses it.")
    transport: Literal["rest", "websocket", "sdk"] = Field(
        "rest", description="`websocket`: words and live audio too; `sdk`: the vendor's client (extra aliyun-sdk)."
    )
    gateway_url: str | None = Field(None, description="http(s)://HOST[:PORT]; the region's own when left out.")
    token_url: str | None = Field(None, description="http(s)://HOST[:PORT]; the region's own when left out.")
    ca_file: CaFile | None = Field(None, description="PEM file of a private certification authority.")
    pool: PoolSettings = PoolSettings()
    sample_rate: Literal[16000, 8000] = Field(16000, description="Hz of the app key's model.")
    language: str | None = Field("zh-CN", description="BCP 47 tag of the app key's model; null: not known.")
    punctuation: bool = Field(True, description="Punctuation, where a caller does not say.")
    itn: bool = Field(True, description="Numbers as digits, where a caller does not say.")
    disfluency: bool = Field(False, description="Leave filler words out.")
    voice_detection: bool = Field(False, description="rest, websocket: let the vendor drop what it takes for noise.")
    vocabulary_id: str | None = Field(None, description="Hot-word list, where a caller names none.")
    customization_id: str | None = Field(None, description="Custom model.")
    max_sentence_silence: Annotated[int, Field(ge=200, le=6000)] | None = Field(
        None, description="Milliseconds of silence that end a sentence of live audio; none: the vendor's 800."
    )
    long: Literal["segments", "flash"] = Field(
        "segments", description="Audio over 60 s: cut by the proxy, or sent whole to FlashRecognizer (commercial edition)."
    )
    websocket: WebsocketSettings = WebsocketSettings()
    sdk: SdkSettings = SdkSettings()
    truncated: Annotated[
        TruncatedSettings | None,
        BeforeValidator(_off_or_settings, json_schema_input_type=TruncatedSettings | Literal[False, "off"] | None),
    ] = Field(TruncatedSettings(), description="`off`: short texts are answers like any other.")
    token_timeout: Seconds = Field(10.0, gt=0, description="One request for a token.")
    token_reset: Seconds = Field(
        60.0,
        gt=0,
        description="The token service is left alone for this long after three failures in a row, up to it before the first token.",
    )

    @field_validator("appkey", "access_key_id", "access_key_secret", "security_token", "token")
    @classmethod
    def _not_blank(cls, value: SecretLine | None) -> SecretLine | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("is empty; is the environment variable set?")
        return value

    @field_validator("gateway_url", "token_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = URL(value)
        if url.scheme not in ("http", "https") or not url.host or url.path != "/" or url.query_string or url.user:
            raise ValueError("expected http(s)://HOST[:PORT] and nothing after it")
        return str(url.origin())

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        keys = (self.access_key_id, self.access_key_secret)
        if self.token is not None and (any(keys) or self.security_token):
            raise ValueError("token stands in place of access_key_id, access_key_secret and security_token: give one or the other")
        if self.token is None and not all(keys):
            raise ValueError("access_key_id and access_key_secret are needed (or a ready token)")
        return self

    @model_validator(mode="after")
    def _hosts(self) -> Self:
        region = REGIONS.get(self.region)
        if self.gateway_url is None and (region is None or region.gateway_url(self.network) is None):
            raise ValueError(
                f"region {self.region!r} has no known {self.network} gateway; known: {', '.join(REGIONS)}; or give gateway_url"
            )
        if self.token_url is None and self.token is None and region is None:
            raise ValueError(f"region {self.region!r} has no known token service; give token_url")
        return self

    @model_validator(mode="after")
    def _whom_the_sdk_trusts(self, info: ValidationInfo) -> Self:
        told = os.environ.get("WEBSOCKET_CLIENT_CA_BUNDLE")
        if is_here(info) and self.ca_file is not None and self.transport == "sdk" and self.gateway.startswith("https") and not told:
            raise Misplaced(
                "transport sdk takes none: name the file in the environment variable WEBSOCKET_CLIENT_CA_BUNDLE", at=("ca_file",)
            )
        return self

    @property
    def gateway(self) -> str:
        """Base URL of recognition calls."""
        return self.gateway_url or str(REGIONS[self.region].gateway_url(self.network))

    @property
    def token_service(self) -> str:
        """Base URL of CreateToken."""
        return self.token_url or REGIONS[self.region].token_url

    @property
    def token_region(self) -> str:
        """The RegionId that CreateToken is signed with."""
        return REGIONS[self.region].meta if self.region in REGIONS else self.region
