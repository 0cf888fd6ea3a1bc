"""A controller's output image as the plant's terminals read it: whatever comes over the wiring, a finite number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class Image:
    """An output that is missing or no number has its safe value; one beyond its span is cut to it."""

    def __init__(self, values: Mapping[str, Any] | None) -> None:
        self._values = values or {}

    def number(self, name: str, low: float, high: float, safe: float = 0.0) -> float:
        """`safe` may lie outside the span (a de-energised actuator)."""
        value = self.given(name)
        return safe if value is None else max(low, min(high, value))

    def flag(self, name: str) -> bool:
        return bool(self.given(name) or 0.0)

    def given(self, name: str) -> float | None:
        value = self._values.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
        return None
