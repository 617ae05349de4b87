"""The webhook's and the policies' own manifests: they build, are valid, restricted, up to date, and reach the right pods."""

from __future__ import annotations

import asyncio
import base64
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import celpy
import pytest
import yaml

from asrproxy.kube.admission_policy import manifests
from asrproxy.kube.certificates import Certificates
from asrproxy.kube.settings import load
from asrproxy.kube.webhook import webhook
from tests.kubernetes.api_server_cel import Program
from tests.kubernetes.conftest import ROOT
from tests.kubernetes.pods import DEFAULTS
from tests.kubernetes.selectors import selects
from tests.kubernetes.validity import NEWEST, OLDEST, restricted_faults, schema_faults

DEPLOY = ROOT / "deploy" / "k8s"
SERVICE = "asrproxy-webhook.asrproxy-system.svc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests, with a certificate of one's own."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    copy = tmp_path_factory.mktemp("deploy") / "k8s"
    shutil.copytree(DEPLOY, copy)
    make(copy / "webhook" / "self-signed")
    return copy


def make(folder: Path) -> None:
    subprocess.run([folder / "make-certificate"], check=True, capture_output=True, timeout=60)


def built(folder: Path) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: nothing builds the kustomization")
    done = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True, timeout=60)
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("way", ["cert-manager", "self-signed"])
def test_the_webhooks_manifests_are_valid(folder: Path, way: str) -> None:
    documents = built(folder / "webhook" / way)
    kinds = {each["kind"] for each in documents}
    assert kinds >= {"Deployment", "Service", "MutatingWebhookConfiguration", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"}
    for document in documents:
        if document["apiVersion"].startswith("cert-manager.io/"):
            continue  # cert-manager's own kinds: Kubernetes has no schema of them
        for version in (OLDEST, NEWEST):
            assert schema_faults(document, version) == [], document["metadata"]["name"]


def test_the_webhooks_parts_fit_together(folder: Path) -> None:
    documents = {each["kind"]: each for each in built(folder / "webhook" / "self-signed")}
    spec = documents["Deployment"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert restricted_faults(spec) == []
    assert {key: each for key, each in spec["securityContext"].items() if key.startswith("run")} == {"runAsNonRoot": True}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["settings"]["configMap"]["name"] == documents["ConfigMap"]["metadata"]["name"]
    assert volumes["certificate"]["secret"]["secretName"] == documents["Secret"]["metadata"]["name"]
    assert documents["Service"]["spec"]["selector"].items() <= documents["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    for each in documents["MutatingWebhookConfiguration"]["webhooks"]:
        service = each["clientConfig"]["service"]
        assert (service["name"], service["namespace"]) == (documents["Service"]["metadata"]["name"], "asrproxy-system")
        assert base64.b64decode(each["clientConfig"]["caBundle"]).startswith(b"-----BEGIN CERTIFICATE-----")
        assert (each["sideEffects"], each["admissionReviewVersions"]) == ("None", ["v1"])
        assert spec["terminationGracePeriodSeconds"] > 5 + each["timeoutSeconds"]


async def test_an_api_server_trusts_the_certificate_of_ones_own(folder: Path) -> None:
    own = folder / "webhook" / "self-signed"
    [first, second] = yaml.safe_load((own / "ca-bundle.yaml").read_text())
    assert first["value"] == second["value"]
    bundle = base64.b64decode(first["value"]).decode()
    certificates = Certificates(own / "tls.crt", own / "tls.key", observer=lambda event: None)
    async with webhook(DEFAULTS, certificates, listen="127.0.0.1:0", observer=lambda event: None) as running:
        port = int(running.url.rpartition(":")[2])

        async def serial() -> str:
            context = ssl.create_default_context(cadata=bundle)
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=SERVICE)
            shown = writer.get_extra_info("peercert")["serialNumber"]
            writer.close()
            return str(shown)

        before = await serial()
        await asyncio.to_thread(make, own)  # renewed: the authority is the same, so no API server has to be told
        certificates.look()
        assert await serial() != before
    assert (own / "ca.key").stat().st_mode & 0o077 == 0


def test_the_committed_policy_is_what_its_settings_make() -> None:
    where = DEPLOY / "admission-policy"
    made = manifests(load(where / "settings.yaml"))
    assert (where / "policy.yaml").read_text() == made, "asrproxy admission-policy --settings settings.yaml > policy.yaml"


def test_the_policys_manifests_build(folder: Path) -> None:
    documents = built(folder / "admission-policy")
    assert len(documents) == 6
    for document in documents:
        assert schema_faults(document, NEWEST) == []


def test_the_settings_of_both_are_alike() -> None:
    assert load(DEPLOY / "webhook" / "base" / "settings.yaml") == load(DEPLOY / "admission-policy" / "settings.yaml")


SAYS = "asrproxy.io/inject"


@pytest.mark.parametrize(
    ("namespace", "labels", "annotations", "address"),
    [
        ({}, {}, {}, None),
        ({}, {SAYS: "true"}, {}, "/inject"),
        ({}, {}, {SAYS: "true"}, "/inject"),
        ({}, {SAYS: "maybe"}, {}, "/inject"),  # to be told so
        ({SAYS: "true"}, {}, {}, "/inject/all"),
        ({SAYS: "true"}, {SAYS: "true"}, {SAYS: "true"}, "/inject/all"),
        ({SAYS: "true"}, {SAYS: "false"}, {}, None),
        ({SAYS: "false"}, {SAYS: "true"}, {SAYS: "true"}, None),
        ({"kubernetes.io/metadata.name": "kube-system", SAYS: "true"}, {SAYS: "true"}, {}, None),
        ({"kubernetes.io/metadata.name": "asrproxy-system", SAYS: "false"}, {SAYS: "true"}, {}, None),
    ],
)
def test_a_pod_reaches_the_address_that_is_meant_for_it(
    namespace: dict[str, str], labels: dict[str, str], annotations: dict[str, str], address: str | None
) -> None:
    configuration = yaml.safe_load((DEPLOY / "webhook" / "base" / "webhook.yaml").read_text())
    pod = {"metadata": {key: each for key, each in (("labels", labels), ("annotations", annotations)) if each}}
    reached = [
        each["clientConfig"]["service"]["path"]
        for each in configuration["webhooks"]
        if selects(each.get("namespaceSelector"), namespace)
        and selects(each.get("objectSelector"), labels)
        and all(Program(one["expression"]).run({"object": celpy.json_to_cel(pod)}) for one in each.get("matchConditions", []))
    ]
    assert reached == ([] if address is None else [address])
