"""What a good file may say, and what it then means."""

from __future__ import annotations

from pathlib import Path

import pytest

from asrproxy.config.load import find, load
from asrproxy.config.models import Configuration
from asrproxy.errors import ConfigError
from tests.config.samples import CloudSettings, LocalSettings, complaints, read, settings_of

LOCAL = "providers: {here: {type: local}}\n"


def cloud(configuration: Configuration, name: str = "c") -> CloudSettings:
    settings = configuration.providers[name].settings
    assert isinstance(settings, CloudSettings)
    return settings


def test_without_a_file_speech_is_recognised_here() -> None:
    configuration = load(None, environ={}, provider_settings=settings_of)
    assert {name: entry.type for name, entry in configuration.providers.items()} == {"local": "local"}
    assert configuration.every_route()["default"].providers == ("local",)
    assert configuration.server.listen == ("127.0.0.1:8790",)


def test_the_contracts_own_example_is_taken_as_it_stands() -> None:
    configuration = read(
        """
server:
  listen: [127.0.0.1:8790]
  ops_listen: 0.0.0.0:8791
  max_body: 200MiB
  max_audio: 4h
  drain: 25s
  tokens: []
providers:
  aliyun:
    type: cloud
    appkey: ${ALIYUN_APPKEY}
    key_id: ${ALIYUN_AK_ID}
    key_secret: ${ALIYUN_AK_SECRET}
    transport: rest                   # rest | websocket
    ca_file: null
    pool: {size: 64, idle: 8s}
  backup:
    type: local
routes:
  default: {providers: [aliyun, backup]}
policy:
  timeout: {base: 60s, per_audio_minute: 30s}
  attempt_timeout: 15s
  retries: {attempts: 3, backoff: {initial: 200ms, factor: 2, max: 5s, jitter: full}, budget: 0.2}
  circuit: {failures: 5, reset: 60s, trials: 1}
  limits: {rate: 150/s, burst: 20, concurrency: 200, queue: 400, queue_timeout: 5s}
  long_audio: {max_segment: 59s, min_silence: 300ms, concurrency: 8}
shared: null
log: {level: info, format: json}
tracing: null
""",
        ALIYUN_APPKEY="a",
        ALIYUN_AK_ID="b",
        ALIYUN_AK_SECRET="c",
    )
    assert configuration.server.max_body == 200 * 2**20
    assert configuration.server.max_audio == 4 * 3600
    assert configuration.policy == read(LOCAL).policy
    assert cloud(configuration, "aliyun").appkey.get_secret_value() == "a"
    assert cloud(configuration, "aliyun").pool.size == 64


def test_a_variable_fills_in_text_numbers_switches_and_units() -> None:
    configuration = read(
        """
server: {page: "${PAGE}", max_body: "${BODY}", audio: {workers: "${WORKERS}"}}
providers: {c: {type: cloud, appkey: "${KEY}", pool: {size: "${SIZE}", idle: "${IDLE:-3s}"}}}
policy: {attempt_timeout: "${SECONDS}", limits: {concurrency: "${AT_ONCE}", rate: "${RATE}"}}
""",
        PAGE="false", BODY="1000", WORKERS="3", KEY="0123", SIZE="9", SECONDS="7", AT_ONCE="12", RATE="60/m",
    )  # fmt: skip
    assert configuration.server.page is False
    assert (configuration.server.max_body, configuration.server.audio.workers) == (1000, 3)
    assert cloud(configuration).appkey.get_secret_value() == "0123"
    assert (cloud(configuration).pool.size, cloud(configuration).pool.idle) == (9, 3.0)
    assert configuration.policy.attempt_timeout == 7
    assert (configuration.policy.limits.concurrency, configuration.policy.limits.rate) == (12, 1.0)


@pytest.mark.parametrize("key", ["0123", "1e5", "null", "true", "{a: b}", "[1]", "*x", "a: b # c", "${HOME}", "$$", "é\n阿"])
def test_what_a_variable_holds_is_never_read_as_yaml(key: str) -> None:
    assert cloud(read("providers: {c: {type: cloud, appkey: '${KEY}'}}", KEY=key)).appkey.get_secret_value() == key


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("x${A}y${B:-b}z", "x1ybz"),
        ("${A:-other}", "1"),
        ("${EMPTY:-other}", "other"),
        ("${UNSET:-a:-b }", "a:-b "),
        ("${EMPTY}x", "x"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("a$b", "a$b"),
        ("$", "$"),
    ],
)
def test_references_in_the_middle_of_text(written: str, becomes: str) -> None:
    settings = read(f"providers: {{l: {{type: local, model: '{written}'}}}}", A="1", EMPTY="").providers["l"].settings
    assert isinstance(settings, LocalSettings)
    assert settings.model == becomes


def test_an_empty_default_alone_leaves_the_key_out() -> None:
    text = "providers: {c: {type: cloud, appkey: a, region: '${REGION:-}', ca_file: '${CA:-}'}}"
    for environ in ({}, {"REGION": "", "CA": ""}):
        settings = cloud(read(text, **environ))
        assert (settings.region, settings.ca_file) == ("north", None)
    assert cloud(read(text, REGION="south")).region == "south"


def test_a_file_gives_its_text_without_the_line_break_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret: *x\n")
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfabc\r\n")
    (tmp_path / "asr.yaml").write_text(
        f"providers: {{c: {{type: cloud, appkey: '${{file:{tmp_path}/key}}', region: north, headers: {{x: '${{file:bom}}'}}}}}}"
    )
    configuration = load(tmp_path / "asr.yaml", environ={}, provider_settings=settings_of)
    assert cloud(configuration).appkey.get_secret_value() == "s3cret: *x"
    assert cloud(configuration).headers["x"].get_secret_value() == "abc"


def test_a_providers_policy_lies_over_the_common_one() -> None:
    configuration = read(
        """
providers:
  plain: {type: local}
  own: {type: local, policy: {retries: {backoff: {max: 9s}}, timeout: 10s, limits: {rate: null}}}
policy:
  attempt_timeout: 4s
  retries: {attempts: 7, backoff: {initial: 1s}}
  timeout: {base: 5s}
"""
    )
    plain, own = configuration.providers["plain"].policy, configuration.providers["own"].policy
    assert plain == configuration.policy
    assert (own.attempt_timeout, own.retries.attempts) == (4, 7)
    assert (own.retries.backoff.initial, own.retries.backoff.max) == (1, 9)
    assert (own.timeout.base, own.timeout.per_audio_minute) == (10, 0)
    assert own.limits.rate is None
    assert plain.limits.rate == 150


def test_without_routes_the_default_is_every_provider_in_the_files_order() -> None:
    routes = read("providers: {z: {type: local}, a: {type: local}}").every_route()
    assert {name: route.providers for name, route in routes.items()} == {"default": ("z", "a"), "z": ("z",), "a": ("a",)}


def test_a_route_of_the_file_wins_over_a_providers_name() -> None:
    routes = read("providers: {a: {type: local}, b: {type: local}}\nroutes: {default: {providers: [a]}, a: {providers: [b]}}").every_route()
    assert routes["a"].providers == ("b",)
    assert routes["b"].providers == ("b",)


def test_anchors_aliases_and_merge_keys() -> None:
    configuration = read(
        """
providers:
  a: &a {type: cloud, appkey: one, pool: &pool {size: 7}}
  b: {<<: *a, appkey: two}
  c: {type: cloud, appkey: three, pool: *pool}
"""
    )
    assert [cloud(configuration, name).pool.size for name in "abc"] == [7, 7, 7]
    assert [cloud(configuration, name).appkey.get_secret_value() for name in "abc"] == ["one", "two", "three"]


def test_plain_values_are_read_by_yaml_1_2() -> None:
    configuration = read(
        "providers: {on: {type: local, model: no}, 012: {type: local, model: 2024-01-01}, 1e3: {type: local, model: 0x1f}}"
    )
    assert list(configuration.providers) == ["on", "012", "1e3"]
    assert [entry.settings.model for entry in configuration.providers.values()] == ["no", "2024-01-01", "0x1f"]  # type: ignore[attr-defined]


def test_where_a_configuration_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(None, {}) is None
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "asrproxy.yaml").write_text(LOCAL)
    assert find(None, {}) == Path("config/asrproxy.yaml")
    assert find(None, {"ASRPROXY_CONFIG": "other.yaml"}) == Path("other.yaml")
    assert find(Path("given.yaml"), {"ASRPROXY_CONFIG": "other.yaml"}) == Path("given.yaml")


def test_a_file_that_is_not_there_is_not_taken_for_none(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=reason):
            load(path, environ={}, provider_settings=settings_of)
    (tmp_path / "latin").write_bytes(b"a: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin", environ={}, provider_settings=settings_of)


def test_an_empty_file_says_what_it_lacks() -> None:
    assert complaints("") == ["1: providers: is needed"]
    assert complaints("# nothing\n") == ["1: providers: is needed"]
