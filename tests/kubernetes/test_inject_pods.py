"""What injection promises of every pod: it stays valid, keeps all that was its own, and a second pass finds nothing to do."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings

from asrproxy.kube.inject import inject
from asrproxy.kube.refusal import Malformed, Refused
from asrproxy.kube.settings import InjectionSettings
from tests.kubernetes.pods import DEFAULTS, Pod, Shape, injected, pods, shape, shapes, sidecar, simple
from tests.kubernetes.validity import NEWEST, OLDEST, pod_faults, restricted_faults

LAW = settings(max_examples=60, deadline=None)


@LAW
@given(pods())
def test_a_valid_pod_stays_valid(pod: Pod) -> None:
    for version in (OLDEST, NEWEST):
        assert pod_faults(pod, version) == []
        assert pod_faults(injected(pod), version) == []


@LAW
@given(pods())
def test_a_second_pass_changes_nothing(pod: Pod) -> None:
    once = injected(pod)
    assert once != pod
    assert inject(once, DEFAULTS) == ()
    assert inject(once, InjectionSettings(image="other:2", mode="classic", env=True, secret="x")) == ()


@LAW
@given(pods())
def test_what_is_not_its_own_stays_as_it_was_and_in_order(pod: Pod) -> None:
    before = copy.deepcopy(pod)
    after = injected(pod)
    assert pod == before
    assert stripped(after, had_annotations="annotations" in pod["metadata"]) == stripped(pod, had_annotations=True)


def stripped(pod: Pod, *, had_annotations: bool) -> Pod:
    """A pod without all that injection documents as its own, and without the difference between an empty list and none."""
    spec = {key: value for key, value in pod["spec"].items() if key != "terminationGracePeriodSeconds"}
    for field in ("containers", "initContainers"):
        spec[field] = [_without_variable(each) for each in spec.get(field, []) if each["name"] != "asrproxy"]
    spec["volumes"] = [each for each in spec.get("volumes", []) if not each["name"].startswith("asrproxy-")]
    metadata = copy.deepcopy(pod["metadata"])
    metadata.get("annotations", {}).pop("asrproxy.io/status", None)
    if not had_annotations:
        del metadata["annotations"]
    return {"metadata": metadata, "spec": spec}


def _without_variable(container: dict[str, Any]) -> dict[str, Any]:
    """`ASR_URL` with the injector's value at the head of a list is the injector's."""
    env = container.get("env") or []
    own = env[1:] if env[:1] == [{"name": "ASR_URL", "value": "http://127.0.0.1:8790"}] else env
    rest = {key: value for key, value in container.items() if key != "env"}
    return {**rest, "env": own} if own else rest


@LAW
@given(pods())
def test_the_grace_is_never_lowered_and_has_room_for_the_drain(pod: Pod) -> None:
    said = pod["metadata"].get("annotations", {})
    drain = int(said.get("asrproxy.io/drain", "25s")[:-1])
    own = pod["spec"].get("terminationGracePeriodSeconds", 30)
    grace = injected(pod)["spec"].get("terminationGracePeriodSeconds", 30)
    assert grace >= own
    if said.get("asrproxy.io/mode") == "classic":  # told to end with the application, it serves on for as long as that one may
        assert sidecar(injected(pod))["lifecycle"]["preStop"]["exec"]["command"][-1] == f"import time; time.sleep({own})"
        assert grace >= own + drain + 5
    else:  # told to end when the application has ended
        assert "lifecycle" not in sidecar(injected(pod))
        assert grace == max(own, drain + 5)


@pytest.mark.parametrize("each", shapes(), ids=str)
def test_the_shapes_of_real_life_come_out_as_they_are_said_to(each: Shape) -> None:
    assert pod_faults(each.pod, NEWEST) == []
    match each.expect:
        case "injected":
            after = injected(each.pod)
            for version in (OLDEST, NEWEST):
                if not pod_faults(each.pod, version):
                    assert pod_faults(after, version) == []
            assert inject(after, DEFAULTS) == ()
        case "unchanged":
            assert inject(each.pod, DEFAULTS) == ()
        case _:
            with pytest.raises(Refused) as refusal:
                inject(each.pod, DEFAULTS)
            assert refusal.value.asked == (each.expect == "refused")


def test_the_sidecar_starts_first_but_behind_what_sets_up_the_network() -> None:
    assert init_names(injected(shape("plain"))) == ["asrproxy"]
    assert init_names(injected(shape("vault"))) == ["asrproxy", "vault-agent-init"]
    assert init_names(injected(shape("istio-native"))) == ["istio-init", "istio-proxy", "asrproxy", "migrate"]
    assert init_names(injected(shape("linkerd"))) == ["linkerd-init", "linkerd-proxy", "asrproxy", "warm-up"]
    own = InjectionSettings(after=("vault-agent-init",))
    assert init_names(injected(shape("vault"), own)) == ["vault-agent-init", "asrproxy"]


def init_names(pod: Pod) -> list[str]:
    return [each["name"] for each in pod["spec"]["initContainers"]]


def test_the_applications_containers_are_told_the_address_the_networks_are_not() -> None:
    def told(pod: Pod) -> set[str]:
        everywhere = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        return {each["name"] for each in everywhere if {"name": "ASR_URL", "value": "http://127.0.0.1:8790"} in each.get("env", [])}

    assert told(injected(shape("linkerd"))) == {"books", "warm-up"}
    assert told(injected(shape("istio-classic"))) == {"shop"}
    classic = injected(shape("classic"))
    assert told(classic) == {"call"}  # `prepare` runs before there is a sidecar, `other` has an address of its own
    call, other, _ = classic["spec"]["containers"]
    assert [each["name"] for each in call["env"]] == ["ASR_URL", "OPENAI_BASE_URL"]  # so that $(ASR_URL) means something
    assert other["env"] == [{"name": "ASR_URL", "value": "http://elsewhere:80"}]
    assert told(injected(shape("plain"))) == set()
    assert told(injected(shape("plain"), InjectionSettings(env=True))) == {"web"}


def test_every_annotation_has_its_effect() -> None:
    said = simple(
        inject="true", config="team", secret="keys", route="fast", image="registry.example/asr:2", mode="classic", env="true", drain="40s",
        resources="requests.cpu=200m,requests.memory=1Gi,limits.cpu=1,limits.memory=2Gi",
    )  # fmt: skip
    pod = injected(said)
    container = sidecar(pod)
    assert container == pod["spec"]["containers"][1]
    assert container["image"] == "registry.example/asr:2"
    assert container["args"] == ["serve", "--config", "/etc/asrproxy/asrproxy.yaml", "--route", "fast"]
    assert container["resources"] == {"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}}
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    assert volumes["asrproxy-config"]["configMap"] == {"name": "team"}
    assert volumes["asrproxy-secret"]["secret"] == {"secretName": "keys"}
    assert {each["mountPath"] for each in container["volumeMounts"] if each.get("readOnly")} == {"/etc/asrproxy", "/etc/asrproxy-secret"}
    assert not any("subPath" in each for each in container["volumeMounts"])  # else a changed ConfigMap would never arrive
    assert pod["spec"]["terminationGracePeriodSeconds"] == 30 + 40 + 5
    assert json.loads(pod["metadata"]["annotations"]["asrproxy.io/status"])["mode"] == "classic"
    assert inject(simple(inject="false"), DEFAULTS) == ()


def test_the_probes_are_the_ops_ports() -> None:
    container = sidecar(injected(shape("plain"), InjectionSettings(ops_port=9000)))
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probes == {
        "startupProbe": {"path": "/readyz", "port": 9000},
        "readinessProbe": {"path": "/readyz", "port": 9000},
        "livenessProbe": {"path": "/livez", "port": 9000},
    }
    assert [each["containerPort"] for each in container["ports"]] == [9000]
    assert "readinessProbe" not in sidecar(injected(shape("plain"), InjectionSettings(readiness=False)))


def test_a_pod_that_is_restricted_stays_so() -> None:
    before = shape("restricted")
    assert restricted_faults(before["spec"]) == []
    for mode in ("native", "classic"):
        after = injected(before, InjectionSettings(mode=mode))
        assert restricted_faults(after["spec"]) == []
        assert sidecar(after)["securityContext"]["readOnlyRootFilesystem"] is True
    # The check itself sees what would be wrong.
    sidecar(after)["securityContext"].pop("seccompProfile")
    after["spec"]["securityContext"].pop("seccompProfile")
    assert restricted_faults(after["spec"]) == ["careful: has no seccomp profile", "asrproxy: has no seccomp profile"]


def test_a_pod_with_resources_as_a_whole_shares_them_unless_it_says_otherwise() -> None:
    pod = shape("pod-resources")
    assert sidecar(injected(pod))["resources"] == {}
    pod["metadata"]["annotations"] = {"asrproxy.io/resources": "requests.cpu=10m"}
    assert sidecar(injected(pod))["resources"]["requests"] == {"cpu": "10m", "memory": "160Mi"}


def test_only_those_that_ask_get_one_where_that_is_the_rule() -> None:
    rule = InjectionSettings(opt_in=True)
    assert inject(simple(), rule) == ()
    assert inject(simple(mode="classic"), rule) == ()
    assert inject(simple(inject="true"), rule) != ()
    labelled = {**simple(), "metadata": {"labels": {"asrproxy.io/inject": "true"}}}
    assert inject(labelled, rule) != ()
    labelled["metadata"]["annotations"] = {"asrproxy.io/inject": "false"}
    assert inject(labelled, rule) == ()


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"inject": "yes"}, "asrproxy.io/inject: expected true or false"),
        ({"mode": "nativ"}, "asrproxy.io/mode: expected native or classic"),
        ({"env": "1"}, "asrproxy.io/env: expected true or false"),
        ({"config": "My Config"}, "asrproxy.io/config: expected a ConfigMap's name"),
        ({"config": "a\n"}, "asrproxy.io/config: expected a ConfigMap's name"),
        ({"config": "a" * 254}, "asrproxy.io/config: expected a ConfigMap's name"),
        ({"secret": ""}, "asrproxy.io/secret: expected a Secret's name"),
        ({"route": "$(SECRET)"}, "asrproxy.io/route: expected a route's name"),
        ({"route": "--help"}, "asrproxy.io/route: expected a route's name"),
        ({"image": "a b"}, "asrproxy.io/image: expected an image"),
        ({"drain": "1h"}, "asrproxy.io/drain: expected whole seconds"),
        ({"resources": "cpu=1"}, "asrproxy.io/resources: expected requests.cpu"),
        ({"resources": "limits.memory=1GiB"}, "asrproxy.io/resources: expected requests.cpu"),
        ({"resources": "limits.cpu=1,limits.cpu=2"}, "gives a value twice"),
        ({"resources": "requests.memory=4Gi"}, "a request above its limit"),
        ({"resources": "limits.cpu=10m"}, "a request above its limit"),
        ({"rout": "fast"}, "unknown annotation asrproxy.io/rout; known are asrproxy.io/inject"),
    ],
)
def test_a_value_that_an_annotation_cannot_have_is_refused_by_name(annotations: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=r".") as refusal:
        inject(simple(**annotations), DEFAULTS)
    assert said in str(refusal.value)
    assert refusal.value.asked


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ([], "the pod: expected a mapping"),
        ({}, "spec: expected a mapping"),
        ({"spec": {"containers": []}}, "spec.containers: expected at least one container"),
        ({"spec": {"containers": {"name": "a"}}}, "spec.containers: expected a list"),
        ({"spec": {"containers": [{"image": "a"}]}}, "spec.containers[0].name: expected a name"),
        ({"spec": {"containers": [{"name": "a", "env": [1]}]}}, "spec.containers[0].env[0]: expected a mapping"),
        ({"metadata": {"annotations": {"asrproxy.io/inject": True}}, "spec": {"containers": [{"name": "a"}]}}, "stands in quotes"),
        ({"spec": {"containers": [{"name": "a"}], "terminationGracePeriodSeconds": "30"}}, "terminationGracePeriodSeconds: expected whole"),
    ],
)
def test_what_is_no_pod_is_said_to_be_none(pod: object, said: str) -> None:
    with pytest.raises(Malformed) as error:
        inject(pod, DEFAULTS)
    assert said in str(error.value)
