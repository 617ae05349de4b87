"""`asrproxy schema` knows what people may write."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from asrproxy.config.schema import schema
from tests.config.samples import TYPES


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    document = schema(TYPES)
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def valid(validator: Draft202012Validator, text: str) -> bool:
    value: Any = yaml.safe_load(text)
    return validator.is_valid(value)


@pytest.mark.parametrize(
    "text",
    [
        "providers: {l: {type: local}}",
        "providers: {l: {type: local, threads: 4, policy: {attempt_timeout: 3s, limits: {rate: 100/m}}}}",
        "providers: {c: {type: cloud, appkey: x, transport: rest, pool: {size: 3, idle: 1h30m}}}",
        "providers: {c: {type: cloud, appkey: '${KEY}', transport: '${T:-rest}', pool: {size: '${SIZE}', idle: '${IDLE}'}}}",
        "providers: {l: {type: '${TYPE}'}}",
        "{providers: {l: {type: local}}, server: {listen: 'unix:/x', max_body: 3MiB, page: '${PAGE}'}}",
        "{providers: {l: {type: local}}, server: {listen: ['127.0.0.1:1', 'unix:/x'], ops_listen: []}}",
        "{providers: {l: {type: local}}, policy: {timeout: 30s, limits: {rate: null, concurrency: auto}}}",
        "{providers: {l: {type: local}}, policy: {timeout: {base: 1s}}, shared: null, tracing: {otlp: 'http://x'}}",
        "{providers: {l: {type: local}}, routes: {default: {providers: [l], hedge: {after: p95}}}}",
        "providers: {t: {type: tape, folder: tapes}}",
        "providers: {t: {type: tape, folder: tapes, policy: {}, provider: {type: cloud, appkey: x, pool: {size: '${SIZE}'}}}}",
    ],
)
def test_good_files(validator: Draft202012Validator, text: str) -> None:
    assert valid(validator, text)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "providers: {}",
        "providers: {l: {}}",
        "providers: {l: {type: other}}",
        "providers: {l: {type: local, appkey: x}}",
        "providers: {c: {type: cloud}}",
        "providers: {c: {type: cloud, appkey: x, pool: {sizes: 3}}}",
        "providers: {c: {type: cloud, appkey: x, pool: {size: 0}}}",
        "providers: {c: {type: cloud, appkey: x, transport: pigeon}}",
        "{providers: {l: {type: local}}, server: {drain: 5 parsecs}}",
        "{providers: {l: {type: local}}, sever: {}}",
        "providers: {t: {type: tape, folder: tapes, provider: {}}}",
        "providers: {t: {type: tape, folder: tapes, provider: {type: other}}}",
        "providers: {t: {type: tape, folder: tapes, provider: {type: cloud, appkey: x, pool: {sizes: 3}}}}",
        "providers: {t: {type: tape, folder: tapes, provider: {type: local, policy: {}}}}",
        "{providers: {l: {type: local}}, policy: {circuit: {failures: five}}}",
    ],
)
def test_bad_files(validator: Draft202012Validator, text: str) -> None:
    assert not valid(validator, text)


def test_the_settings_of_each_type_are_described_beside_the_cores_keys() -> None:
    document = schema(TYPES)
    assert set(document["$defs"]["cloud"]["properties"]) >= {"type", "policy", "appkey", "pool"}
    assert document["$defs"]["local"]["properties"]["type"]["anyOf"][0]["const"] == "local"
