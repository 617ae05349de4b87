"""A pod, or a pod template, as far as the injector reads it; all else in it stays unseen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asrproxy.kube.refusal import Malformed

Json = Mapping[str, Any]
DEFAULT_GRACE = 30
"""Seconds; what a pod has that says nothing."""


@dataclass(frozen=True, slots=True)
class Container:
    """One entry of `containers`, `initContainers` or `ephemeralContainers`."""

    name: str
    env: tuple[str, ...] | None
    """The names of its variables, in order; None: there is no such list."""
    tcp_ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pod:
    """What a pod says. Lists that it does not have are None, which is not the same to a JSON patch as an empty one."""

    has_metadata: bool
    annotations: Mapping[str, str] | None
    labels: Mapping[str, str]
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] | None
    ephemeral_containers: tuple[Container, ...]
    volumes: tuple[str, ...] | None
    host_network: bool
    windows: bool
    ends: bool
    """It is to end by itself: its restartPolicy is not Always."""
    has_resources: bool
    """Requests and limits of the pod as a whole, which its containers share."""
    grace: int | None

    @property
    def every_container(self) -> Iterator[Container]:
        yield from self.init_containers or ()
        yield from self.containers
        yield from self.ephemeral_containers


def read(pod: object) -> Pod:
    """Raises Malformed: it is not of a pod's shape."""
    root = _mapping(pod, "the pod")
    metadata = _mapping_at(root, "metadata") or {}
    spec = _mapping_at(root, "spec")
    if spec is None:
        raise Malformed("spec: expected a mapping")
    containers = _containers(spec, "containers")
    if not containers:
        raise Malformed("spec.containers: expected at least one container")
    selector = _mapping_at(spec, "nodeSelector", "spec.") or {}
    os = _mapping_at(spec, "os", "spec.") or {}
    nodes = (os.get("name"), selector.get("kubernetes.io/os"), selector.get("beta.kubernetes.io/os"))
    volumes = _list_at(spec, "volumes", "spec.")
    annotations = _mapping_at(metadata, "annotations", "metadata.")
    return Pod(
        has_metadata=bool(_mapping_at(root, "metadata") is not None),
        annotations=None if annotations is None else _texts(annotations, "metadata.annotations"),
        labels=_texts(_mapping_at(metadata, "labels", "metadata.") or {}, "metadata.labels"),
        containers=containers,
        init_containers=_containers(spec, "initContainers"),
        ephemeral_containers=_containers(spec, "ephemeralContainers") or (),
        volumes=None if volumes is None else tuple(_name(each, f"spec.volumes[{place}]") for place, each in enumerate(volumes)),
        host_network=spec.get("hostNetwork") is True,
        windows="windows" in nodes,
        ends=spec.get("restartPolicy") not in (None, "Always"),
        has_resources=spec.get("resources") is not None,
        grace=_whole(spec, "terminationGracePeriodSeconds", "spec."),
    )


def _containers(spec: Json, key: str) -> tuple[Container, ...] | None:
    given = _list_at(spec, key, "spec.")
    return None if given is None else tuple(_container(each, f"spec.{key}[{place}]") for place, each in enumerate(given))


def _container(value: object, path: str) -> Container:
    container = _mapping(value, path)
    env = _list_at(container, "env", f"{path}.")
    ports = [
        port.get("containerPort")
        for place, each in enumerate(_list_at(container, "ports", f"{path}.") or ())
        if (port := _mapping(each, f"{path}.ports[{place}]")).get("protocol") in (None, "TCP")
    ]
    return Container(
        name=_name(container, path),
        env=None if env is None else tuple(_name(each, f"{path}.env[{place}]") for place, each in enumerate(env)),
        tcp_ports=tuple(port for port in ports if isinstance(port, int)),
    )


def _mapping(value: object, path: str) -> Json:
    if not isinstance(value, Mapping):
        raise Malformed(f"{path}: expected a mapping")
    return value


def _mapping_at(value: Json, key: str, within: str = "") -> Json | None:
    below = value.get(key)
    return None if below is None else _mapping(below, within + key)


def _list_at(value: Json, key: str, within: str) -> list[object] | None:
    below = value.get(key)
    if below is None:
        return None
    if not isinstance(below, list):
        raise Malformed(f"{within}{key}: expected a list")
    return below


def _name(value: object, path: str) -> str:
    name = _mapping(value, path).get("name")
    if not isinstance(name, str) or not name:
        raise Malformed(f"{path}.name: expected a name")
    return name


def _whole(value: Json, key: str, within: str) -> int | None:
    below = value.get(key)
    if below is None:
        return None
    if not isinstance(below, int) or isinstance(below, bool) or below < 0:
        raise Malformed(f"{within}{key}: expected whole seconds")
    return below


def _texts(value: Json, path: str) -> dict[str, str]:
    for key, text in value.items():
        if not isinstance(text, str):  # `true` without quotes, as everybody writes once
            raise Malformed(f"{path}.{key}: expected text, so a number, true or false stands in quotes")
    return dict(value)
