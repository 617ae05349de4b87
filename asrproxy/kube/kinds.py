"""Where a manifest has its pods: which kinds hold a pod or a template of one, and at what place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Place = tuple[str | int, ...]

_TEMPLATE: Final[Place] = ("spec", "template")
PODS: Final[Mapping[tuple[str, str], Place]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""By API group and kind. Other projects' kinds (an Argo Rollout) have templates too, but are theirs."""


@dataclass(frozen=True, slots=True)
class Found:
    """place: of the pod or template below the document's top. name: as a person would say it, `Deployment/web`."""

    place: Place
    pod: Any
    name: str


def pods(document: object, place: Place = ()) -> Iterator[Found]:
    """The pods and pod templates of a manifest, those of a List one by one, in order."""
    if not isinstance(document, Mapping):
        return
    kind, group = str(document.get("kind")), _group(document.get("apiVersion"))
    if kind.endswith("List") and isinstance(items := document.get("items"), list):
        for index, each in enumerate(items):
            # A typed list's items may leave their kind out.
            typed = {"kind": kind.removesuffix("List"), "apiVersion": document.get("apiVersion")} if kind != "List" else {}
            yield from pods({**typed, **each} if isinstance(each, Mapping) else each, (*place, "items", index))
        return
    below = PODS.get((group, kind))
    if below is None:
        return
    pod: object = document
    for key in below:
        pod = pod.get(key) if isinstance(pod, Mapping) else None
    metadata = document.get("metadata")
    name = metadata.get("name", metadata.get("generateName")) if isinstance(metadata, Mapping) else None
    yield Found((*place, *below), pod, f"{kind}/{name or '?'}")


def _group(api_version: object) -> str:
    group, slash, _ = str(api_version).rpartition("/")
    return group if slash else ""
