"""What the plant shows: newest values, their history ring, counters, alarms."""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

RING_SECONDS = 600  # wall seconds kept
SAMPLE_HZ = 10


class PlantView:
    """Fed with the plant's messages; read by screens and objectives. `at` is scenario seconds, `time` unix seconds."""

    def __init__(self) -> None:
        self.variables: dict[str, dict[str, Any]] = {}
        self.at = 0.0
        self.time = 0.0
        self.values: dict[str, float] = {}
        self.alarms: dict[str, bool] = {}
        self._ring: deque[tuple[float, float, dict[str, float]]] = deque(maxlen=RING_SECONDS * SAMPLE_HZ)

    def describe(self, variables: list[Mapping[str, Any]]) -> None:
        for variable in variables:
            if isinstance(variable, Mapping) and isinstance(variable.get("name"), str):
                self.variables[variable["name"]] = dict(variable)

    def take(self, values: Mapping[str, Any], *, at: float, time: float) -> None:
        """One telemetry message. Sampled into the ring at SAMPLE_HZ; the newest values are always kept."""
        clean = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        self.values = {**self.values, **clean}
        self.at, self.time = at, time
        if not self._ring or time - self._ring[-1][1] >= 0.9 / SAMPLE_HZ:
            self._ring.append((at, time, dict(self.values)))

    def growth(self, variable: str, within: float) -> tuple[float, float] | None:
        """How much a counting variable grew in the last `within` scenario seconds, and over which span.

        None when it is unknown or has not been watched that long. A counter that went back (a plant that was
        started anew) begins again at its new value.
        """
        if variable not in self.values or not self._ring:
            return None
        start = self.at - within
        if self._ring[0][0] > start:
            return None
        index = max(0, bisect.bisect_right(self._ring, start, key=lambda sample: sample[0]) - 1)
        samples = [self._ring[i] for i in range(index, len(self._ring))]
        numbers = [sample[2][variable] for sample in samples if variable in sample[2]] + [self.values[variable]]
        grown = sum(max(0.0, after - before) for before, after in pairwise(numbers))
        return grown, self.at - samples[0][0]

    def forget_history(self) -> None:
        """After a pause or a reset a window may not reach over the gap."""
        self._ring.clear()

    def as_dict(self, *, history: float = 0, step: float = 0) -> dict[str, Any]:
        known = {name: {"name": name} for name in self.values} | self.variables
        rows = []
        for name, variable in known.items():
            value = self.values.get(name)
            low, high = variable.get("alarm_low"), variable.get("alarm_high")
            beyond = value is not None and ((low is not None and value < low) or (high is not None and value > high))
            rows.append({
                "name": name, "title": variable.get("title") or {"zh": name, "en": name}, "unit": variable.get("unit", ""),
                "low": variable.get("low"), "high": variable.get("high"), "alarm_low": low, "alarm_high": high,
                "counts": bool(variable.get("counts", False)), "value": value, "alarm": self.alarms.get(name, beyond),
            })  # fmt: skip
        times: list[float] = []
        columns: dict[str, list[float | None]] = {name: [] for name in known}
        if history > 0 and self._ring:
            newest = self._ring[-1][1]
            shown = -math.inf
            for at, time, values in self._ring:
                if time < newest - history or time - shown < step:
                    continue
                shown = time
                times.append(round(at, 2))
                for name, column in columns.items():
                    column.append(values.get(name))
        return {
            "at": self.at,
            "time": self.time,
            "variables": rows,
            "history": {"t": times, "values": columns if times else {}},
        }
