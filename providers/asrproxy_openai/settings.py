"""What a configuration file says about a server with OpenAI's transcription API."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from yarl import URL

from asrproxy.plugin import AudioFormat, CaFile, Capabilities, HeaderName, ProviderSettings, Seconds, SecretLine


class OpenAISettings(ProviderSettings):
    """`type: openai`: OpenAI, Groq, speaches, vLLM, another asrproxy."""

    base_url: str = Field("https://api.openai.com/v1", description="The API's address, as an OpenAI client takes it.")
    path: str = Field("/audio/transcriptions", pattern="^/", description="Of the call, below base_url.")
    api_key: SecretLine | None = Field(None, description="Sent as a bearer token; null: none is sent.")
    model: str = "whisper-1"
    headers: dict[HeaderName, SecretLine] = Field(default_factory=dict, description="Sent with each call; their values are never shown.")
    ca_file: CaFile | None = Field(None, description="A private CA, PEM; null: the system's.")
    response_format: Literal["json", "verbose_json"] = Field(
        "json", description="verbose_json also tells the language; gpt-4o-transcribe does not have it."
    )
    words: bool = Field(
        False, description="The model gives word times (timestamp_granularities[]=word, with verbose_json): whisper-1 does."
    )
    language: str | None = Field(None, description="BCP 47; where the caller names none.")
    prompt: str | None = Field(None, description="Where the caller gives none.")
    temperature: float | None = Field(None, ge=0, le=1, description="Where the caller gives none.")
    languages: frozenset[str] | None = Field(None, description="What the model recognises, BCP 47; null: any.")
    longest: Seconds = Field(600.0, gt=0, description="Of one call. OpenAI takes 25 MB, which is 13 minutes at 16 kHz.")
    sample_rate: int = Field(16_000, ge=8_000, le=48_000, description="Hz, of the audio that is sent.")
    connections: int = Field(100, ge=1, description="Connections to the server at most; a call that finds none waits for one.")
    idle: Seconds = Field(15.0, description="An unused connection is closed after this long; keep it below the server's own limit.")
    connect_timeout: Seconds = Field(5.0, gt=0)

    @field_validator("api_key")
    @classmethod
    def _not_blank(cls, value: SecretLine | None) -> SecretLine | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("is empty; is the environment variable set? Leave the key out where the server asks for none")
        return value

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        url = URL(value)
        if url.scheme not in ("http", "https") or not url.host or url.user or url.query_string or url.fragment:
            raise ValueError("expected http(s)://host[:port][/path]; a key goes into api_key")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _words_have_a_format(self) -> Self:
        if self.words and self.response_format != "verbose_json":
            raise ValueError("words: true goes with response_format: verbose_json, no other answer has word times")
        return self

    @property
    def url(self) -> URL:
        return URL(self.base_url + self.path)

    def capabilities(self) -> Capabilities:
        """What a server so described can do."""
        return Capabilities(
            longest=self.longest,
            formats=(AudioFormat(self.sample_rate),),
            languages=self.languages,
            options=frozenset({"prompt", "temperature"} | ({"words"} if self.words else set())),
        )
