"""A pod and the platform's settings to the JSON patch that gives the pod its sidecar: pure, used by the command and the webhook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from asrproxy import __version__
from asrproxy.kube.annotations import STATUS, key
from asrproxy.kube.patch import Add, Patch
from asrproxy.kube.pod import DEFAULT_GRACE, Container, Pod, read
from asrproxy.kube.refusal import Reason, Refused
from asrproxy.kube.settings import InjectionSettings
from asrproxy.kube.sidecar import (
    MOUNTS,
    NAME,
    SECRET_MOUNTS,
    SLACK,
    VOLUMES,
    Parts,
    application_variable,
    arguments,
    container,
    route_arguments,
    secret_volumes,
    volumes,
    waiting,
)
from asrproxy.kube.wish import Mode, Wish, asks, read_wish, wanted

MIRROR = "kubernetes.io/config.mirror"


def inject(pod: object, settings: InjectionSettings) -> Patch:
    """What makes the pod (or a pod template: metadata and spec) one with a sidecar; empty where it has one from here, or wants none.

    Raises Refused: it cannot have one, and why. Raises Malformed: it is not of a pod's shape.
    """
    seen = read(pod)
    if is_injected(seen) or not wanted(seen, settings):
        return ()
    wish = read_wish(seen, settings)
    reason = _hindrance(seen, wish, settings)
    if reason is not None:
        raise Refused(reason, asked=asks(seen))
    return tuple(_patch(seen, wish, settings))


def is_injected(pod: Pod) -> bool:
    """Whether the sidecar is there, and by injection. The annotation alone may have come from a copied manifest."""
    return key(STATUS) in (pod.annotations or {}) and any(each.name == NAME for each in pod.every_container)


def grace_of(pod: Pod, wish: Wish, settings: InjectionSettings) -> tuple[int, int]:
    """Seconds: how long a classic sidecar serves on, and the grace that the pod then needs.

    A native sidecar is told to end when the application's containers have ended: its drain is all it needs. A classic one is told at the
    same moment as they are, and serves on for as long as they may.
    """
    own = DEFAULT_GRACE if pod.grace is None else pod.grace
    wait = 0 if wish.mode == "native" else own if settings.wait is None else int(settings.wait)
    return wait, max(own, wait + wish.drain + SLACK)


def position(pod: Pod, settings: InjectionSettings) -> int:
    """Where in `initContainers` a native sidecar goes: first, so that whatever starts later finds it, but behind the pod's network."""
    return max((place for place, each in enumerate(pod.init_containers or (), 1) if each.name in settings.after), default=0)


def status(mode: Mode, *, secret: bool) -> str:
    """What the pod is marked with: JSON."""
    names = [name for name in VOLUMES if secret or name != "asrproxy-secret"]
    return json.dumps({"version": __version__, "mode": mode, "container": NAME, "volumes": names}, separators=(",", ":"))


def _hindrance(pod: Pod, wish: Wish, settings: InjectionSettings) -> Reason | None:
    if MIRROR in (pod.annotations or {}):
        return Reason.MIRROR
    if pod.host_network:
        return Reason.HOST_NETWORK
    if pod.windows:
        return Reason.WINDOWS
    if any(each.name == NAME for each in pod.every_container):
        return Reason.CONTAINER
    if any(port in (settings.api_port, settings.ops_port) for each in pod.every_container for port in each.tcp_ports):
        return Reason.PORT
    if any(name in VOLUMES for name in pod.volumes or ()):
        return Reason.VOLUME
    if wish.mode == "classic" and pod.ends:
        return Reason.NEVER_ENDS
    return None


def _patch(pod: Pod, wish: Wish, settings: InjectionSettings) -> Iterator[Add]:
    if wish.env:
        yield from _variables(pod, wish, settings)
    wait, grace = grace_of(pod, wish, settings)
    yield from _container(pod, _made(wish, wait, settings), wish, settings)
    added = volumes(wish.config, settings) + ([] if wish.secret is None else secret_volumes(wish.secret))
    if pod.volumes is None:
        yield Add(("spec", "volumes"), added)
    else:
        for each in added:
            yield Add(("spec", "volumes", "-"), each)
    if grace > (DEFAULT_GRACE if pod.grace is None else pod.grace):
        yield Add(("spec", "terminationGracePeriodSeconds"), grace)
    mark = status(wish.mode, secret=wish.secret is not None)
    if pod.annotations is not None:
        yield Add(("metadata", "annotations", key(STATUS)), mark)
    elif pod.has_metadata:
        yield Add(("metadata", "annotations"), {key(STATUS): mark})
    else:
        yield Add(("metadata",), {"annotations": {key(STATUS): mark}})


def _variables(pod: Pod, wish: Wish, settings: InjectionSettings) -> Iterator[Add]:
    """Before anything is moved. First in its list, so that the container's own variables may refer to it; never over one of its own."""
    variable = application_variable(settings)

    def lacks(each: Container) -> bool:
        return each.name not in settings.after and variable["name"] not in (each.env or ())

    start = position(pod, settings)
    later = [("initContainers", place, each) for place, each in enumerate(pod.init_containers or ()) if place >= start]
    usual = [("containers", place, each) for place, each in enumerate(pod.containers)]
    for name, place, each in (later if wish.mode == "native" else []) + usual:
        if lacks(each):
            at = ("spec", name, place, "env")
            yield Add(at, [variable]) if each.env is None else Add((*at, 0), variable)


def _container(pod: Pod, made: dict[str, Any], wish: Wish, settings: InjectionSettings) -> Iterator[Add]:
    if wish.mode == "classic":
        yield Add(("spec", "containers", "-"), made)
    elif pod.init_containers is None:
        yield Add(("spec", "initContainers"), [made])
    else:
        yield Add(("spec", "initContainers", position(pod, settings)), made)


def _made(wish: Wish, wait: int, settings: InjectionSettings) -> dict[str, Any]:
    given = {"requests": wish.requests, "limits": wish.limits}
    parts = Parts(
        image=wish.image,
        arguments=arguments(settings) + ([] if wish.route is None else route_arguments(wish.route)),
        resources={name: dict(values) for name, values in given.items() if values is not None},
        mounts=MOUNTS + ([] if wish.secret is None else SECRET_MOUNTS),
        before_end=None if wish.mode == "native" else waiting(wait),
    )
    return container(parts, settings)
