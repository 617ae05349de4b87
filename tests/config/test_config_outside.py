"""A setting that comes from the environment means what it means in the file, for every plugin that ships."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from asrproxy.config.load import loads
from asrproxy.config.models import Configuration
from asrproxy.config.schema import schema
from asrproxy.discovery import provider_type
from asrproxy.plugin import ProviderSettings
from tests.config.test_config_laws import as_file

NEEDED: dict[str, dict[str, Any]] = {
    "aliyun": {"appkey": "key", "token": "token"},
    "fake": {},
    "local": {"engine": "whisper"},
    "openai": {"base_url": "http://127.0.0.1:1"},
}


def settings_of(name: str) -> type[ProviderSettings]:
    return provider_type(name).Settings


def read(tree: Any, **environ: str) -> Configuration:
    return loads(yaml.safe_dump(tree, allow_unicode=True), "test.yaml", environ=environ, provider_settings=settings_of)


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a file holds a number or a switch."""
    if isinstance(tree, dict | list):
        for key, each in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(each, (*path, key))
    elif isinstance(tree, bool | int | float):
        yield path


def with_value(tree: Any, path: tuple[Any, ...], value: object) -> Any:
    changed = deepcopy(tree)
    place = changed
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize("kind", NEEDED)
def test_every_number_and_switch_may_come_from_the_environment(kind: str) -> None:
    whole = as_file(read({"providers": {"p": {"type": kind, **NEEDED[kind]}}, "tracing": {"otlp": "http://127.0.0.1:1"}}))
    expected = read(whole)
    paths = list(leaves(whole))
    assert len(paths) > 50
    for path in paths:
        value = whole
        for part in path:
            value = value[part]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        assert read(with_value(whole, path, "${VALUE}"), VALUE=text) == expected, f"{path} from {text!r}"


@pytest.mark.parametrize(
    ("key", "value", "text"), [("sample_rate", 8000, "8000"), ("truncated", False, "off"), ("truncated", False, "false")]
)
def test_a_choice_may_too(key: str, value: object, text: str) -> None:
    tree = {"providers": {"p": {"type": "aliyun", **NEEDED["aliyun"], key: value}}}
    assert read(with_value(tree, ("providers", "p", key), "${VALUE}"), VALUE=text) == read(tree)


@pytest.mark.parametrize("written", ["off", "'off'", "null", "{min_seconds: 5s}", "'${T:-off}'"])
def test_the_schema_takes_what_the_loader_takes(written: str) -> None:
    text = f"providers: {{p: {{type: aliyun, appkey: key, token: token, truncated: {written}}}}}"
    loads(text, "test.yaml", environ={}, provider_settings=settings_of)
    assert Draft202012Validator(schema({"aliyun": settings_of("aliyun")})).is_valid(yaml.safe_load(text))


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    text = "providers: {p: {type: aliyun, appkey: key, token: token, truncated: on}}"
    assert not Draft202012Validator(schema({"aliyun": settings_of("aliyun")})).is_valid(yaml.safe_load(text))
