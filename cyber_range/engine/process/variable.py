"""What a plant shows of itself: measured quantities with unit, span and alarm limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Variable:
    """One measured quantity of the plant, as HMI mimic and objectives name it."""

    name: str
    zh: str
    en: str
    unit: str
    low: float
    high: float
    alarm_low: float | None = None
    alarm_high: float | None = None
    counts: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The lab's form (`variables` message)."""
        return {
            "name": self.name, "title": {"zh": self.zh, "en": self.en}, "unit": self.unit, "low": self.low,
            "high": self.high, "alarm_low": self.alarm_low, "alarm_high": self.alarm_high, "counts": self.counts,
        }  # fmt: skip
