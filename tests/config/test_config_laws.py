"""Laws of the loader: what is written comes back, and whatever a file holds is either taken or explained, with no secret in the words."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, SecretStr

from asrproxy.config.models import Configuration
from asrproxy.config.schema import schema
from asrproxy.errors import ConfigError
from tests.config.samples import TYPES, read

# No key of ours and no word of a message has three of these in a row.
LITERAL = "=/+/=+//=+"
OUTSIDE = "§§outside§§"
ENVIRON = {"SECRET": OUTSIDE, "NUMBER": "3"}
ADDRESSES = ["127.0.0.1:0", "[::1]:8790", "unix:/x"]

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=8).filter(lambda name: not name.startswith("-"))
texts = st.text(min_size=1, max_size=12).filter(lambda text: not set(text) & set("$§=/+") and text.isprintable())
durations = st.one_of(
    st.floats(0.001, 1e6, allow_nan=False).map(lambda number: round(number, 6)),
    st.tuples(st.integers(1, 9999), st.sampled_from(["ms", "s", "m", "h"])).map(lambda pair: f"{pair[0]}{pair[1]}"),
    st.just("1h30m"),
)
sizes = st.one_of(st.integers(1, 2**40), st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["B", "KiB", "MiB", "GB"])))
rates = st.one_of(st.integers(1, 10_000), st.builds("{}/{}".format, st.integers(1, 999), st.sampled_from(["s", "m", "h"])))
counts = st.integers(1, 20)
secrets = st.sampled_from([LITERAL, "${SECRET}", "a${SECRET}b"])
redis = secrets.map(lambda secret: secret.replace("/", "=")).map("redis://:{}@host:6379/0".format)


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with any of the keys."""
    return st.fixed_dictionaries({}, optional=keys)


policies = some(
    timeout=st.one_of(durations, some(base=durations, per_audio_minute=durations)),
    attempt_timeout=durations,
    retries=some(attempts=counts, backoff=some(factor=st.floats(1, 9), max=st.just("2h"), jitter=st.sampled_from(["full", "none"]))),
    circuit=some(failures=counts, reset=durations, trials=counts),
    limits=some(rate=st.one_of(st.none(), rates), burst=counts, concurrency=st.one_of(counts, st.just("auto")), queue_timeout=durations),
    long_audio=some(concurrency=counts, recheck=st.booleans(), remember=some(ttl=durations, folder=st.one_of(st.none(), st.just("/x")))),
)
local = st.fixed_dictionaries({"type": st.just("local")}, optional={"model": texts, "threads": counts, "policy": policies})
cloud = st.fixed_dictionaries(
    {"type": st.just("cloud"), "appkey": secrets},
    optional={
        "region": st.sampled_from(["north", "south"]),
        "headers": st.dictionaries(names, secrets, max_size=2),
        "transport": st.sampled_from(["rest", "websocket"]),
        "ca_file": st.one_of(st.none(), st.just("/ca.pem")),
        "pool": some(size=st.one_of(counts, st.just("${NUMBER}")), idle=durations),
        "policy": policies,
    },
)


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """A good file as a tree."""
    providers = draw(st.dictionaries(names, st.one_of(local, cloud), min_size=1, max_size=3))
    tree: dict[str, Any] = {"providers": providers}
    order = st.lists(st.sampled_from(sorted(providers)), min_size=1, max_size=3)
    hedge = st.one_of(st.none(), some(after=st.one_of(durations, st.just("p90"))))
    route = st.fixed_dictionaries({"providers": order}, optional={"hedge": hedge})
    others = some(
        server=some(
            listen=st.one_of(st.just("unix:/run/x"), st.lists(st.sampled_from(ADDRESSES), min_size=1, unique=True)),
            ops_listen=st.just([]), max_body=sizes, drain=durations, tokens=st.lists(secrets, max_size=2), page=st.booleans(),
            audio=some(workers=counts, memory=sizes),
        ),
        policy=policies,
        shared=st.one_of(st.none(), st.fixed_dictionaries({"redis": redis}, optional={"prefix": texts, "secret": secrets})),
        log=some(level=st.sampled_from(["debug", "info"]), transcripts=st.booleans()),
        tracing=st.one_of(st.none(), st.fixed_dictionaries({"otlp": st.just("http://x")}, optional={"sample": st.floats(0, 1)})),
        routes=st.fixed_dictionaries({"default": route}, optional={"other": route}),
    )  # fmt: skip
    return tree | draw(others)


def written(value: Any) -> Any:
    """Settings as a tree that a file could hold: bare numbers for units, secrets in the clear."""
    match value:
        case SecretStr():
            return value.get_secret_value().replace("$", "$$")
        case BaseModel():
            return {name: written(getattr(value, name)) for name in type(value).model_fields}
        case dict():
            return {name: written(each) for name, each in value.items()}
        case list() | tuple() | frozenset():
            return [written(each) for each in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return str(value).replace("$", "$$")


def as_file(configuration: Configuration) -> Any:
    tree = written(configuration)
    for entry in tree["providers"].values():
        entry.update(entry.pop("settings"))
    return tree


@given(files())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_comes_back(tree: dict[str, Any]) -> None:
    first = read(yaml.safe_dump(tree, allow_unicode=True), **ENVIRON)
    again = read(yaml.safe_dump(as_file(first), allow_unicode=True))
    assert again == first
    assert as_file(again) == as_file(first)


VALIDATOR = Draft202012Validator(schema(TYPES))


@given(files())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_file_that_is_taken_is_good_by_the_schema_before_and_after_it_is_filled_in(tree: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(tree)] == []
    filled = as_file(read(yaml.safe_dump(tree, allow_unicode=True), **ENVIRON))
    assert [error.message for error in VALIDATOR.iter_errors(filled)] == []


def explained(text: str) -> None:
    """It is taken, or every line of the refusal has a place, and none a secret."""
    try:
        read(text, **ENVIRON)
    except ConfigError as error:
        said = str(error)
        assert all(re.match(r"test\.yaml:\d+: \S", line) for line in said.splitlines()), said
        last = text.count("\n") + 1
        assert all(1 <= int(line.split(":")[1]) <= last for line in said.splitlines()), said
        assert "§" not in said
        assert not re.search(r"[=/+]{3}", said), said


wrong = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, secrets, st.just([]), st.just({}), st.lists(secrets, max_size=2),
    st.dictionaries(names, secrets, max_size=2),
    st.sampled_from(["${UNSET}", "${", "${file:/nope}", "${SECRET:-}", "${UNSET:-}", "9" * 400, "1e999", "-1", "5 s"]),
)  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


@st.composite
def spoilt_trees(draw: st.DrawFn) -> Any:
    tree: Any = deepcopy(draw(files()))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(tree)))
        if not path:
            continue
        *way, key = path
        holder = tree
        for each in way:
            holder = holder[each]
        match draw(st.sampled_from(["replace", "remove", "rename", "add"])):
            case "replace":
                holder[key] = deepcopy(draw(wrong))
            case "remove":
                del holder[key]
            case "rename" if isinstance(holder, dict):
                holder[draw(st.one_of(names, st.just(str(key) + "x"), st.just(LITERAL)))] = holder.pop(key)
            case "add" if isinstance(holder[key], dict):
                holder[key][draw(st.one_of(names, st.just(LITERAL)))] = deepcopy(draw(wrong))
            case _:
                pass
    return tree


@given(spoilt_trees())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_spoilt_file_is_taken_or_explained(tree: Any) -> None:
    explained(yaml.safe_dump(tree, allow_unicode=True))


SIGNS = st.sampled_from([
    *"\n \t:-?[]{}&*!|>'\"%@`#,<$=\\~0x", "\n  ", "<<: ", "---", "...", "\x00", "\ud800", "\U0010ffff", "é", "!!int ", "&a ", "*a", "${",
    "}",
])  # fmt: skip


@st.composite
def spoilt_texts(draw: st.DrawFn) -> str:
    text = yaml.safe_dump(draw(files()), allow_unicode=True, default_flow_style=draw(st.booleans()))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        until = min(len(text), at + draw(st.integers(0, 6)))
        text = text[:at] + draw(st.one_of(SIGNS, st.just(""))) + text[until:]
    return text


@given(spoilt_texts())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("providers: {a: {type: local, threads: 00000000000000000000000000000000000000000001}}")
@example("server: {max_body: 99999999999999999999999999999999TiB}\nproviders: {a: {type: local}}")
@example('"\\UFFFFFFFF"')
def test_a_spoilt_text_is_taken_or_explained(text: str) -> None:
    explained(text)
