"""The policies' expressions have the types that an API server wants, by a CEL that checks types before it evaluates.

cel-js knows no literals of objects, so these are shown to it as maps: an object's own fields stay unchecked here (Kubernetes' schema checks
them on the patched pod), and all that is computed is checked, with literals of one type only, as in the API server.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrproxy.kube.admission_policy import mutating, validating
from asrproxy.kube.settings import InjectionSettings
from tests.kubernetes.pods import DEFAULTS

FOLDER = Path(__file__).parent / "node"
NODE = shutil.which("node")


def node_version() -> tuple[int, ...]:
    if NODE is None:
        return (0,)
    said = subprocess.run([NODE, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return tuple(int(part) for part in said.strip().lstrip("v").split("."))


pytestmark = [
    pytest.mark.skipif(node_version() < (20, 19), reason="cel-js needs node 20.19 or later"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules" / "@marcbachmann").is_dir(), reason="not installed: run `npm ci` in tests/kubernetes/node"
    ),
]

LITERAL = re.compile(r"(Object(?:\.\w+)+|JSONPatch)\{")


def as_map(text: str) -> str:
    """An expression whose objects have become maps of anything; a patch's path stays a text."""
    start = LITERAL.search(text)
    if start is None:
        return text
    fields, end = [""], start.end()
    for token, depth in tokens(text[end:]):
        end += len(token)
        if depth < 0:
            break
        if token == "," and depth == 0:
            fields.append("")
        else:
            fields[-1] += token
    written = []
    for name, _, value in (each.strip().partition(": ") for each in fields if each.strip()):
        inner = as_map(value)
        written.append(f'"{name}": dyn({f"asText({inner})" if name == "path" and start[1] == "JSONPatch" else inner})')
    function = "asPatch" if start[1] == "JSONPatch" else "asStruct"
    return f"{text[: start.start()]}{function}({{{', '.join(written)}}}){as_map(text[end:])}"


def tokens(text: str) -> Iterator[tuple[str, int]]:
    """Strings and single characters, each with how deep in brackets it leaves one."""
    depth = 0
    for match in re.finditer(r'"(?:\\.|[^"\\])*"|.', text, re.DOTALL):
        depth += (match[0] in ("(", "[", "{")) - (match[0] in (")", "]", "}"))
        yield match[0], depth


def checked(variables: list[tuple[str, str]], expressions: list[str]) -> dict[str, Any]:
    asked = {"variables": [(name, as_map(each)) for name, each in variables], "expressions": [as_map(each) for each in expressions]}
    assert NODE is not None
    done = subprocess.run([NODE, "check.js"], cwd=FOLDER, input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


EXPECTED = {
    "annotations": "dyn", "labels": "dyn", "initContainers": "dyn", "everyContainer": "dyn", "injected": "bool", "said": "list<string>",
    "wanted": "bool", "mode": "string", "shares": "bool", "given": "list<string>", "requestCpu": "string", "requestMemory": "string",
    "limitCpu": "string", "limitMemory": "string", "refusals": "list<string>", "config": "string", "secret": "string", "route": "string",
    "image": "string", "env": "bool", "ownGrace": "int", "wait": "int", "grace": "int", "names": "list<string>",
    "initNames": "list<string>", "position": "int",
}  # fmt: skip
OTHER = InjectionSettings(mode="classic", secret="s", route="r", env=True, wait=7, after=(), limits={"cpu": "2", "memory": "1Gi"})


@pytest.mark.parametrize("decided", [DEFAULTS, OTHER], ids=["defaults", "other"])
def test_every_expression_has_the_type_that_is_wanted(decided: InjectionSettings) -> None:
    changing, refusing = mutating(decided)[2]["spec"], validating(decided)[0]["spec"]
    for spec in (changing, refusing):
        conditions = [each["expression"] for each in spec["matchConditions"]]
        assert checked([], conditions) == {"variables": {}, "expressions": ["bool"] * len(conditions)}
    of_patch = checked(named(changing), [each["jsonPatch"]["expression"] for each in changing["mutations"]])
    assert of_patch == {"variables": EXPECTED, "expressions": ["list<Patch>"]}
    [rule] = refusing["validations"]
    of_refusal = checked(named(refusing), [rule["expression"], rule["messageExpression"]])
    assert of_refusal["expressions"] == ["bool", "string"]
    assert of_refusal["variables"].items() <= EXPECTED.items()


def named(spec: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["name"], each["expression"]) for each in spec["variables"]]


@pytest.mark.parametrize(
    "wrong",
    [
        '["a", 1]',
        '{"a": "x", "b": 1}',
        'variables.text + 1',
        'variables.other',
        'true ? "a" : 1',
        'JSONPatch{op: "add", path: 1, value: 2}',
        'Object.spec.containers{name: variables.text - "a"}',
        "variables.text.indexof('a')",
    ],
)  # fmt: skip
def test_a_wrong_type_is_noticed(wrong: str) -> None:
    [found] = checked([("text", '"a"')], [wrong])["expressions"]
    assert found["error"]
