"""Pods to inject into: the shapes of tests/kubernetes/shapes.yaml, and such that hypothesis makes up."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from asrproxy.kube.inject import inject
from asrproxy.kube.settings import InjectionSettings
from tests.kubernetes.json_patch import patched

Pod = dict[str, Any]
DEFAULTS = InjectionSettings()


@dataclass(frozen=True)
class Shape:
    """A pod of real life, and what becomes of it."""

    name: str
    expect: str
    pod: Pod

    def __str__(self) -> str:
        return self.name


@cache
def shapes() -> tuple[Shape, ...]:
    text = (Path(__file__).parent / "shapes.yaml").read_text()
    pods = list(yaml.safe_load_all(text))
    return tuple(Shape(pod["metadata"]["labels"].pop("shape"), pod["metadata"]["labels"].pop("expect"), pod) for pod in pods)


def shape(name: str) -> Pod:
    return copy.deepcopy(next(each.pod for each in shapes() if each.name == name))


def injected(pod: Pod, settings: InjectionSettings = DEFAULTS) -> Pod:
    """The pod after its patch, which is applied as JSON by an applier that is not the product's."""
    return patched(pod, [each.written() for each in inject(pod, settings)])


def sidecar(pod: Pod) -> dict[str, Any]:
    """The container that injection put into a pod."""
    everywhere = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
    [found] = [each for each in everywhere if each["name"] == "asrproxy"]
    return found


def simple(**annotations: str) -> Pod:
    """A pod that says something under asrproxy.io/."""
    said = {f"asrproxy.io/{name}": value for name, value in annotations.items()}
    return {"metadata": {"name": "app", "annotations": said}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}


NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True).filter(lambda name: not name.startswith("asrproxy"))
MESHES = st.sampled_from(DEFAULTS.after)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
QUANTITIES = st.sampled_from(["1m", "100m", "1", "64Mi", "1.5Gi", "2G"])


def _dictionaries(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


VARIABLES = st.lists(
    st.one_of(
        _dictionaries({"name": st.sampled_from(["PORT", "HOME", "ASR_URL", "A_B"]), "value": TEXT}, {}),
        st.just({"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    ),
    max_size=3,
    unique_by=lambda each: each["name"],
)
PORTS = st.lists(
    _dictionaries(
        {"containerPort": st.integers(1, 65535).filter(lambda port: port not in (8790, 8791))},
        {"protocol": st.sampled_from(["TCP", "UDP", "SCTP"])},
    ),
    max_size=2,
)
SECURITY = _dictionaries({}, {"runAsUser": st.integers(0, 70000), "privileged": st.booleans(), "readOnlyRootFilesystem": st.booleans()})


@st.composite
def _containers(draw: st.DrawFn, names: list[str], volumes: list[str], *, init: bool) -> list[dict[str, Any]]:
    made = []
    for name in names:
        container = {"name": name, "image": draw(st.sampled_from(["app:1", "registry.example/a/b@sha256:" + "0" * 64]))}
        container |= draw(
            _dictionaries(
                {},
                {
                    "env": VARIABLES,
                    "ports": PORTS,
                    "command": st.lists(TEXT, max_size=2),
                    "securityContext": SECURITY,
                    "resources": st.builds(lambda quantity: {"requests": {"cpu": quantity}}, QUANTITIES),
                    "imagePullPolicy": st.sampled_from(["Always", "Never"]),
                },
            )
        )
        if volumes and draw(st.booleans()):
            container["volumeMounts"] = [{"name": draw(st.sampled_from(volumes)), "mountPath": "/mnt/a", "readOnly": draw(st.booleans())}]
        if init and draw(st.booleans()):
            container["restartPolicy"] = "Always"
        made.append(container)
    return made


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    """Such that can have a sidecar, as their authors write them: with what may be left out left out, and empty lists."""
    names = draw(st.lists(st.one_of(NAMES, MESHES), min_size=1, max_size=6, unique=True))
    usual = draw(st.integers(1, len(names)))
    volumes = draw(st.lists(NAMES, max_size=3, unique=True))
    spec: Pod = {"containers": draw(_containers(names[:usual], volumes, init=False))}
    if volumes or draw(st.booleans()):
        kinds = st.sampled_from(
            [{"emptyDir": {}}, {"configMap": {"name": "x"}}, {"hostPath": {"path": "/x"}}, {"secret": {"secretName": "x"}}]
        )
        spec["volumes"] = [{"name": name, **draw(kinds)} for name in volumes]
    if names[usual:] or draw(st.booleans()):
        spec["initContainers"] = draw(_containers(names[usual:], volumes, init=True))
    spec |= draw(
        _dictionaries(
            {},
            {
                "terminationGracePeriodSeconds": st.integers(0, 4000),
                "restartPolicy": st.sampled_from(["Always", "OnFailure", "Never"]),
                "nodeSelector": st.sampled_from([{}, {"kubernetes.io/os": "linux"}, {"zone": "a"}]),
                "hostNetwork": st.just(False),
                "securityContext": st.just({"fsGroup": 1000}),
                "tolerations": st.just([{"operator": "Exists"}]),
            },
        )
    )
    mode = draw(st.sampled_from(["native", "classic"] if spec.get("restartPolicy", "Always") == "Always" else ["native"]))
    annotations = draw(
        _dictionaries(
            {},
            {
                "asrproxy.io/inject": st.just("true"),
                "asrproxy.io/env": st.sampled_from(["true", "false"]),
                "asrproxy.io/config": st.sampled_from(["a", "team.asr"]),
                "asrproxy.io/secret": st.just("keys"),
                "asrproxy.io/route": st.just("fast"),
                "asrproxy.io/image": st.just("registry.example:5000/x/asrproxy@sha256:" + "a" * 64),
                "asrproxy.io/resources": st.sampled_from(["requests.cpu=1,limits.cpu=2", "limits.memory=3Gi,requests.memory=2Gi"]),
                "asrproxy.io/drain": st.sampled_from(["0s", "5s", "600s"]),
                "example.com/other": TEXT,
            },
        )
    )
    if mode == "classic" or draw(st.booleans()):
        annotations["asrproxy.io/mode"] = mode
    metadata = {"name": draw(NAMES), **draw(_dictionaries({}, {"labels": st.just({"app": "a"})}))}
    if annotations or draw(st.booleans()):
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": spec}
