"""The manifests of deploy/k8s as `kubectl kustomize` builds them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "k8s"
EXAMPLES = ("sidecar-native", "sidecar-classic", "gateway", "archive-job")
Json = dict[str, Any]


@dataclass(frozen=True)
class Built:
    """One kustomization's documents."""

    documents: tuple[Json, ...]

    def kind(self, kind: str) -> list[Json]:
        return [each for each in self.documents if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Json:
        [found] = [each for each in self.kind(kind) if each["metadata"]["name"] == name]
        return found

    @property
    def workloads(self) -> list[Json]:
        return [*self.kind("Deployment"), *self.kind("Job")]

    @property
    def proxied(self) -> Json:
        """The workload that has the proxy in it."""
        [found] = [each for each in self.workloads if any(one["name"] == "asrproxy" for one in containers(pod_spec(each)))]
        return found


@cache
def built(name: str) -> Built:
    """Skips where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: nothing builds the kustomization")
    done = subprocess.run(["kubectl", "kustomize", DEPLOY / name], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return Built(tuple(yaml.safe_load_all(done.stdout)))


def pod_spec(workload: Json) -> Json:
    spec: Json = workload["spec"]["template"]["spec"]
    return spec


def containers(spec: Json) -> list[Json]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def proxy_of(spec: Json) -> Json:
    [found] = [each for each in containers(spec) if each["name"] == "asrproxy"]
    return found
