"""The document at /openapi.json tells the truth: what it allows is answered as it says, what it forbids is refused, nothing is a defect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from asrproxy.testing import tones
from asrproxy.testing.sidecar import RunningSidecar, running_sidecar

WAV = tones.to_wav(tones.synthesize("天地玄黄"), 16_000)
OPERATIONS = [
    "POST /v1/recognize",
    "POST /v1/audio/transcriptions",
    "GET /v1/models",
    "GET /v1/models/{name}",
    "GET /v1/stream",
    "GET /v1/recent",
    "GET /v1/status",
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
]
"""All but the document's own address, which schemathesis leaves out."""
TAKE_SOMETHING = ["POST /v1/recognize", "POST /v1/audio/transcriptions", "GET /v1/recent"]
"""Those that can be asked for what is wrong."""
ACCEPTS_WHAT_IT_SAYS = {"GET /v1/models", "GET /v1/recent", "GET /v1/status", "GET /livez", "GET /readyz", "GET /metrics"}
"""Whatever is valid for these is answered. Of an upload, a schema cannot say that its bytes must be audio; of a socket, the upgrade."""
CASES = 15
BOUNDED = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


@pytest.fixture(scope="module")
def sidecar() -> Iterator[RunningSidecar]:
    with running_sidecar() as running:
        yield running


@pytest.fixture(scope="module")
def schema(sidecar: RunningSidecar) -> Any:
    load_all_checks()
    return schemathesis.openapi.from_url(f"{sidecar.url}/openapi.json")


def test_every_address_of_the_document_is_tried(schema: Any) -> None:
    assert sorted(each.ok().label for each in schema.get_all_operations()) == sorted(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_document_allows_is_answered_as_it_says(schema: Any, label: str) -> None:
    _try(schema, label, GenerationMode.POSITIVE)


@pytest.mark.parametrize("label", TAKE_SOMETHING)
def test_what_the_document_forbids_is_refused(schema: Any, label: str) -> None:
    _try(schema, label, GenerationMode.NEGATIVE)


def test_with_real_audio_every_combination_of_parameters_is_answered_as_the_document_says(schema: Any) -> None:
    """The bytes are speech, the parameters are what the schema allows: 200, or a refusal that names the one that does not fit."""
    seen: set[int] = set()

    @BOUNDED
    @given(case=_operation(schema, "POST /v1/recognize").as_strategy(body=WAV, media_type="application/octet-stream"))
    def ask(case: Any) -> None:
        answer = _ask(case, "POST /v1/recognize")
        seen.add(answer.status_code)
        if answer.status_code == 400:
            assert answer.json()["error"]["param"] is not None or answer.json()["error"]["code"] == "invalid_audio"

    ask()
    assert 200 in seen


def test_calls_that_follow_from_one_another_hold_too(schema: Any) -> None:
    """Sequences, with names from one answer in the next address."""
    machine: Any = schema.as_state_machine()
    machine.run(settings=settings(BOUNDED, max_examples=5, stateful_step_count=5))


def _try(schema: Any, label: str, mode: GenerationMode) -> None:
    @BOUNDED
    @given(case=_operation(schema, label).as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        _ask(case, label)

    ask()


def _operation(schema: Any, label: str) -> Any:
    method, path = label.split()
    return schema[path][method]


def _ask(case: Any, label: str) -> Any:
    left_out = [] if label in ACCEPTS_WHAT_IT_SAYS else [positive_data_acceptance]
    return case.call_and_validate(checks=CHECKS.get_all(), excluded_checks=left_out, timeout=30)
