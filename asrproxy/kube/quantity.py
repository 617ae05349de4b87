"""Kubernetes' quantities (`100m`, `1.5`, `512Mi`), as far as CPU and memory need them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator

PATTERN: Final = r"[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?"
"""In the syntax that Python and RE2 share."""

_FACTORS: Final = {
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip


def amount(text: str) -> Decimal:
    """Cores or bytes. Raises ValueError."""
    if re.fullmatch(PATTERN, text) is None:
        raise ValueError("expected a quantity such as 100m, 2, 512Mi or 1Gi")
    number = text.rstrip("mkMGTi")
    return Decimal(number) * _FACTORS[text[len(number) :]]


def _is_quantity(text: str) -> str:
    amount(text)
    return text


Quantity = Annotated[str, AfterValidator(_is_quantity)]
