"""The sidecar's container and volumes as a pod has them.

A leaf may be a value, or an expression that stands for one: the admission policy is made of the same parts as the injector's patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from asrproxy.kube.settings import InjectionSettings

NAME: Final = "asrproxy"
CONFIG_FOLDER: Final = "/etc/asrproxy"
SECRET_FOLDER: Final = "/etc/asrproxy-secret"  # noqa: S105 -- a folder
SPOOL_FOLDER: Final = "/var/spool/asrproxy"
CACHE_FOLDER: Final = "/var/cache/asrproxy"
VOLUMES: Final = ("asrproxy-config", "asrproxy-secret", "asrproxy-spool", "asrproxy-cache")

SLACK: Final = 5
"""Seconds between the end of the drain and the kill: what the process needs to close."""

Leaf = Any
"""A JSON value, or an expression of the policy."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What differs from pod to pod. before_end: the command that the classic mode's preStop hook runs; None: native mode."""

    image: Leaf
    arguments: Leaf
    resources: Leaf
    mounts: Leaf
    before_end: Leaf | None


def container(parts: Parts, settings: InjectionSettings) -> dict[str, Leaf]:
    """Fit for Pod Security's "restricted"."""
    native = parts.before_end is None
    pull = {} if settings.pull_policy is None else {"imagePullPolicy": settings.pull_policy}
    user = {} if settings.run_as is None else {"runAsUser": settings.run_as}
    readiness = {"readinessProbe": _probe("/readyz", settings, period=5, failures=2)} if settings.readiness else {}
    return {
        "name": NAME,
        "image": parts.image,
        **pull,
        "args": parts.arguments,
        **({"restartPolicy": "Always"} if native else {}),
        "env": [{"name": "TMPDIR", "value": SPOOL_FOLDER}, {"name": "XDG_CACHE_HOME", "value": CACHE_FOLDER}],
        "ports": [{"name": "asrproxy-ops", "containerPort": settings.ops_port, "protocol": "TCP"}],
        # In native mode the next container starts when this one has passed: the application's first call finds a route that answers.
        "startupProbe": _probe("/readyz", settings, period=1, failures=120),
        **readiness,
        "livenessProbe": _probe("/livez", settings, period=10, failures=3),
        **({} if native else {"lifecycle": {"preStop": {"exec": {"command": parts.before_end}}}}),
        "resources": parts.resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            **user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",  # a bad configuration is then shown by `kubectl describe`
        "volumeMounts": parts.mounts,
    }


def _probe(path: str, settings: InjectionSettings, *, period: int, failures: int) -> dict[str, Leaf]:
    return {
        "httpGet": {"path": path, "port": settings.ops_port},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def arguments(settings: InjectionSettings) -> list[Leaf]:
    """Before what a route adds."""
    return ["serve", "--config", f"{CONFIG_FOLDER}/{settings.config_key}"]


def route_arguments(route: Leaf) -> list[Leaf]:
    """For a route that is not the configuration's `default`."""
    return ["--route", route]


MOUNTS: Final[list[Leaf]] = [
    {"name": "asrproxy-config", "mountPath": CONFIG_FOLDER, "readOnly": True},
    {"name": "asrproxy-spool", "mountPath": SPOOL_FOLDER},
    {"name": "asrproxy-cache", "mountPath": CACHE_FOLDER},
]
SECRET_MOUNTS: Final[list[Leaf]] = [{"name": "asrproxy-secret", "mountPath": SECRET_FOLDER, "readOnly": True}]


def volumes(config: Leaf, settings: InjectionSettings) -> list[Leaf]:
    """Without the Secret's. The ConfigMap is mounted whole, not by `subPath`: only so do changes arrive."""
    return [
        {"name": "asrproxy-config", "configMap": {"name": config}},
        {"name": "asrproxy-spool", "emptyDir": {"sizeLimit": settings.spool}},
        {"name": "asrproxy-cache", "emptyDir": {"sizeLimit": settings.cache}},
    ]


def secret_volumes(secret: Leaf) -> list[Leaf]:
    """The Secret's, with each of its keys a file."""
    return [{"name": "asrproxy-secret", "secret": {"secretName": secret}}]


def application_variable(settings: InjectionSettings) -> dict[str, Leaf]:
    """What an application's container gets where `env` is on."""
    return {"name": "ASR_URL", "value": f"http://127.0.0.1:{settings.api_port}"}


def waiting(seconds: Leaf) -> list[Leaf]:
    """The preStop command: the `sleep` action does not exist before 1.30, a shell not in the image."""
    return ["python3", "-IS", "-c", f"import time; time.sleep({seconds})"]
