"""Turns measured values into events: alarms with a deadband, quality bands left and entered, trips, silent controllers.

Alarm limits are those of the controllers (an operator, or whoever writes there, can move them), so the watch is asked
with the variables as they are now; quality bands are the product's and cannot be moved.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.process.variable import Variable

ALARM_HYSTERESIS = 0.005  # of the variable's span: an alarm clears only this far inside its limit (IEC 62682: deadband)
Event = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Band:
    """A variable's range in which the product is good."""

    variable: str
    low: float
    high: float
    zh: str


@dataclass(frozen=True, slots=True)
class Trip:
    """A variable that is 1 while something is tripped, and what to say of it."""

    variable: str
    on: str
    off: str


class Watch:
    def __init__(self, bands: Sequence[Band] = (), trips: Sequence[Trip] = ()) -> None:
        self._bands, self._trips = bands, trips
        self._alarms: set[tuple[str, str]] = set()
        self._outside: set[str] = set()
        self._tripped: set[str] = set()
        self._stopped: set[str] = set()

    def events(
        self,
        values: Mapping[str, float],
        variables: Sequence[Variable],
        stopped: Mapping[str, str],
        quiet: Container[str] = (),
    ) -> list[Event]:
        """What changed since the last call. `stopped`: controllers without outputs and their titles; `quiet`:
        variables that mean nothing at the moment (no flow, no product), whose alarms and bands rest as they are."""
        return [
            *self._of_alarms(values, [v for v in variables if v.name not in quiet]),
            *self._of_bands(values, quiet),
            *self._of_trips(values),
            *self._of_controllers(stopped),
        ]

    def _of_alarms(self, values: Mapping[str, float], variables: Sequence[Variable]) -> Iterator[Event]:
        for variable in variables:
            value = values[variable.name]
            slack = (variable.high - variable.low) * ALARM_HYSTERESIS
            for side, limit, sign in (("low", variable.alarm_low, -1), ("high", variable.alarm_high, 1)):
                if limit is None:
                    continue
                key = (variable.name, side)
                on = key in self._alarms
                excess = (value - limit) * sign
                if not on and excess > 0:
                    self._alarms.add(key)
                elif on and excess < -slack:
                    self._alarms.discard(key)
                else:
                    continue
                word = "恢复" if on else "过高" if side == "high" else "过低"
                yield "alarm", {
                    "name": f"{variable.name}_{side}", "state": "off" if on else "on", "value": value, "limit": limit,
                    "text": f"{variable.zh}{word}：{value:g} {variable.unit}".rstrip(),
                }  # fmt: skip

    def _of_bands(self, values: Mapping[str, float], quiet: Container[str]) -> Iterator[Event]:
        for band in self._bands:
            if band.variable in quiet:
                continue
            value = values[band.variable]
            slack = (band.high - band.low) * ALARM_HYSTERESIS
            was_outside = band.variable in self._outside
            inner = slack if was_outside else 0.0
            outside = not band.low + inner <= value <= band.high - inner
            if outside == was_outside:
                continue
            (self._outside.add if outside else self._outside.discard)(band.variable)
            text = f"{band.zh}{'离开' if outside else '回到'}合格范围：{value:g}"
            yield "crossing", {"name": band.variable, "value": value, "text": text}

    def _of_trips(self, values: Mapping[str, float]) -> Iterator[Event]:
        for trip in self._trips:
            on = bool(values[trip.variable])
            if on != (trip.variable in self._tripped):
                (self._tripped.add if on else self._tripped.discard)(trip.variable)
                yield "trip", {"name": trip.variable, "value": int(on), "text": trip.on if on else trip.off}

    def _of_controllers(self, stopped: Mapping[str, str]) -> Iterator[Event]:
        for name, title in stopped.items():
            if name not in self._stopped:
                text = f"{title}没有输出，执行机构转入失电状态"
                yield "crossing", {"name": f"controller_{name}", "value": 0, "text": text}
        for name in sorted(self._stopped - set(stopped)):
            yield "crossing", {"name": f"controller_{name}", "value": 1, "text": f"{name} 控制器恢复输出"}
        self._stopped = set(stopped)
