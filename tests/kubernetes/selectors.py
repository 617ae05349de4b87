"""Kubernetes' label selectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a selector takes an object with these labels, as far as these manifests use them."""
    for each in (selector or {}).get("matchExpressions", []):
        inside = labels.get(each["key"]) in each["values"]
        assert each["operator"] in ("In", "NotIn")
        if inside is (each["operator"] == "NotIn"):
            return False
    return True
