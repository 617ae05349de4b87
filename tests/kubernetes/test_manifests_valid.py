"""The examples build, are what a cluster takes, and their parts fit together."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from asrproxy import units
from asrproxy.kube.inject import inject
from asrproxy.kube.settings import InjectionSettings
from asrproxy.kube.sidecar import SLACK
from tests.cli.running import Terminal
from tests.kubernetes.built import DEPLOY, EXAMPLES, ROOT, Json, built, containers, pod_spec, proxy_of
from tests.kubernetes.json_patch import patched
from tests.kubernetes.validity import NEWEST, OLDEST, restricted_faults, schema_faults

SIDECARS = ("sidecar-native", "sidecar-classic")
SECRET = "/etc/asrproxy-secret"


@pytest.mark.parametrize(
    ("name", "version"), [*((name, version) for name in EXAMPLES for version in (OLDEST, NEWEST)), ("sidecar-classic", "1.25")]
)
def test_strict_schemas_have_nothing_against_them(name: str, version: str) -> None:
    for document in built(name).documents:
        assert schema_faults(document, version) == [], f"{document['kind']} {document['metadata']['name']}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pod_is_restricted_and_its_namespace_enforces_it(name: str) -> None:
    assert built(name).workloads
    for workload in built(name).workloads:
        spec = pod_spec(workload)
        assert restricted_faults(spec) == [], workload["metadata"]["name"]
        assert spec["automountServiceAccountToken"] is False
        for container in containers(spec):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, container["name"]
            assert "memory" in container["resources"]["limits"]
    [namespace] = built(name).kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    names = {each["metadata"].get("namespace") for each in built(name).documents if each["kind"] != "Namespace"}
    assert names == {namespace["metadata"]["name"]}


@pytest.mark.parametrize("mode", ["native", "classic"])
def test_the_sidecar_is_the_one_that_injection_makes(mode: Any) -> None:
    """One truth, two ways to it."""
    workload = built(f"sidecar-{mode}").proxied
    given = copy.deepcopy(workload["spec"]["template"])
    spec = given["spec"]
    for key in ("initContainers", "containers", "volumes"):
        spec[key] = [each for each in spec.get(key, []) if not each["name"].startswith("asrproxy")]
    del spec["initContainers"]
    spec.pop("terminationGracePeriodSeconds", None)
    patch = [each.written() for each in inject(given, InjectionSettings(mode=mode, secret="asrproxy"))]
    assert patch
    assert by_name(patched(given, patch)["spec"]) == by_name(pod_spec(workload))


def test_the_jobs_sidecar_is_the_same() -> None:
    assert proxy_of(pod_spec(built("archive-job").proxied)) == proxy_of(pod_spec(built("sidecar-native").proxied))


def test_the_gateways_proxy_differs_from_a_sidecar_only_where_it_has_to() -> None:
    gateway, sidecar = proxy_of(pod_spec(built("gateway").proxied)), proxy_of(pod_spec(built("sidecar-classic").proxied))
    assert gateway["image"] == sidecar["image"]
    assert gateway["args"] == sidecar["args"]
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert gateway[probe]["httpGet"] == {"path": path, "port": "asrproxy-ops"}
    assert {each["name"]: each["containerPort"] for each in gateway["ports"]} == {"api": 8790, "asrproxy-ops": 8791}


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_mounted_is_there_or_said_to_be_needed(name: str) -> None:
    made = {each["metadata"]["name"] for each in built(name).kind("ConfigMap")}
    claims = {each["metadata"]["name"] for each in built(name).kind("PersistentVolumeClaim")}
    for workload in built(name).workloads:
        volumes = pod_spec(workload).get("volumes", [])
        mounted = {mount["name"] for each in containers(pod_spec(workload)) for mount in each.get("volumeMounts", [])}
        assert mounted == {each["name"] for each in volumes}
        for container in containers(pod_spec(workload)):
            assert not [each for each in container.get("volumeMounts", []) if "subPath" in each]  # no change would ever arrive
        for volume in volumes:
            assert volume.get("configMap", {}).get("name") in made | {None}
            assert volume.get("secret", {}).get("secretName") in ("asrproxy", None)  # docs/kubernetes.md: how it is made
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in claims | {None}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_configuration_is_good_and_its_secrets_are_those_that_the_page_tells_to_make(name: str, tmp_path: Path) -> None:
    text = configuration(name)
    wanted = set(re.findall(rf"\$\{{file:{SECRET}/(\w+)\}}", text))
    assert wanted >= {"appkey", "access_key_id", "access_key_secret"}
    page = (ROOT / "docs" / "kubernetes.md").read_text().replace("\\\n", "")
    [namespace] = built(name).kind("Namespace")
    commands = re.findall(rf"^kubectl -n {namespace['metadata']['name']} create secret generic asrproxy .*", page, re.MULTILINE)
    assert any(set(re.findall(r"--from-literal=(\w+)=", each)) == wanted for each in commands), (wanted, commands)
    secrets = tmp_path / "secret"
    secrets.mkdir()
    for each in wanted:
        (secrets / each).write_text(f"value-of-{each}\n")
    terminal = Terminal(tmp_path, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": f"{ROOT}:{ROOT / 'providers'}"})
    terminal.write("asrproxy.yaml", text.replace(SECRET, str(secrets)))
    checked = terminal.run("check", "-c", "asrproxy.yaml")
    assert (checked.status, checked.err) == (0, ""), checked.err
    assert "value-of" not in checked.out


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_pods_grace_is_enough_for_what_happens_in_it(name: str) -> None:
    """A native sidecar is told when nobody is left; a classic one serves on while the application may; a gateway until nobody knows it."""
    spec = pod_spec(built(name).proxied)
    grace = spec.get("terminationGracePeriodSeconds", 30)
    drain = units.duration(yaml.safe_load(configuration(name))["server"]["drain"])
    waits = waiting(proxy_of(spec))
    assert grace >= waits + drain + SLACK
    if name in ("sidecar-native", "archive-job"):
        assert (waits, proxy_of(spec)["restartPolicy"]) == (0, "Always")
        assert spec["initContainers"][0]["name"] == "asrproxy"
    elif name == "sidecar-classic":
        assert waits >= 30  # the grace that the application had before it got a sidecar
    else:
        assert waits >= 2 * proxy_of(spec)["readinessProbe"]["periodSeconds"]


def test_services_budgets_and_policies_choose_pods_that_are_there() -> None:
    documents = built("gateway")
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in documents.workloads]
    selectors = [each["spec"]["selector"] for each in documents.kind("Service")]
    selectors += [
        each["spec"]["selector"]["matchLabels"] for each in (*documents.kind("PodDisruptionBudget"), *documents.kind("Deployment"))
    ]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in documents.kind("NetworkPolicy")]
    for constraint in pod_spec(documents.proxied)["topologySpreadConstraints"]:
        selectors.append(constraint["labelSelector"]["matchLabels"])
    for selector in selectors:
        assert sum(selector.items() <= each.items() for each in labels) == 1, selector


def test_the_gateway_may_be_called_by_callers_and_go_where_it_has_to() -> None:
    documents = built("gateway")
    policy = documents.one("NetworkPolicy", "asrproxy-gateway")["spec"]
    ports = {each["name"] for each in proxy_of(pod_spec(documents.proxied))["ports"]}
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == ports
    [caller] = [each["podSelector"]["matchLabels"] for each in policy["ingress"][0]["from"]]
    assert caller.items() <= documents.one("Deployment", "example")["spec"]["template"]["metadata"]["labels"].items()
    out = {(port["port"], port["protocol"]) for rule in policy["egress"] for port in rule["ports"]}
    assert out == {(53, "UDP"), (53, "TCP"), (6379, "TCP"), (443, "TCP")}
    redis = documents.one("NetworkPolicy", "asrproxy-redis")["spec"]
    assert redis["ingress"][0]["from"] == [{"podSelector": policy["podSelector"]}]
    settings = yaml.safe_load(configuration("gateway"))
    host, _, port = settings["shared"]["redis"].removeprefix("redis://").partition("/")[0].partition(":")
    service = documents.one("Service", host)
    assert [each["port"] for each in service["spec"]["ports"]] == [int(port)]
    assert settings["server"]["tokens"]  # it is reached from other machines


def test_what_scales_the_gateway_fits_what_one_of_them_takes() -> None:
    documents = built("gateway")
    [scaler] = documents.kind("HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == documents.proxied["metadata"]["name"]
    assert "replicas" not in documents.proxied["spec"]  # each apply would undo what the autoscaler did
    limits = yaml.safe_load(configuration("gateway"))["policy"]["limits"]
    wanted = {each["pods"]["metric"]["name"]: each["pods"]["target"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods"}
    assert int(wanted["asrproxy_requests_in_flight"]["averageValue"]) < limits["concurrency"]
    [budget] = documents.kind("PodDisruptionBudget")
    assert scaler["spec"]["minReplicas"] > budget["spec"]["maxUnavailable"]


def test_the_jobs_shares_cover_the_list() -> None:
    spec = built("archive-job").proxied["spec"]
    [command] = [each for each in spec["template"]["spec"]["containers"] if each["name"] == "transcripts"]
    share = command["args"][command["args"].index("--share") + 1]
    assert share == f"$(SHARE)/{spec['completions']}"
    assert "--resume" in command["args"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_pod_monitor_finds_every_proxy_however_it_came_into_its_pod() -> None:
    [monitor] = built("monitoring").kind("PodMonitor")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    assert monitor["spec"]["selector"] == {}
    for name in EXAMPLES:
        ports = {each.get("name"): each["containerPort"] for each in proxy_of(pod_spec(built(name).proxied))["ports"]}
        assert ports[endpoint["port"]] == 8791
    assert endpoint["path"] == "/metrics"


def test_the_operators_rules_are_prometheus_own_and_the_dashboard_is_there() -> None:
    [rule] = built("monitoring").kind("PrometheusRule")
    rules = yaml.safe_load((ROOT / "deploy/prometheus/asrproxy.rules.yaml").read_text())
    assert rule["spec"] == rules, "run: python deploy/k8s/monitoring/generate.py"
    [dashboard] = built("monitoring").kind("ConfigMap")
    assert dashboard["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert dashboard["data"]["asrproxy.json"] == (ROOT / "deploy/grafana/asrproxy.json").read_text()
    assert {each["metadata"]["namespace"] for each in built("monitoring").documents} == {"monitoring"}


def test_every_kustomization_is_held_by_some_test() -> None:
    found = {str(each.parent.relative_to(DEPLOY)) for each in DEPLOY.rglob("kustomization.yaml")}
    parts = {each for each in found if "/" in each or each == "application"}
    assert found - parts == {*EXAMPLES, "monitoring", "admission-policy"}


def test_a_config_that_is_changed_restarts_nobody(tmp_path: Path) -> None:
    """The ConfigMap keeps its name: a pod that reads it anew needs no rollout."""
    copied = tmp_path / "k8s"
    subprocess.run(["cp", "-r", DEPLOY, copied], check=True)
    file = copied / "components/config/asrproxy.yaml"
    file.write_text(file.read_text() + "\n# another line\n")
    before, after = built("sidecar-native"), built(str(copied / "sidecar-native"))
    assert before.proxied == after.proxied
    assert before.one("ConfigMap", "asrproxy") != after.one("ConfigMap", "asrproxy")


def configuration(name: str) -> str:
    text: str = built(name).one("ConfigMap", "asrproxy")["data"]["asrproxy.yaml"]
    return text


def waiting(container: Json) -> float:
    """Seconds that a preStop hook waits."""
    if "lifecycle" not in container:
        return 0
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    seconds = re.fullmatch(r"import time; time\.sleep\((\d+)\)", command[-1])
    assert seconds is not None
    return float(seconds[1])


def by_name(spec: Json) -> Json:
    """A pod's lists of named things have no order that matters here."""
    return {key: {each["name"]: each for each in value} if key in ("containers", "volumes") else value for key, value in spec.items()}
