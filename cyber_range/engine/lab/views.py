"""The operators' pictures: the newest one of every supervising program, joined per node for whoever looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Views:
    """Fed with `view` messages. A node may run two supervisors (a Modbus station and an MQTT panel): both are shown."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], dict[str, Any]] = {}

    def take(self, node: str, program: str, body: Mapping[str, Any], *, time: float) -> None:
        """One message; `time` in unix seconds."""
        self._newest[node, program] = {key: value for key, value in body.items() if key != "kind"} | {"time": time}

    def clear(self) -> None:
        self._newest.clear()

    def of(self, node: str) -> dict[str, Any] | None:
        """What a screen at that node shows now; None when nothing ever was."""
        return self.as_dict().get(node)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """{node: picture}. Ages of the older program's devices count up to the newer one's message."""
        found: dict[str, dict[str, Any]] = {}
        for (node, _), picture in sorted(self._newest.items(), key=lambda item: item[1]["time"], reverse=True):
            newest = found.get(node)
            if newest is None:
                found[node] = dict(picture)
            elif isinstance(picture.get("devices"), Mapping) and isinstance(newest.get("devices"), Mapping):
                late = newest["time"] - picture["time"]
                older = {name: _aged(device, late) for name, device in picture["devices"].items()}
                newest["devices"] = {**older, **newest["devices"]}
        return found


def _aged(device: Mapping[str, Any], late: float) -> dict[str, Any]:
    def later(age: float | None) -> float | None:
        return None if age is None else round(age + late, 2)

    ages = {tag: later(age) for tag, age in device.get("ages", {}).items()}
    return {**device, "age": later(device.get("age")), "ages": ages}
