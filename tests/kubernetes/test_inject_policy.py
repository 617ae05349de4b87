"""The admission policies do in CEL what the injector does in Python, pod for pod, as far as cel-python can tell.

What it cannot: see tests/kubernetes/api_server_cel.py. Types ahead of time and the cost of an expression are the API server's to check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import celpy
import pytest
import yaml
from hypothesis import given, settings

from asrproxy.kube.admission_policy import manifests, mutating, validating
from asrproxy.kube.inject import inject
from asrproxy.kube.refusal import Refused
from asrproxy.kube.settings import InjectionSettings
from tests.kubernetes.api_server_cel import CelFailure, Policy, Program
from tests.kubernetes.json_patch import patched
from tests.kubernetes.pods import DEFAULTS, Pod, Shape, pods, shape, shapes, simple
from tests.kubernetes.selectors import selects
from tests.kubernetes.validity import NEWEST, pod_faults, schema_faults

ASKED_BY_NAMESPACE = {"kubernetes.io/metadata.name": "team", "asrproxy.io/inject": "true"}
OTHER = InjectionSettings(
    image="registry.example/asr:9", mode="classic", config="c", secret="s", route="r", env=True, api_port=1, ops_port=2, drain=0, wait=7,
    requests={"cpu": "1", "memory": "1Gi"}, limits={"cpu": "2", "memory": "1Gi"}, after=(), run_as=None, pull_policy=None, fail="open",
)  # fmt: skip


class Cluster:
    """What an API server makes of a pod, once with the policies in it."""

    def __init__(self, decided: InjectionSettings) -> None:
        self._changing = [_Admission(*each) for each in _pairs(mutating(decided))]
        [self._refusing] = [_Admission(*each) for each in _pairs(validating(decided))]

    def patch(self, pod: Pod, labels: Mapping[str, str] = ASKED_BY_NAMESPACE) -> list[dict[str, Any]]:
        """At most one of the policies has a say about a pod."""
        patches = [each.evaluate("expression", pod, labels) for each in self._changing if each.matches(pod, labels)]
        assert len(patches) <= 1
        return patches[0] if patches else []

    def refusal(self, pod: Pod, labels: Mapping[str, str] = ASKED_BY_NAMESPACE) -> str | None:
        """Of a pod after its patch."""
        if not self._refusing.matches(pod, labels) or self._refusing.evaluate("expression", pod, labels):
            return None
        return str(self._refusing.evaluate("messageExpression", pod, labels))


def _pairs(documents: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    pairs = list(zip(documents[::2], documents[1::2], strict=True))
    assert all(policy["metadata"]["name"] == binding["spec"]["policyName"] for policy, binding in pairs)
    return [(policy["spec"], binding["spec"]) for policy, binding in pairs]


class _Admission:
    """A policy with its binding."""

    def __init__(self, policy: dict[str, Any], binding: dict[str, Any]) -> None:
        self._policy, self._resources = Policy(policy), binding["matchResources"]
        self._conditions = [Program(each["expression"]) for each in policy.get("matchConditions", [])]
        [rule] = [each.get("jsonPatch", each) for each in policy.get("mutations") or policy["validations"]]
        self._programs = {name: Program(text) for name, text in rule.items() if name.endswith("xpression")}

    def matches(self, pod: Pod, labels: Mapping[str, str]) -> bool:
        chosen = selects(self._resources.get("namespaceSelector"), labels)
        chosen = chosen and selects(self._resources.get("objectSelector"), pod["metadata"].get("labels") or {})
        # A policy's conditions are evaluated before its variables, and without the namespace.
        return chosen and all(each.run({"object": celpy.json_to_cel(pod)}) for each in self._conditions)

    def evaluate(self, name: str, pod: Pod, labels: Mapping[str, str]) -> Any:
        return self._policy.evaluate(self._programs[name], pod, labels)


@cache
def cluster(decided: InjectionSettings = DEFAULTS) -> Cluster:
    return Cluster(decided)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Before hypothesis looks: cel-python changes the recursion limit when it compiles."""
    cluster(DEFAULTS)
    cluster(OTHER)


def agrees(pod: Pod, decided: InjectionSettings) -> None:
    """Both patches are the same, operation for operation, and so are the reasons for having none; where a namespace asks, and not."""
    _agrees(pod, decided, ASKED_BY_NAMESPACE)
    _agrees(pod, decided.model_copy(update={"opt_in": True}), {})


def _agrees(pod: Pod, decided: InjectionSettings, labels: dict[str, str]) -> None:
    here = cluster(decided.model_copy(update={"opt_in": False}))
    try:
        expected, reason, asked = [each.written() for each in inject(pod, decided)], None, False
    except Refused as error:
        expected, reason, asked = [], str(error), error.asked
    given = here.patch(pod, labels)
    assert given == expected
    told = here.refusal(patched(pod, given), labels)
    if reason is None or not asked:
        assert told is None
    else:
        # CEL's maps have no order, so the policy does not say which of the annotations are none.
        assert told == "asrproxy: no sidecar: " + re.sub(r"unknown annotation [^;]*;", "unknown annotation under asrproxy.io/;", reason)


@settings(max_examples=15, deadline=None)
@given(pods())
def test_policy_and_injector_agree(pod: Pod) -> None:
    agrees(pod, DEFAULTS)
    agrees(pod, OTHER)


@pytest.mark.parametrize("each", shapes(), ids=str)
def test_policy_and_injector_agree_on_the_shapes_of_real_life(each: Shape) -> None:
    agrees(each.pod, DEFAULTS)
    after = patched(each.pod, cluster().patch(each.pod))
    assert pod_faults(after, NEWEST) == []
    assert cluster().patch(after) == []


@pytest.mark.parametrize(
    "annotations",
    [
        {"inject": "yes"}, {"mode": "nativ"}, {"env": "1"}, {"config": "My Config"}, {"config": "a\n"}, {"config": "a" * 254},
        {"secret": ""},
        {"route": "$(SECRET)"}, {"route": "r" * 64}, {"image": "a b"}, {"image": "i" * 513}, {"drain": "1h"}, {"drain": "99999s"},
        {"resources": "cpu=1"}, {"resources": "limits.memory=1GiB"}, {"resources": "limits.cpu=1,limits.cpu=2"}, {"resources": ""},
        {"resources": "requests.memory=4Gi"}, {"resources": "limits.cpu=10m"}, {"rout": "fast"}, {"inject": "true", "status": "{}"},
        {"resources": "requests.cpu=1,requests.memory=1Gi,limits.cpu=1,limits.memory=1Gi"},
    ],
    ids=str,
)  # fmt: skip
def test_policy_and_injector_agree_on_annotations(annotations: dict[str, str]) -> None:
    agrees(simple(**annotations), DEFAULTS)


def test_the_namespaces_label_asks_for_its_pods() -> None:
    unasked, asked = simple(), simple(inject="true")
    assert cluster().patch(unasked, {}) == []
    assert cluster().patch(unasked, {"asrproxy.io/inject": "later"}) == []
    assert cluster().patch(unasked, ASKED_BY_NAMESPACE) != []
    assert cluster().patch(asked, {}) == cluster().patch(asked, ASKED_BY_NAMESPACE) != []
    assert cluster().patch(asked, {"asrproxy.io/inject": "false"}) == []
    assert cluster().patch(asked, {**ASKED_BY_NAMESPACE, "kubernetes.io/metadata.name": "kube-system"}) == []
    agent = shape("host-network-unasked")
    assert (cluster().patch(agent), cluster().refusal(agent)) == ([], None)


def test_a_pod_that_asks_and_that_no_policy_changed_is_refused() -> None:
    """As where the cluster is older than the mutating policies, or could not evaluate one."""
    asked = simple(inject="true")
    assert cluster().refusal(asked) == "asrproxy: no sidecar: nothing has put one in"
    assert cluster().refusal(patched(asked, cluster().patch(asked))) is None
    assert cluster().refusal(simple(inject="false")) is None
    assert cluster().refusal(simple(mode="classic"), {}) is None  # it does not ask, nor does its namespace


def test_a_type_that_is_not_its_fields_is_noticed() -> None:
    """The stand-in for the API server's types is worth something: it refuses what that refuses."""
    with pytest.raises(CelFailure, match=r"Object.spec.volumes is no value for ports"):
        Program("Object.spec.containers{ports: [Object.spec.volumes{name: 'x'}]}").run(_types())
    with pytest.raises(CelFailure, match="no such field"):
        Program("JSONPatch{op: 'add', paht: '/x'}").run(_types())


def _types() -> dict[str, Any]:
    from tests.kubernetes.api_server_cel import TYPES

    return TYPES


@pytest.mark.parametrize("decided", [DEFAULTS, OTHER], ids=["defaults", "other"])
def test_the_policies_are_of_kubernetes_schema(decided: InjectionSettings) -> None:
    documents = list(yaml.safe_load_all(manifests(decided)))
    assert [each["kind"] for each in documents] == [
        *["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"] * 2,
        *["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"],
    ]
    for document in documents:
        for version in ("1.36", NEWEST):
            assert schema_faults(document, version) == []
    assert documents == [*mutating(decided), *validating(decided)]
    assert {each["spec"].get("failurePolicy") for each in documents[::2]} == {"Fail" if decided.fail == "closed" else "Ignore"}
    assert documents[5]["spec"]["validationActions"] == (["Deny"] if decided.fail == "closed" else ["Warn"])


def test_variables_lean_on_earlier_ones_only_and_none_is_idle() -> None:
    for spec in (mutating(DEFAULTS)[0]["spec"], validating(DEFAULTS)[0]["spec"]):
        before: set[str] = set()
        for variable in spec["variables"]:
            used = set(re.findall(r"variables\.(\w+)", variable["expression"]))
            assert used <= before, variable["name"]
            before.add(variable["name"])
        whole = yaml.safe_dump(spec)
        assert {name for name in before if f"variables.{name}" not in whole} == set()
