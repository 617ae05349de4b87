"""What a vendor charges for a call, from its price list."""

from __future__ import annotations

import math

from asrproxy.config.models import PriceSettings
from asrproxy.plugin import Charge

SLIP = 1e-6
"""Seconds: a length that is a whole number of steps but for the arithmetic is not a step more."""


def charge(price: PriceSettings, audio_seconds: float) -> Charge:
    """Of a call with so much audio that the vendor has answered."""
    step = price.rounding
    seconds = math.ceil(audio_seconds / step - SLIP) * step if step else audio_seconds
    return Charge(price.per_call + price.per_minute * seconds / 60, price.currency, seconds)
