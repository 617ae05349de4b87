"""What one pod gets: its annotations over the platform's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from asrproxy.kube.annotations import ANNOTATIONS, INJECT, PREFIX, STATUS, key
from asrproxy.kube.pod import Pod
from asrproxy.kube.quantity import amount
from asrproxy.kube.refusal import Reason, Refused, unfit, unknown
from asrproxy.kube.settings import InjectionSettings

Mode = Literal["native", "classic"]


@dataclass(frozen=True, slots=True)
class Wish:
    """drain: seconds. requests, limits: quantities by resource; None: the pod's own, as a whole, are for the sidecar too."""

    mode: Mode
    config: str
    secret: str | None
    route: str | None
    image: str
    env: bool
    drain: int
    requests: Mapping[str, str] | None
    limits: Mapping[str, str] | None


def asks(pod: Pod) -> bool:
    """Whether the pod itself speaks of injection; else it is only its namespace that does, or whoever runs the command."""
    said = pod.annotations or {}
    return key(INJECT) in pod.labels or any(name.startswith(PREFIX) and name != key(STATUS) for name in said)


def wanted(pod: Pod, settings: InjectionSettings) -> bool:
    """Whether the pod is to get a sidecar: one that says no, as annotation or label, never does. Raises Refused."""
    said = [place[key(INJECT)] for place in (pod.annotations or {}, pod.labels) if key(INJECT) in place]
    for value in said:
        if not ANNOTATIONS[INJECT].allows(value):
            raise Refused(unfit(key(INJECT), ANNOTATIONS[INJECT].expected), asked=True)
    return "false" not in said and ("true" in said or not settings.opt_in)


def read_wish(pod: Pod, settings: InjectionSettings) -> Wish:
    """Raises Refused: an annotation that is none, or holds what it cannot."""
    said = {name.removeprefix(PREFIX): value for name, value in (pod.annotations or {}).items() if name.startswith(PREFIX)}
    said.pop(STATUS, None)
    strange = sorted(name for name in said if name not in ANNOTATIONS)
    if strange:
        raise Refused(unknown(", ".join(map(key, strange)), ", ".join(map(key, ANNOTATIONS))), asked=True)
    for name, value in said.items():
        if not ANNOTATIONS[name].allows(value):
            raise Refused(unfit(key(name), ANNOTATIONS[name].expected), asked=True)
    requests, limits = _resources(said.get("resources"), pod, settings)
    mode: Mode = "native" if said.get("mode", settings.mode) == "native" else "classic"
    return Wish(
        mode=mode,
        config=said.get("config", settings.config),
        secret=said.get("secret", settings.secret),
        route=said.get("route", settings.route),
        image=said.get("image", settings.image),
        env=said["env"] == "true" if "env" in said else settings.env,
        drain=int(said["drain"].removesuffix("s")) if "drain" in said else int(settings.drain),
        requests=requests,
        limits=limits,
    )


def _resources(said: str | None, pod: Pod, settings: InjectionSettings) -> tuple[Mapping[str, str], Mapping[str, str]] | tuple[None, None]:
    if said is None and pod.has_resources:
        return None, None
    given: dict[str, str] = {}
    for part in said.split(",") if said else ():
        name, _, value = part.partition("=")
        if name in given:
            raise Refused(Reason.RESOURCES_TWICE, asked=True)
        given[name] = value
    requests = {
        "cpu": given.get("requests.cpu", settings.requests.cpu),
        "memory": given.get("requests.memory", settings.requests.memory),
    }
    limits = {"memory": given.get("limits.memory", settings.limits.memory)}
    if (cpu := given.get("limits.cpu", settings.limits.cpu)) is not None:
        limits = {"cpu": cpu, **limits}
    for name, limit in limits.items():
        if amount(requests[name]) > amount(limit):
            raise Refused(Reason.ABOVE_LIMIT, asked=True)
    return requests, limits
