"""Neither a secret nor what came from outside is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.samples import complaints, read

SECRET = "h7Gk2-geheim'\"\\/é"


def test_a_value_from_outside_is_shown_as_the_file_writes_it() -> None:
    text = "providers:\n  c:\n    type: cloud\n    appkey: a\n    region: ${REGION}\n"
    assert complaints(text, REGION="somewhere-else") == [
        "5: providers.c.region: region '${REGION}' is not known; known are north and south"
    ]
    assert complaints(text, REGION="x") == ["5: providers.c.region: region '${REGION}' is not known; known are north and south"]


def test_the_providers_type_too() -> None:
    said = complaints("providers: {c: {type: '${TYPE}'}}", TYPE="hidden-type")
    assert said == ["1: providers.c.type: no provider type '${TYPE}'; installed: cloud, local, tape"]


def test_a_name_in_a_route_too() -> None:
    said = complaints("providers: {c: {type: local}}\nroutes: {default: {providers: ['pre${NAME}']}}", NAME="hidden-name")
    assert said == ["2: routes.default.providers[0]: no provider 'pre${NAME}'; the providers are c"]


@pytest.mark.parametrize("written", ["'${SECRET}'", "'${file:secret}'", '"h7Gk2-geheim\'\\"\\\\/é"'])
def test_a_plugin_that_says_the_secret_is_not_quoted(written: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (said,) = complaints(f"providers: {{c: {{type: cloud, appkey: a, key_id: {written}}}}}", tmp_path, SECRET=SECRET)
    assert "key_id and key_secret go together" in said
    assert "geheim" not in said


@pytest.mark.parametrize(
    "text",
    [
        f"providers: {{c: {{type: cloud, appkey: [{SECRET!r}]}}}}",
        "providers: {c: {type: cloud, appkey: *geheim}}",
        "providers: {c: {type: cloud, appkey: !geheim}}",
        "providers: {c: {type: cloud, appkey: &geheim}}",
        "providers: {c: {type: cloud, appkey: %geheim}}",
        "providers: {c: {type: cloud, appkey: @geheim}}",
        "providers: {c: {type: cloud, appkey: 'geheim",
        'providers: {c: {type: cloud, appkey: "\\geheim"}}',
        "providers:\n  c:\n    type: cloud\n    appkey: a: geheim",
        "providers:\n  c:\n    type: cloud\n    appkey\n    geheim: x",
        "providers: {c: {type: cloud, appkey: {geheim/+=: 1}}}",
        "providers: {c: {type: cloud, appkey: a, 'geheim/+=': 1}}",
        "server: {tokens: geheim}\nproviders: {c: {type: cloud}}",
        "server: {tokens: {a: geheim}}\nproviders: {c: {type: cloud, appkey: a}}",
        "shared: {redis: [geheim]}\nproviders: {c: {type: cloud, appkey: a}}",
        "shared: geheim\nproviders: {c: {type: cloud, appkey: a}}",
    ],
)
def test_a_secret_in_the_wrong_place_or_form_is_not_quoted(text: str) -> None:
    assert "geheim" not in "\n".join(complaints(text))


def test_a_loaded_configuration_does_not_print_its_secrets() -> None:
    text = (
        "server: {tokens: [geheim1]}\nshared: {redis: 'redis://:geheim2@host', secret: geheim3}\n"
        "providers: {c: {type: cloud, appkey: geheim4, headers: {a: geheim5}}}"
    )
    configuration = read(text)
    assert "geheim" not in f"{configuration!r} {configuration} {configuration.model_dump()} {configuration.model_dump_json()}"
