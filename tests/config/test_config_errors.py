"""What is said about a file that is not good: everything at once, each with its line, its key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.samples import complaints, read

DURATION = "expected a duration such as 250ms, 5s, 2m or 1h"
BRACES = "expected ',' or '}', but got '{'; between braces a ${NAME} goes into quotes"
GOOD = "providers: {l: {type: local}}\n"


def test_everything_that_is_wrong_is_said_at_once_in_the_files_order() -> None:
    assert complaints(
        """
server:
  max_bdy: 3MiB
  drain: 5 parsecs
  listen: [127.0.0.1:8790, 127.0.0.1:99999]
  tokens: ["${TOKEN}"]
  page: maybe
providers:
  ali:
    type: cloud
    appkey: 0.5
    key_idd: x
    transport: pigeon
    pool: {size: 0, idle: 1x}
    policy:
      retries: {attempts: many}
      circuit: {failurs: 1}
  other: {type: clod}
  third:
  fourth: {}
policy:
  limits: {concurrency: few}
log: {level: loud}
log: {level: info}
"""
    ) == [
        "3: server.max_bdy: unknown key; did you mean max_body?",
        "4: server.drain: expected a duration such as 250ms, 5s, 2m or 1h",
        "5: server.listen[1]: expected HOST:PORT (port 0 to 65535) or unix:PATH",
        "6: server.tokens[0]: the environment variable TOKEN is not set (${TOKEN:-default} gives a default)",
        "7: server.page: expected true or false",
        "11: providers.ali.appkey: expected text; a number that is meant as text goes into quotes",
        "12: providers.ali.key_idd: unknown key; did you mean key_id?",
        "13: providers.ali.transport: expected 'rest' or 'websocket'",
        "14: providers.ali.pool.size: expected a value of at least 1",
        "14: providers.ali.pool.idle: expected a duration such as 250ms, 5s, 2m or 1h",
        "16: providers.ali.policy.retries.attempts: expected a whole number",
        "17: providers.ali.policy.circuit.failurs: unknown key; did you mean failures?",
        "18: providers.other.type: no provider type 'clod'; installed: cloud, local, tape",
        "19: providers.third: expected a mapping with `type` and the provider's settings",
        "20: providers.fourth.type: is needed",
        "22: policy.limits.concurrency: expected a whole number, or 'auto'",
        "23: log.level: expected 'debug', 'info', 'warning' or 'error'",
        "24: log: is given twice, first on line 23",
    ]


def test_an_unknown_key_that_is_near_to_none_lists_the_known_ones() -> None:
    assert complaints("providers: {l: {type: local, zzz: 1}}") == ["1: providers.l.zzz: unknown key; known are model, threads"]


def test_a_name_that_would_not_do_in_an_address_or_a_metric() -> None:
    name = "expected a name: letters, digits, underscores, dots and hyphens"
    text = "providers:\n  a/b: {type: local}\nroutes:\n  default: {providers: [c]}\n  'x y': {providers: ['d:']}\n"
    assert complaints(text) == [f"2: providers.…: {name}", f"5: routes.x y: {name}", f"5: routes.x y.providers[0]: {name}"]


def test_a_key_that_is_needed_is_missed_where_it_should_be() -> None:
    assert complaints("providers:\n  l: {type: local}\n  c:\n    type: cloud\n") == ["3: providers.c.appkey: is needed"]


@pytest.mark.parametrize(
    ("routes", "complaint"),
    [
        ("{default: {providers: [l, gone]}}", "2: routes.default.providers[1]: no provider 'gone'; the providers are l"),
        ("{default: {providers: []}}", "2: routes.default.providers: is empty; expected at least one"),
        ("{default: {}}", "2: routes.default.providers: is needed"),
        ("{other: {providers: [l]}}", "2: routes: a route 'default' is needed: it answers the requests that name none"),
        ("[l]", "2: routes: expected a mapping"),
        ("", "2: routes: expected a mapping; nothing is written here"),
        ("{default: {providers: [l], hedge: {after: p96}}}", f"2: routes.default.hedge.after: {DURATION}, or 'p50', 'p90', 'p95' or 'p99'"),
    ],
)  # fmt: skip
def test_routes(routes: str, complaint: str) -> None:
    assert complaints(f"{GOOD}routes: {routes}") == [complaint]


@pytest.mark.parametrize(
    ("server", "complaint"),
    [
        ("{listen: []}", "server.listen: expected at least one address"),
        ("{listen: 8790}", "server.listen: expected a list"),
        ('{listen: "8790"}', "server.listen: expected HOST:PORT (port 0 to 65535) or unix:PATH"),
        ('{listen: "unix:"}', "server.listen: expected HOST:PORT (port 0 to 65535) or unix:PATH"),
        ('{tokens: [" "]}', "server.tokens[0]: is empty, and would let in whoever sends no token"),
        ("{max_body: 1.5}", "server.max_body: expected a size such as 512KiB, 10MiB or 1GiB"),
        ("{max_body: -1}", "server.max_body: expected a value above 0"),
        ("{drain: .inf}", "server.drain: expected a duration such as 250ms, 5s, 2m or 1h"),
        ("{audio: {workers: 65}}", "server.audio.workers: expected a value of at most 64"),
        ("{audio: {workers: 1.5}}", "server.audio.workers: expected a whole number"),
        ("{audio: 7}", "server.audio: expected a mapping"),
        ("7", "server: expected a mapping"),
    ],
)
def test_the_server(server: str, complaint: str) -> None:
    assert complaints(f"{GOOD}server: {server}") == [f"2: {complaint}"]


def test_a_relation_that_a_providers_policy_breaks_is_shown_there() -> None:
    text = """
providers:
  l:
    type: local
    policy:
      retries: {backoff: {initial: 10s}}
policy:
  retries: {backoff: {max: 1s}}
"""
    assert complaints(text) == ["6: providers.l.policy.retries.backoff: max is below initial"]


def test_a_mistake_in_the_common_policy_is_said_once() -> None:
    text = "providers: {a: {type: local, policy: {attempt_timeout: 1s}}, b: {type: local}}\npolicy: {circuit: {failures: 0}}"
    assert complaints(text) == ["2: policy.circuit.failures: expected a value of at least 1"]


def test_the_providers_are_checked_under_a_broken_common_policy() -> None:
    text = "providers: {a: {type: local, threads: 0, policy: 7}}\npolicy: [1]"
    assert complaints(text) == [
        "1: providers.a.policy: expected a mapping with keys of `policy`",
        "1: providers.a.threads: expected a value of at least 1",
        "2: policy: expected a mapping",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1", "1: not YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "1: not YAML: mapping values are not allowed here"),
        ("\ta: 1", "1: not YAML: while scanning for the next token, found character '\\t' that cannot start any token"),
        ("x: 1\npool: {size: ${N}}", f"2: not YAML: while parsing a flow mapping, {BRACES}"),
        ("a: 1\nb: *x", "2: an alias (*name) to no anchor (&name): text that begins with * goes into quotes"),
        ("a: &x [*x]", "1: an alias inside of what it stands for"),
        ("a: !secret 1", "1: a YAML tag (!name), which has no meaning here: text that begins with ! goes into quotes"),
        ("a: !!python/object:os.system 1", "1: a YAML tag (!name), which has no meaning here: text that begins with ! goes into quotes"),
        ("? [a]\n: 1", "1: a list or mapping as a key"),
        ("--- {}\n--- {}", "2: a second document; a configuration is one"),
        ("<<: 1", "1: << takes an alias of a mapping, or a list of them"),
        ("a: \x07", "1: a control character, which YAML does not allow"),
        ('a: "\\UFFFFFFFF"', "1: not YAML: an escape or a version with a number out of range"),
        ('a: "\\uD800"', "1: half of a surrogate pair, which is no character"),
        ("- 1", "1: expected a mapping (server, providers, routes, policy, …)"),
        ("[" * 1000, "1: more than 40 levels deep"),
    ],
)  # fmt: skip
def test_what_is_not_yaml_or_has_no_use_here(text: str, complaint: str) -> None:
    assert complaints(text) == [complaint]


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "more than 20000 values" in complaints(bomb)[0]
    merged = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12))
    assert complaints(merged)


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("${NOPE}", "the environment variable NOPE is not set (${NOPE:-default} gives a default)"),
        ("${a b}", "expected ${NAME}, ${NAME:-default} or ${file:/path}; a dollar sign itself is $$"),
        ("${}", "expected ${NAME}, ${NAME:-default} or ${file:/path}; a dollar sign itself is $$"),
        ("x${NAME", "a ${ with no } after it; a dollar sign itself is $$"),
        ("${A:-${B}}", "the default of ${A} holds another ${…}: a default is plain text"),
        ("${file:}", "expected ${file:/path}"),
        ("${file:/no/such/file}", "/no/such/file cannot be read: No such file or directory"),
        ("${file:/dev/zero}", "/dev/zero is not a regular file"),
        ("${file:/}", "/ is not a regular file"),
    ],
)
def test_a_reference_that_leads_nowhere(reference: str, complaint: str) -> None:
    assert complaints(f"providers:\n  l:\n    type: local\n    model: '{reference}'\n") == [f"4: providers.l.model: {complaint}"]


def test_a_file_that_is_no_setting(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "big").write_bytes(b"x" * (2**20 + 1))
    text = "providers:\n  l: {type: local, model: '${file:binary}'}\n  k: {type: local, model: '${file:big}'}\n"
    assert complaints(text, tmp_path) == [
        f"2: providers.l.model: {tmp_path}/binary is not UTF-8 text",
        f"3: providers.k.model: {tmp_path}/big is larger than 1048576 bytes",
    ]


def test_what_follows_from_a_missing_variable_is_not_said_too() -> None:
    text = "providers:\n  c: {type: cloud, appkey: '${KEY}', region: '${REGION}', pool: {size: '${SIZE}'}}\n  x: {type: '${TYPE}'}\n"
    assert [line.split(":")[1].strip() for line in complaints(text)] == [
        "providers.c.appkey", "providers.c.region", "providers.c.pool.size", "providers.x.type",
    ]  # fmt: skip


def test_a_good_file_has_no_complaints() -> None:
    assert read(GOOD).providers


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("policy: {retries: {attempts: true}}", "policy.retries.attempts: expected a whole number"),
        ("policy: {retries: {budget: false}}", "policy.retries.budget: expected a number"),
        ("policy: {retries: {backoff: {factor: true}}}", "policy.retries.backoff.factor: expected a number"),
        ("policy: {circuit: {trials: true}}", "policy.circuit.trials: expected a whole number"),
        ("policy: {limits: {concurrency: true}}", "policy.limits.concurrency: expected a whole number"),
        ("routes: {default: {providers: [l], budget: {day: true}}}", "routes.default.budget.day: expected a number"),
    ],
)
def test_a_switch_is_no_number(key: str, expected: str) -> None:
    assert complaints(f"{GOOD}{key}\n") == [f"2: {expected}"]


@pytest.mark.parametrize("address", ["http://somebody:geheim@host", "localhost:6379", "unix:relative"])
def test_an_address_that_is_not_redis_is_said_with_its_line_and_without_itself(address: str) -> None:
    assert complaints(f"{GOOD}shared: {{redis: '{address}'}}\n") == ["2: shared.redis: expected redis://HOST:PORT/DB or rediss://…"]


@pytest.mark.parametrize(("key", "nothing"), [("max_body", "0"), ("max_audio", "0s")])
def test_a_limit_under_which_nothing_could_be_recognised_is_refused(key: str, nothing: str) -> None:
    assert complaints(f"{GOOD}server: {{{key}: {nothing}}}\n") == [f"2: server.{key}: expected a value above 0"]


def test_a_price_is_known_though_its_provider_has_another_mistake() -> None:
    text = "providers: {c: {type: cloud, price: {per_call: 1, currency: EUR}}}\nroutes: {default: {providers: [c], budget: {day: 1}}}"
    assert complaints(text) == ["1: providers.c.appkey: is needed"]
