"""The annotations under `asrproxy.io/`: one table of what a pod may say, for the injector, the policy and the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from asrproxy.kube.quantity import PATTERN

PREFIX: Final = "asrproxy.io/"
INJECT: Final = "inject"
STATUS: Final = "status"

_NAME: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_RESOURCE: Final = rf"(requests|limits)\.(cpu|memory)={PATTERN}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What an annotation may hold. pattern: of the whole value, in the syntax that Python and RE2 share; longest: characters."""

    pattern: str
    expected: str
    longest: int = 253

    def allows(self, value: str) -> bool:
        return len(value) <= self.longest and re.fullmatch(self.pattern, value, re.ASCII) is not None


ANNOTATIONS: Final[Mapping[str, Rule]] = {
    INJECT: Rule("true|false", "true or false"),
    "config": Rule(_NAME, "a ConfigMap's name"),
    "secret": Rule(_NAME, "a Secret's name"),
    "route": Rule(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a route's name", longest=63),
    "image": Rule(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", "an image such as registry.example/asrproxy:1.2", longest=512),
    "resources": Rule(
        rf"{_RESOURCE}(,{_RESOURCE}){{0,3}}",
        "requests.cpu, requests.memory, limits.cpu, limits.memory, as in requests.cpu=200m,limits.memory=2Gi",
    ),
    "mode": Rule("native|classic", "native or classic"),
    "env": Rule("true|false", "true or false"),
    "drain": Rule("[0-9]{1,4}s", "whole seconds such as 25s"),
}


def key(name: str) -> str:
    """`asrproxy.io/NAME`."""
    return PREFIX + name
