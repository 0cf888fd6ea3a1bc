"""How physical quantities may move: within bounds, at a limited rate, towards a target with a time constant."""

from __future__ import annotations

import math


def clamp(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def towards(value: float, wanted: float, change: float) -> float:
    """`value` moved to `wanted` by at most `change`."""
    return value + clamp(wanted - value, -change, change)


def lag(value: float, target: float, tau: float, dt: float) -> float:
    """A first-order element after `dt`, exact for any step (so that long steps never overshoot)."""
    return target + (value - target) * math.exp(-dt / tau)
