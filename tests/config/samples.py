"""Plugins with every kind of setting, and a loader as the command line builds it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import pytest
from pydantic import Field, field_validator, model_validator

from asrproxy.config.load import loads
from asrproxy.config.models import Configuration
from asrproxy.plugin import ConfigError, ProviderSettings, Seconds, SecretStr, Section, Wrapped


class PoolSettings(Section):
    """Of the plugin's own."""

    size: int = Field(4, ge=1)
    idle: Seconds = 8.0


class CloudSettings(ProviderSettings):
    """A vendor with credentials."""

    appkey: SecretStr
    key_id: SecretStr | None = None
    key_secret: SecretStr | None = None
    region: str = "north"
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    transport: Literal["rest", "websocket"] = "rest"
    ca_file: Path | None = None
    pool: PoolSettings = PoolSettings()

    @field_validator("region")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("north", "south"):
            raise ValueError(f"region {value!r} is not known; known are north and south")
        return value

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.key_id is None) != (self.key_secret is None):
            given = self.key_id or self.key_secret
            assert given is not None
            # A plugin's author who forgot what may be said.
            raise ValueError(f"key_id and key_secret go together, only {given.get_secret_value()} was given")
        return self


class LocalSettings(ProviderSettings):
    """A vendor that needs nothing."""

    model: str = "small"
    threads: int = Field(2, ge=1)


class TapeSettings(ProviderSettings):
    """A provider round another one."""

    folder: Path
    provider: Wrapped | None = None


TYPES: dict[str, type[ProviderSettings]] = {"cloud": CloudSettings, "local": LocalSettings, "tape": TapeSettings}


def settings_of(name: str) -> type[ProviderSettings]:
    if name not in TYPES:
        raise ConfigError(f"no provider type {name!r}; installed: {', '.join(TYPES)}")
    return TYPES[name]


def read(text: str, folder: Path = Path(), **environ: str) -> Configuration:
    return loads(text, "test.yaml", environ=environ, provider_settings=settings_of, folder=folder)


def complaints(text: str, folder: Path = Path(), **environ: str) -> list[str]:
    """What is said about a file that is not good, line by line, without its name."""
    with pytest.raises(ConfigError) as caught:
        read(text, folder, **environ)
    lines = str(caught.value).splitlines()
    assert all(line.startswith("test.yaml:") for line in lines)
    return [line.removeprefix("test.yaml:") for line in lines]
