"""A provider inside another one's settings is checked as carefully as one that stands by itself."""

from __future__ import annotations

import pytest

from asrproxy.plugin import SecretStr, Wrapped
from tests.config.samples import CloudSettings, TapeSettings, complaints, read

GOOD = """
providers:
  t:
    type: tape
    folder: tapes
    policy: {attempt_timeout: 3s}
    provider: {type: cloud, appkey: '${KEY}', pool: {idle: 1m}}
"""


def test_its_settings_are_those_of_its_own_type() -> None:
    configuration = read(GOOD, KEY="hush")
    settings = configuration.providers["t"].settings
    assert isinstance(settings, TapeSettings)
    assert settings.provider is not None
    assert settings.provider.type == "cloud"
    inner = settings.provider.settings
    assert isinstance(inner, CloudSettings)
    assert (inner.pool.idle, inner.appkey) == (60.0, SecretStr("hush"))
    assert "hush" not in repr(configuration)
    assert "hush" not in configuration.model_dump_json()
    assert configuration == read(GOOD, KEY="hush") != read(GOOD, KEY="other")


def test_it_may_be_left_out_and_may_itself_hold_one() -> None:
    assert read("providers: {t: {type: tape, folder: tapes, provider: null}}").providers["t"].settings == TapeSettings(folder="tapes")
    twice = read("providers: {t: {type: tape, folder: a, provider: {type: tape, folder: b, provider: {type: local}}}}")
    outer = twice.providers["t"].settings
    assert isinstance(outer, TapeSettings)
    assert isinstance(outer.provider, Wrapped)
    assert isinstance(outer.provider.settings, TapeSettings)
    assert outer.provider.settings.provider == Wrapped(type="local", settings=read("providers: {l: {type: local}}").providers["l"].settings)


@pytest.mark.parametrize(
    ("inside", "complaint"),
    [
        ("5", "providers.t.provider: expected a mapping with `type` and that provider's settings"),
        ("{}", "providers.t.provider.type: is needed"),
        ("{type: clod}", "providers.t.provider.type: no provider type 'clod'; installed: cloud, local, tape"),
        ("{type: local, threads: many}", "providers.t.provider.threads: expected a whole number"),
        ("{type: local, policy: {}}", "providers.t.provider.policy: unknown key"),
        ("{type: cloud, appkey: x, pool: {size: 0}}", "providers.t.provider.pool.size: "),
        ("{type: cloud, appkey: x, region: '${REGION}'}", "providers.t.provider.region: region '${REGION}' is not known"),
    ],
)
def test_a_mistake_in_it_is_shown_with_its_line_and_key(inside: str, complaint: str) -> None:
    said = complaints(f"providers:\n  t:\n    type: tape\n    folder: tapes\n    provider: {inside}\n", REGION="from outside")
    assert len(said) == 1
    assert said[0].startswith(f"5: {complaint}")


def test_what_is_wrong_round_it_is_said_as_well() -> None:
    said = complaints("providers:\n  t:\n    type: tape\n    provider:\n      type: local\n      thread: 3\n    speed: 3\n")
    assert [each.split(": ")[:2] for each in said] == [
        ["2", "providers.t.folder"], ["6", "providers.t.provider.thread"], ["7", "providers.t.speed"],
    ]  # fmt: skip


def test_its_secrets_are_not_quoted() -> None:
    (said,) = complaints("providers: {t: {type: tape, folder: tapes, provider: {type: cloud, appkey: x, key_id: sesame}}}")
    assert "sesame" not in said
    assert "key_id and key_secret go together" in said
