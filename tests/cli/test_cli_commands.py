"""`asrproxy` and its commands that need no sidecar: check, providers, schema, emulate, and serve's refusals."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.cli.commands import COMMANDS
from tests.cli.running import Terminal

ROOT = Path(__file__).resolve().parents[2]
FAKE = "server: {listen: '127.0.0.1:0', ops_listen: []}\nproviders: {tones: {type: fake}}\n"


def test_help_names_every_command_and_version_the_version(terminal: Terminal) -> None:
    shown = terminal.run("--help")
    assert shown.status == 0
    for command in COMMANDS:
        assert f"  {command} " in shown.out
    assert terminal.run("--version").out.startswith("asrproxy 0.")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["recognize", "--format", "xml", "a.wav"], "'xml' is not one of 'text'"),
        (["recognize"], "name FILEs"),
        (["tail", "--nope"], "--nope"),
        (["tail", "--lines", "501"], "500"),
        (["serve", "-c"], "-c"),
        (["nosuch"], "nosuch"),
        (["schema", "more"], "more"),
    ],
)
def test_a_mistake_in_the_command_line_is_told_in_one_line(terminal: Terminal, words: list[str], named: str) -> None:
    told = terminal.run(*words)
    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
    assert told.err.startswith("asrproxy")
    assert named in told.err
    assert "--help" in told.err


def test_check_shows_what_a_file_amounts_to(terminal: Terminal) -> None:
    terminal.write("asr.yaml", "server: {listen: 'unix:x', ops_listen: []}\nproviders: {a: {type: fake}, b: {type: openai}}\n")
    shown = terminal.run("check", "-c", "asr.yaml")
    assert shown.status == 0
    assert shown.err == ""
    assert "asr.yaml: good" in shown.out
    for words in (["api", "unix:x"], ["ops", "none"], ["a", "fake"], ["b", "openai"], ["default", "a,", "b"]):
        assert any(line.split()[: len(words)] == words for line in shown.out.splitlines()), words


def test_check_warns_of_an_address_that_everybody_reaches(terminal: Terminal) -> None:
    terminal.write("asr.yaml", "server: {listen: '0.0.0.0:8790'}\nproviders: {a: {type: fake}}\n")
    shown = terminal.run("check", "-c", "asr.yaml")
    assert (shown.status, "0.0.0.0:8790 is reached from other machines" in shown.err) == (0, True)


@pytest.mark.parametrize("command", ["check", "serve"])
def test_everything_wrong_with_a_file_is_said_with_status_2_and_no_stack(terminal: Terminal, command: str) -> None:
    account = "{type: aliyun, appkey: '${KEY}', access_key_id: i, access_key_secret: geheim}"
    terminal.write("asr.yaml", f"server: {{drian: 5s}}\nproviders:\n  a: {account}\n  b: {{type: clod}}\n")
    said = terminal.run(command, "-c", "asr.yaml")
    assert said.status == 2
    assert said.out == ""
    assert said.err.splitlines() == [
        "asr.yaml:1: server.drian: unknown key; did you mean drain?",
        "asr.yaml:3: providers.a.appkey: the environment variable KEY is not set (${KEY:-default} gives a default)",
        "asr.yaml:4: providers.b.type: no provider type 'clod'; installed: aliyun, broken, fake, local, openai, replay",
    ]


def test_the_file_is_looked_for_in_the_contracts_order(terminal: Terminal) -> None:
    assert "the built-in defaults: good" in terminal.run("check").out
    terminal.write("config/asrproxy.yaml", FAKE)
    assert "config/asrproxy.yaml: good" in terminal.run("check").out
    terminal.write("other.yaml", FAKE)
    assert "other.yaml: good" in terminal.run("check", ASRPROXY_CONFIG="other.yaml").out
    assert (
        terminal.run("check", ASRPROXY_CONFIG="missing.yaml").err
        == "missing.yaml: the configuration cannot be read: No such file or directory\n"
    )


def test_check_live_makes_a_call_to_each_provider(terminal: Terminal) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        terminal.write(
            "asr.yaml",
            f"server: {{listen: '127.0.0.1:0', ops_listen: [], tokens: [t]}}\nproviders:\n  tones: {{type: fake}}\n"
            f"  gone: {{type: openai, base_url: 'http://127.0.0.1:{port}', policy: {{retries: {{attempts: 1}}}}}}\n"
            "routes: {default: {providers: [tones]}, gone: {providers: [tones]}}\n",
        )
        shown = terminal.run("check", "-c", "asr.yaml", "--live")
    rows = [line.split() for line in shown.out.splitlines()]
    assert shown.status == 1, shown
    assert any(row[:2] == ["tones", "yes"] for row in rows), shown
    assert any(row[:2] == ["gone", "no"] for row in rows), shown
    terminal.write("asr.yaml", FAKE)
    assert terminal.run("check", "-c", "asr.yaml", "--live").status == 0


def test_providers_lists_what_is_installed_and_what_does_not_load(terminal: Terminal) -> None:
    shown = terminal.run("providers")
    assert [line.split()[0] for line in shown.out.splitlines()[1:]] == ["aliyun", "broken", "fake", "local", "openai", "replay"]
    assert "No module named 'a_module_that_is_not_there'" in shown.out
    found = {each["type"]: each for each in json.loads(terminal.run("providers", "--json").out)}
    assert found["fake"]["capabilities"]["longest"] == 60
    assert "16000" in json.dumps(found["aliyun"]["capabilities"]["sample_rates"])
    assert set(found["broken"]) == {"type", "error"}


def test_the_schema_holds_the_examples_and_refuses_misspelt_keys(terminal: Terminal) -> None:
    shown = terminal.run("schema")
    assert "left out: provider type 'broken'" in shown.err
    document = json.loads(shown.out)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(document)
    validator = Draft202012Validator(document)
    for example in sorted((ROOT / "config").glob("*.yaml")):
        assert list(validator.iter_errors(yaml.safe_load(example.read_text()))) == [], example.name
    assert not validator.is_valid({"providers": {"a": {"type": "aliyun", "apkey": "x"}}})


EXAMPLES = sorted(path.name for path in (ROOT / "config").glob("*.yaml"))
VARIABLES = {"ALIYUN_APPKEY": "a", "ALIYUN_AK_ID": "b", "ALIYUN_AK_SECRET": "c", "OPENAI_API_KEY": "d"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_passes_the_check(terminal: Terminal, name: str) -> None:
    shown = terminal.run("check", "-c", str(ROOT / "config" / name), **VARIABLES)
    assert (shown.status, shown.err) == (0, "")


def test_emulate_passes_on_everything_after_the_name(terminal: Terminal) -> None:
    shown = terminal.run("emulate", "parrot", "--port", "0", "--help")
    assert (shown.status, shown.out) == (3, "emulating with ['--port', '0', '--help']\n")
    assert terminal.run("emulate", "parrot").status == 0


def test_emulate_lists_what_there_is(terminal: Terminal) -> None:
    for arguments, status in ((["--help"], 0), ([], 2), (["nobody"], 2)):
        said = terminal.run("emulate", *arguments)
        assert said.status == status
        assert "installed: aliyun, parrot" in said.out + said.err


def test_a_port_in_use_is_one_clear_line(terminal: Terminal) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        terminal.write("asr.yaml", f"server: {{listen: '127.0.0.1:{port}', ops_listen: []}}\nproviders: {{tones: {{type: fake}}}}\n")
        said = terminal.run("serve", "-c", "asr.yaml")
    assert said.status == 1
    last = said.err.splitlines()[-1]
    assert f"server.listen: cannot listen on 127.0.0.1:{port}" in last
    assert "Traceback" not in said.err
