"""Whether a cluster would take a pod: Kubernetes' own schemas, the rules that these do not hold, and Pod Security's "restricted"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from kubernetes_validate import utils
from referencing import Registry, Resource

from asrproxy.kube.quantity import amount

OLDEST = "1.29"
"""The first with native sidecars on by default."""
NEWEST = utils.major_minor(utils.latest_version())

Json = Mapping[str, Any]


@cache
def _validator(kind: str, api: str, version: str) -> Draft202012Validator:
    """kubernetes-validate reads its schemas anew for each object; these are read once."""
    folder = next(each for each in utils.all_versions() if utils.major_minor(each) == version)
    where = f"kubernetes-json-schema/v{folder}-local-strict"
    schema = utils.schema_contents(f"{where}/{kind}-{api}.json", version)
    shared = Resource.from_contents(utils.schema_contents(f"{where}/_definitions.json", version))
    return Draft202012Validator(schema, registry=shared @ Registry())


def schema_faults(manifest: Json, version: str) -> list[str]:
    """What a strict schema has against it: unknown fields, too."""
    api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", manifest["apiVersion"])
    found = _validator(manifest["kind"].lower(), api, version).iter_errors(manifest)
    return [f"{each.json_path}: {each.message[:200]}" for each in found]


def pod_faults(pod: Json, version: str) -> list[str]:
    """Of a pod as the webhook gets it: metadata and spec."""
    named = {"apiVersion": "v1", "kind": "Pod", **pod}
    return schema_faults(named, version) + list(_rules(pod["spec"]))


def _rules(spec: Json) -> Iterator[str]:
    """What Kubernetes checks of a pod beside its schema, as far as injection could break it."""
    init, usual = spec.get("initContainers") or [], spec.get("containers") or []
    volumes = [each["name"] for each in spec.get("volumes") or []]
    yield from (f"two containers are called {name}" for name in _twice(each["name"] for each in [*init, *usual]))
    yield from (f"two volumes are called {name}" for name in _twice(volumes))
    for each in [*init, *usual]:
        name = each["name"]
        if re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) is None:
            yield f"{name} is no container's name"
        for mount in each.get("volumeMounts") or []:
            if mount["name"] not in volumes:
                yield f"{name} mounts {mount['name']}, which is no volume"
        yield from (f"{name} mounts twice at {path}" for path in _twice(mount["mountPath"] for mount in each.get("volumeMounts") or []))
        yield from (f"{name} sets {variable} twice" for variable in _twice(entry["name"] for entry in each.get("env") or []))
        yield from (
            f"{name} has two ports named {port}" for port in _twice(port["name"] for port in each.get("ports") or [] if "name" in port)
        )
        for port in each.get("ports") or []:
            if len(port.get("name", "")) > 15:
                yield f"{name}'s port has a name of more than 15 characters"
        resources = each.get("resources") or {}
        for resource, limit in (resources.get("limits") or {}).items():
            request = (resources.get("requests") or {}).get(resource)
            if request is not None and amount(str(request)) > amount(str(limit)):
                yield f"{name} requests more {resource} than its limit"
        plain = each in init and each.get("restartPolicy") != "Always"
        if plain and any(key in each for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")):
            yield f"{name} is an init container, which has no probes"
        if each in usual and "restartPolicy" in each:
            yield f"{name} is no init container, and has a restart policy of its own"
    if sum(each["name"] == "asrproxy" for each in [*init, *usual]) > 1:
        yield "two sidecars"


def _twice(names: Iterator[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def restricted_faults(spec: Json) -> list[str]:
    """Pod Security Standards, profile "restricted" (with "baseline" in it), as published for Linux pods."""
    faults = [f"{each} is set" for each in ("hostNetwork", "hostPID", "hostIPC") if spec.get(each)]
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes") or []:
        faults += [f"volume {volume['name']} is a {kind}" for kind in volume.keys() - {"name"} - allowed]
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        faults += [f"{container['name']}: {each}" for each in _container_faults(container, spec.get("securityContext") or {})]
    return faults


def _container_faults(container: Json, of_pod: Json) -> Iterator[str]:
    own = container.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    seccomp = (own.get("seccompProfile") or of_pod.get("seccompProfile") or {}).get("type")
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may escalate its privileges"
    if not own.get("runAsNonRoot", of_pod.get("runAsNonRoot")):
        yield "may run as root"
    if own.get("runAsUser", of_pod.get("runAsUser")) == 0:
        yield "runs as root"
    if seccomp not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    if "ALL" not in (capabilities.get("drop") or []) or set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield "keeps capabilities"
    if own.get("procMount", "Default") != "Default":
        yield "unmasks /proc"
    if any("hostPort" in port and port["hostPort"] for port in container.get("ports") or []):
        yield "takes a port of the node"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if "host" in ((container.get(probe) or {}).get("httpGet") or {}):
            yield f"{probe} goes to a host of its own choice"
