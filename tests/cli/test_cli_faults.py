"""What `serve` cannot start with, `check` does not call good: both end with status 2 and say the file, the line and the key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.running import Terminal

SERVER = "server: {listen: '127.0.0.1:0', ops_listen: []}\n"
FAKE = "providers: {tones: {type: fake}}\n"
KEYS = "type: aliyun, appkey: app-key, access_key_id: id-of-key, access_key_secret: of-key"
SECRET = "sk-geheim"


def refused(terminal: Terminal, text: str, line: str, **environ: str) -> None:
    """Whatever is asked of it: the file is refused with this line, which may be cut off, and nothing else."""
    terminal.write("asr.yaml", text)
    for command in ("check", "serve"):
        said = terminal.run(command, "-c", "asr.yaml", **environ)
        assert (said.status, said.out) == (2, ""), said
        assert said.err.startswith(f"asr.yaml:{line}"), said.err
        assert (said.err.count("\n"), SECRET in said.err) == (1, False), said.err


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"{SERVER}providers:\n  a: {{{KEYS}, ca_file: FILE}}\n", "3: providers.a.ca_file"),
        (f"{SERVER}providers:\n  a: {{type: openai, ca_file: FILE}}\n", "3: providers.a.ca_file"),
        (f"{SERVER}{FAKE}tracing: {{otlp: 'https://127.0.0.1:1', ca_file: FILE}}\n", "3: tracing.ca_file"),
        (f"{SERVER}{FAKE}shared: {{redis: 'rediss://127.0.0.1:1/0', ca_file: FILE}}\n", "3: shared.ca_file"),
    ],
)
def test_an_authoritys_file_has_to_be_there_and_pem(terminal: Terminal, text: str, key: str) -> None:
    refused(terminal, text.replace("FILE", "missing.pem"), f"{key}: missing.pem cannot be read: No such file or directory")
    terminal.write("junk.pem", "junk")
    refused(terminal, text.replace("FILE", "junk.pem"), f"{key}: junk.pem is not a PEM file of certificates")
    refused(terminal, text.replace("FILE", "'.'"), f"{key}: . is not a regular file")


def test_an_authority_goes_where_it_can_be_used(terminal: Terminal) -> None:
    terminal.write("ca.pem", "")
    refused(terminal, f"{FAKE}shared:\n  redis: redis://127.0.0.1:1/0\n  ca_file: null\n  secret: ''\n", "5: shared.secret: is empty")
    sdk = f"{SERVER}providers:\n  a:\n    {KEYS.replace(', ', f'{chr(10)}    ')}\n    transport: sdk\n    ca_file: FILE\n"
    authority = next(each for each in Path("/etc/ssl/certs").glob("*.pem"))
    refused(terminal, sdk.replace("FILE", str(authority)), "9: providers.a.ca_file: transport sdk takes none")
    refused(terminal, f"{FAKE}shared: {{redis: 'redis://u:{SECRET}@h:port/0'}}\n", "2: shared.redis: expected redis://HOST:PORT/DB")
    redis = f"{FAKE}shared: {{redis: 'redis://127.0.0.1:1/0', ca_file: '{authority}'}}\n"
    refused(terminal, redis, "2: shared.ca_file: goes with rediss://")


def test_recordings_and_scripts_have_to_be_there(terminal: Terminal) -> None:
    refused(terminal, f"{SERVER}providers:\n  a: {{type: replay, folder: none}}\n", "3: providers.a.folder: none holds no recordings")
    terminal.write("script.yaml", "scirpt: []")
    refused(
        terminal, f"{SERVER}providers:\n  a: {{type: fake, script_file: script.yaml}}\n", "3: providers.a.script_file: script.yaml holds no"
    )


def test_who_is_only_recorded_needs_nothing_while_recordings_are_played(terminal: Terminal, recording: bytes) -> None:
    terminal.write("a.wav", recording)
    text = f"{SERVER}providers: {{a: {{type: replay, folder: tapes, mode: MODE, provider: {{TYPE}}}}}}\n"
    terminal.write("asr.yaml", text.replace("MODE", "record").replace("TYPE", "type: fake"))
    assert terminal.run("recognize", "-c", "asr.yaml", "a.wav").status == 0
    terminal.write("asr.yaml", text.replace("MODE", "replay").replace("TYPE", "type: openai, ca_file: missing.pem"))
    assert terminal.run("recognize", "-c", "asr.yaml", "a.wav").out == "天地玄黄\n"


@pytest.mark.parametrize(
    ("engine", "package", "extra"), [("moonshine", "moonshine_voice", "local"), ("whisper", "faster_whisper", "local-whisper")]
)
def test_the_packages_of_a_local_engine_have_to_be_installed(terminal: Terminal, engine: str, package: str, extra: str) -> None:
    terminal.write("home/site/sitecustomize.py", f"import sys\nsys.modules[{package!r}] = None  # as if it were not there\n")
    wrong = f"engine {engine} needs {package}: pip install 'asrproxy[{extra}]'"
    refused(terminal, f"{SERVER}providers:\n  a: {{type: local, engine: {engine}}}\n", f"3: providers.a: {wrong}")


def test_the_built_in_defaults_have_to_be_installed_too(terminal: Terminal) -> None:
    terminal.write("home/site/sitecustomize.py", "import sys\nsys.modules['moonshine_voice'] = None\n")
    for command in ("check", "serve"):
        said = terminal.run(command)
        assert (said.status, said.out) == (2, ""), said
        assert "providers.local: engine moonshine needs moonshine_voice: pip install 'asrproxy[local]'" in said.err


def test_a_models_folder_has_to_hold_a_model(terminal: Terminal) -> None:
    text = f"{SERVER}providers:\n  a: {{type: local, engine: whisper, folder: FOLDER}}\n"
    (terminal.folder / "empty").mkdir()
    for folder in ("empty", "none"):
        refused(terminal, text.replace("FOLDER", folder), f"3: providers.a.folder: {folder} has no model.bin; python -m asrproxy_local")
    refused(terminal, text.replace("FOLDER", "~nobody-at-all/m"), "3: providers.a.folder: ~nobody-at-all/m has no home folder")
    for name in ("model.bin", "config.json"):
        terminal.write(f"model/{name}", "{}")
    terminal.write("asr.yaml", text.replace("FOLDER", "model"))
    assert terminal.run("check", "-c", "asr.yaml").status == 0


def test_what_was_spent_needs_a_folder_or_a_place_for_one(terminal: Terminal) -> None:
    text = f"server:\n  listen: 127.0.0.1:0\n  ops_listen: []\n  state: FOLDER\n{FAKE}"
    for folder, why in (("asr.yaml", "Not a directory"), ("asr.yaml/in/it", "Not a directory"), ("/proc/none", "")):
        wrong = f"4: server.state: {folder} is no folder to write files in, nor can it be made: {why}"
        refused(terminal, text.replace("FOLDER", folder), wrong)
    terminal.write("asr.yaml", text.replace("FOLDER", "to/be/made"))
    before = os.listdir(terminal.folder)
    assert terminal.run("check", "-c", "asr.yaml").status == 0
    assert os.listdir(terminal.folder) == before


def test_temporary_files_need_a_folder(terminal: Terminal) -> None:
    text = f"server:\n  listen: 127.0.0.1:0\n  ops_listen: []\n  spool_dir: FOLDER\n{FAKE}"
    refused(terminal, text.replace("FOLDER", "none"), "4: server.spool_dir: none is no folder to write files in: No such file or directory")
    refused(terminal, text.replace("FOLDER", "asr.yaml"), "4: server.spool_dir: asr.yaml is no folder to write files in: Not a directory")
    refused(terminal, text.replace("FOLDER", "/proc"), "4: server.spool_dir: /proc is no folder to write files in")
    terminal.write("asr.yaml", text.replace("FOLDER", "."))
    before = os.listdir(terminal.folder)
    assert terminal.run("check", "-c", "asr.yaml").status == 0
    assert os.listdir(terminal.folder) == before


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (
            "listen: ['127.0.0.1:18790', '127.0.0.1:18790']",
            "1: server.listen[1]: 127.0.0.1:18790 cannot be listened at beside server.listen's",
        ),
        ("listen: '127.0.0.1:18790', ops_listen: '127.0.0.1:18790'", "1: server.ops_listen: 127.0.0.1:18790 cannot be listened at beside"),
        ("listen: 'localhost:18790', ops_listen: ['0.0.0.0:18790']", "1: server.ops_listen[0]: 0.0.0.0:18790 cannot"),
        ("listen: ':18790', ops_listen: '127.0.0.1:18790'", "1: server.ops_listen: 127.0.0.1:18790 cannot"),
        ("listen: '[::1]:18790', ops_listen: '[::]:18790'", "1: server.ops_listen: [::]:18790 cannot"),
        ("listen: ['unix:a.sock', 'unix:./a.sock']", "1: server.listen[1]: unix:./a.sock cannot"),
        (
            "listen: '127.0.0.1:8791'",
            "1: server.listen: 127.0.0.1:8791 cannot be listened at beside server.ops_listen's 0.0.0.0:8791, unless",
        ),
        (
            "ops_listen: '0.0.0.0:8790'",
            "1: server.ops_listen: 0.0.0.0:8790 cannot be listened at beside server.listen's 127.0.0.1:8790, unless",
        ),
        ("listen: 'unix:none/a.sock'", "1: server.listen: the folder none is not there"),
        ("ops_listen: 'unix:asr.yaml'", "1: server.ops_listen: asr.yaml is there already and no socket"),
        (f"listen: 'unix:{'x' * 108}'", "1: server.listen: a unix socket's path has at most 107 bytes"),
    ],
)
def test_every_address_can_be_listened_at(terminal: Terminal, server: str, said: str) -> None:
    refused(terminal, f"server: {{{server}}}\n{FAKE}", said)


@pytest.mark.parametrize(
    "server",
    [
        "listen: ['127.0.0.1:0', '127.0.0.1:0'], ops_listen: '127.0.0.1:0'",
        "listen: ['127.0.0.1:18790', '[::1]:18790', '127.0.0.2:18790'], ops_listen: []",
        "listen: '[::]:18790', ops_listen: '0.0.0.0:18790'",
    ],
)
def test_addresses_that_differ_are_good(terminal: Terminal, server: str) -> None:
    terminal.write("asr.yaml", f"server: {{{server}, tokens: [t]}}\n{FAKE}")
    assert terminal.run("check", "-c", "asr.yaml").status == 0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("providers:\n  a: {type: openai, api_key: KEY}\n", "2: providers.a.api_key"),
        ("providers:\n  a: {type: openai, headers: {X-Key: KEY}}\n", "2: providers.a.headers.X-Key"),
        ("providers:\n  a: {type: aliyun, appkey: app-key, token: KEY}\n", "2: providers.a.token"),
        ("providers:\n  a: {type: aliyun, appkey: KEY, token: to-ken}\n", "2: providers.a.appkey"),
        (f"{FAKE}server:\n  tokens: [KEY]\n", "3: server.tokens[0]"),
        (f"{FAKE}tracing:\n  otlp: http://127.0.0.1:1\n  headers: {{Authorization: KEY}}\n", "4: tracing.headers.Authorization"),
    ],
)
def test_a_key_is_one_line(terminal: Terminal, text: str, key: str) -> None:
    words = f"{key}: holds a line break or another control character"
    refused(terminal, text.replace("KEY", f'"{SECRET}\\nmore"'), words)
    refused(terminal, text.replace("KEY", '"${KEY}"'), words, KEY=f"{SECRET}\r")
    terminal.write("key", f"{SECRET}\nmore\n")
    refused(terminal, text.replace("KEY", '"${file:key}"'), words)
    terminal.write("key", f"{SECRET}\n")
    terminal.write("asr.yaml", text.replace("KEY", '"${file:key}"'))
    assert terminal.run("check", "-c", "asr.yaml").status == 0


def test_a_headers_name_is_one(terminal: Terminal) -> None:
    refused(
        terminal, f'{SERVER}providers:\n  a: {{type: openai, headers: {{"X Key": a}}}}\n', "3: providers.a.headers.X Key: expected the name"
    )


def test_a_key_may_be_left_out_and_is_not_empty(terminal: Terminal) -> None:
    text = f"{SERVER}providers:\n  a: {{type: openai, api_key: KEY}}\n"
    refused(terminal, text.replace("KEY", "''"), "3: providers.a.api_key: is empty; is the environment variable set?")
    refused(terminal, text.replace("KEY", "'${KEY}'"), "3: providers.a.api_key: is empty", KEY="")
    for written in ("null", "'${KEY:-}'"):
        terminal.write("asr.yaml", text.replace("KEY", written))
        assert terminal.run("check", "-c", "asr.yaml", KEY="").status == 0


def test_a_value_that_is_missing_is_said_once(terminal: Terminal) -> None:
    line = "3: policy.limits.concurrency: expected a whole number, or 'auto'; nothing is written here\n"
    refused(terminal, f"{SERVER}{FAKE}policy: {{limits: {{concurrency: null}}}}\n", line)


def test_what_only_serve_needs_is_not_asked_of_a_command_that_does_not_listen(terminal: Terminal, recording: bytes) -> None:
    terminal.write("a.wav", recording)
    terminal.write("asr.yaml", f"server: {{listen: 'unix:none/a.sock'}}\n{FAKE}")
    assert terminal.run("recognize", "-c", "asr.yaml", "a.wav").out == "天地玄黄\n"
    terminal.write("asr.yaml", f"server: {{spool_dir: none}}\n{FAKE}")
    done = terminal.run("recognize", "-c", "asr.yaml", "a.wav")
    assert (done.status, done.err.startswith("asr.yaml:1: server.spool_dir: none is")) == (2, True), done


@pytest.mark.parametrize("command", [("recognize", "a.wav"), ("listen", "a.wav"), ("status",), ("tail",), ("compare", "a", "b", "a.wav")])
@pytest.mark.parametrize("address", ["nonsense", "localhost:8790"])
def test_a_sidecars_address_begins_with_http(terminal: Terminal, command: tuple[str, ...], address: str) -> None:
    terminal.write("a.wav", b"")
    told = terminal.run(*command, "--url", address)
    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1), told
    assert f"expected http://HOST:PORT or unix:PATH, not '{address}'; http:// is missing" in told.err
    told = terminal.run(*command, ASRPROXY_URL=address)
    assert (told.status, "$ASRPROXY_URL" in told.err) == (2, True), told
