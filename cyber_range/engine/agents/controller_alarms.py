"""A controller's own alarms: limits that are tags, so whoever can write tags can move or silence them.

Spec: `alarms` {signal tag: {high?, low?, band?}}. Each makes the tags `<signal>_high_limit`, `<signal>_low_limit`
(holding), `<signal>_high_alarm`, `<signal>_low_alarm` (discrete) and `<signal>_alarm_off` (coil: suppressed).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

from cyber_range.engine.process.controllers import Tag

SIDES: tuple[Literal["high", "low"], ...] = ("high", "low")
ZH = {"high": "高", "low": "低"}


@dataclass(frozen=True, slots=True)
class Alarm:
    signal: str
    side: Literal["high", "low"]
    band: float  # units the signal must come back inside the limit before the alarm goes (IEC 62682: deadband)

    @property
    def limit(self) -> str:
        return f"{self.signal}_{self.side}_limit"

    @property
    def state(self) -> str:
        return f"{self.signal}_{self.side}_alarm"

    @property
    def off(self) -> str:
        return f"{self.signal}_alarm_off"

    def now(self, tags: Mapping[str, float]) -> bool:
        if tags[self.off]:
            return False
        sign = 1.0 if self.side == "high" else -1.0
        beyond = sign * (tags[self.signal] - tags[self.limit])
        return beyond > (-self.band if tags[self.state] else 0.0)


class Alarms:
    def __init__(self, spec: Mapping[str, Mapping[str, Any]], tags: tuple[Tag, ...]) -> None:
        self.alarms: list[Alarm] = []
        self.tags: list[Tag] = []
        by_name = {tag.name: tag for tag in tags}
        for signal, limits in spec.items():
            if signal not in by_name:
                raise ValueError(f"an alarm is on {signal!r}, which is no tag of this controller")
            of = by_name[signal]
            for side in SIDES:
                if side not in limits:
                    continue
                alarm = Alarm(signal, side, float(limits.get("band", 0)))
                self.alarms.append(alarm)
                title = f"{of.zh}{ZH[side]}"
                self.tags.append(Tag(alarm.limit, "holding", f"{title}限", of.unit, of.scale, float(limits[side])))
                self.tags.append(Tag(alarm.state, "discrete", f"{title}报警"))
            self.tags.append(Tag(f"{signal}_alarm_off", "coil", f"{of.zh}报警屏蔽"))

    def scan(self, tags: MutableMapping[str, float]) -> Iterator[tuple[Alarm, bool]]:
        """Sets the alarm tags; yields those that changed."""
        for alarm in self.alarms:
            state = alarm.now(tags)
            if state != bool(tags[alarm.state]):
                tags[alarm.state] = int(state)
                yield alarm, state
