"""What the platform's engineer decides about injection: one YAML file, read by `inject`, `webhook` and `admission-policy` alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator

from asrproxy import __version__
from asrproxy.config.document import parse
from asrproxy.config.faults import faults_of, written
from asrproxy.errors import ConfigError
from asrproxy.kube.annotations import ANNOTATIONS
from asrproxy.kube.quantity import Quantity, amount
from asrproxy.units import Misplaced, Seconds, Section

LONGEST_GRACE: Final = 24 * 3600


def _as(name: str) -> AfterValidator:
    """A value that a pod could also have asked for in an annotation: the same rule."""
    rule = ANNOTATIONS[name]

    def check(value: str) -> str:
        if not rule.allows(value):
            raise ValueError(f"expected {rule.expected}")
        return value

    return AfterValidator(check)


def _number_as_text(value: object) -> object:
    """`cpu: 1` is a number in YAML and a quantity in Kubernetes."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _whole_seconds(value: float) -> float:
    if not value.is_integer() or value > LONGEST_GRACE:
        raise ValueError("expected whole seconds, at most 24h: Kubernetes counts so")
    return value


Amount = Annotated[Quantity, BeforeValidator(_number_as_text)]
WholeSeconds = Annotated[Seconds, AfterValidator(_whole_seconds)]


class RequestSettings(Section):
    """`requests`: what the scheduler keeps free for a sidecar."""

    cpu: Amount = "100m"
    memory: Amount = "160Mi"


class LimitSettings(Section):
    """`limits`: past `memory` a sidecar is ended, past `cpu` it is slowed down."""

    cpu: Amount | None = Field(None, description="None: a decoder may use idle cores, which shortens requests and takes from nobody.")
    memory: Amount = "1Gi"


class InjectionSettings(Section):
    """The whole file; everything has a default."""

    image: Annotated[str, _as("image")] = Field(
        f"asrproxy:{__version__}", description="The sidecar's image; its entry point is `asrproxy`, and classic mode needs `python3` in it."
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        "IfNotPresent", description="`imagePullPolicy`; none: Kubernetes decides by the tag."
    )
    mode: Literal["native", "classic"] = Field(
        "native", description="`native`: an init container that keeps running (Kubernetes 1.29 and later); `classic`: a second container."
    )
    config: Annotated[str, _as("config")] = Field("asrproxy", description="ConfigMap in the pod's namespace, mounted as a folder.")
    config_key: str = Field("asrproxy.yaml", description="The ConfigMap's key that is the configuration file.")
    secret: Annotated[str, _as("secret")] | None = Field(
        None, description="Secret in the pod's namespace, its keys as files in `/etc/asrproxy-secret`; none: no Secret is mounted."
    )
    route: Annotated[str, _as("route")] | None = Field(
        None, description="The route that answers requests which name none; none: the configuration's `default`."
    )
    env: bool = Field(False, description="Whether `ASR_URL` is set in the application's containers.")
    api_port: int = Field(8790, ge=1, le=65535, description="The port of `server.listen`.")
    ops_port: int = Field(8791, ge=1, le=65535, description="The port of `server.ops_listen`: probes and metrics.")
    drain: WholeSeconds = Field(25.0, description="The same as `server.drain`: the pod's grace follows it.")
    wait: WholeSeconds | None = Field(
        None, description="Classic mode: how long the sidecar serves on after the pod was told to end; none: the pod's own grace."
    )
    readiness: bool = Field(True, description="Whether a sidecar that cannot answer takes its pod out of its Services.")
    requests: RequestSettings = RequestSettings()
    limits: LimitSettings = LimitSettings()
    spool: Amount = Field("1Gi", description="Size limit of the volume for long uploads.")
    cache: Amount = Field("1Gi", description="Size limit of the volume for fetched models.")
    run_as: int | None = Field(65532, ge=1, le=2**31 - 1, description="User of the sidecar; none: the cluster chooses (OpenShift).")
    after: tuple[str, ...] = Field(
        ("istio-init", "istio-validation", "istio-proxy", "linkerd-init", "linkerd-network-validator", "linkerd-proxy"),
        description="Containers that set up the pod's network: the sidecar starts behind them, and they get no `ASR_URL`.",
    )
    opt_in: bool = Field(
        False,
        description="Of `asrproxy inject`: whether only pods that ask get a sidecar. The webhook goes by its address, the policy by the "
        "namespace's label.",
    )
    fail: Literal["closed", "open"] = Field(
        "closed",
        description="A pod that asks for a sidecar and cannot have one: `closed` refuses it, `open` lets it start without, with a warning.",
    )

    @field_validator("config_key")
    @classmethod
    def _is_key(cls, value: str) -> str:
        if re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", value) is None or value.startswith(".."):
            raise ValueError("expected a ConfigMap's key: letters, digits, - _ .")
        return value

    @field_validator("after")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place, name in enumerate(value):
            if re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) is None:
                raise Misplaced("expected a container's name", at=(place,))
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.api_port == self.ops_port:
            raise Misplaced("is the API's port", at=("ops_port",))
        if amount(self.requests.memory) > amount(self.limits.memory):
            raise Misplaced("is above the limit", at=("requests", "memory"))
        if self.limits.cpu is not None and amount(self.requests.cpu) > amount(self.limits.cpu):
            raise Misplaced("is above the limit", at=("requests", "cpu"))
        return self


def load(path: Path | None) -> InjectionSettings:
    """Of a file; None: the defaults. Raises ConfigError, a line for each thing that is wrong."""
    if path is None:
        return InjectionSettings()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: the injection settings cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: the injection settings cannot be read: it is not UTF-8 text") from error
    document = parse(text, str(path))
    value = {} if document.root is None else document.root
    faults = [(line, at, message) for at, line, message in document.faults]
    try:
        settings = InjectionSettings.model_validate(value)
    except ValidationError as error:
        found = faults_of(error, value, InjectionSettings)
        faults += [(document.line(each.path), each.path, each.message) for each in found]
    if faults:
        faults.sort(key=lambda each: each[0])
        raise ConfigError("\n".join(f"{path}:{line}: {f'{written(at)}: ' if at else ''}{message}" for line, at, message in faults))
    return settings
