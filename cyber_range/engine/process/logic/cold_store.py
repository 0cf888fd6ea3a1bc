"""The cold store's two controllers: both rooms with defrosting and doors, and the glycol chiller."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from cyber_range.engine.process.logic.pi import PI
from cyber_range.engine.process.tag import Tag, settle, take

LONGEST_DEFROST_S = 900.0
REST_S = 200.0  # a compressor stands this long before it starts again


class ColdRoomsLogic:
    """Both rooms at their set-points; defrosts when the evaporator carries enough ice. The interlock holds goods
    back while a room is above its alarm limit."""

    tags = (
        Tag("chill_setpoint", "holding", "冷藏间温度设定", "°C", 10, 2),
        Tag("freeze_setpoint", "holding", "冷冻间温度设定", "°C", 10, -18.5),
        Tag("defrost_frost", "holding", "化霜启动霜量", "kg", 100, 2.0),
        Tag("limit_chill_high", "holding", "冷藏间高限", "°C", 10, 5),
        Tag("limit_chill_low", "holding", "冷藏间低限", "°C", 10, 0),
        Tag("limit_freeze_high", "holding", "冷冻间高限", "°C", 10, -14),
        Tag("limit_freeze_low", "holding", "冷冻间低限", "°C", 10, -26),
        Tag("limit_chill_core", "holding", "冷藏品中心温度高限", "°C", 10, 6.5),
        Tag("limit_freeze_core", "holding", "冷冻品中心温度高限", "°C", 10, -13),
        Tag("chill_run", "coil", "冷藏间制冷", start=1),
        Tag("freeze_run", "coil", "冷冻间制冷", start=1),
        Tag("fans", "coil", "库内风机", start=1),
        Tag("defrost_now", "coil", "手动化霜"),
        Tag("receive", "coil", "收发货允许", start=1),
        Tag("interlock", "coil", "高温停收联锁投用", start=1),
        Tag("hold_chill_door", "coil", "冷藏门保持打开"),
        Tag("hold_freeze_door", "coil", "冷冻门保持打开"),
        Tag("chill_temp", "input", "冷藏间温度", "°C", 10),
        Tag("chill_core", "input", "冷藏品中心温度", "°C", 10),
        Tag("chill_valve", "input", "冷藏盘管阀", "%", 10),
        Tag("freeze_temp", "input", "冷冻间温度", "°C", 10),
        Tag("freeze_core", "input", "冷冻品中心温度", "°C", 10),
        Tag("freeze_compressor", "input", "冷冻压缩机", "%", 10),
        Tag("frost", "input", "蒸发器结霜", "kg", 100),
        Tag("chill_door", "discrete", "冷藏门打开"),
        Tag("freeze_door", "discrete", "冷冻门打开"),
        Tag("defrosting", "discrete", "化霜中"),
        Tag("held_back", "discrete", "高温停收"),
    )

    def __init__(self) -> None:
        self._chill = PI(12.0, 600.0)
        self._freeze = PI(15.0, 600.0)
        self._defrost_since: float | None = None
        self._stopped_at: float | None = None
        self._ran = True

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "chill_temp", "chill_core", "chill_valve", "freeze_temp", "freeze_core")
        take(tags, inputs, "freeze_compressor", "frost", "chill_door", "freeze_door", "defrosting")
        clock = inputs.get("clock_s")
        if clock is not None:
            if self._defrost_since is None and tags["frost"] >= max(0.2, tags["defrost_frost"]):
                self._defrost_since = clock
            elif self._defrost_since is not None and (
                tags["frost"] <= 0.15 or clock - self._defrost_since > LONGEST_DEFROST_S
            ):
                self._defrost_since = None
        defrost = self._defrost_since is not None or bool(tags["defrost_now"])
        valve = self._chill.output(tags["chill_temp"] - tags["chill_setpoint"], 37.0, clock)
        compressor = self._freeze.output(tags["freeze_temp"] - tags["freeze_setpoint"], 48.0, clock)
        runs = bool(tags["freeze_run"]) and not defrost and compressor >= 5
        if clock is not None:
            if self._ran and not runs:
                self._stopped_at = clock
            if runs and not self._ran and self._stopped_at is not None and clock - self._stopped_at < REST_S:
                runs = False
            self._ran = runs
        warm = tags["chill_temp"] > tags["limit_chill_high"] or tags["freeze_temp"] > tags["limit_freeze_high"]
        tags["held_back"] = int(bool(tags["interlock"]) and bool(inputs) and warm)
        return {
            "alive": 1.0,
            "chill_valve": valve if tags["chill_run"] else 0.0,
            "chill_fan": tags["fans"],
            "freeze_compressor": compressor if runs else 0.0,
            "freeze_fan": tags["fans"],
            "defrost": int(defrost),
            "hold_chill_door": tags["hold_chill_door"],
            "hold_freeze_door": tags["hold_freeze_door"],
            "receive": int(bool(tags["receive"]) and not tags["held_back"]),
        } | {name: tags[name] for name in tags if name.startswith("limit_")}


class GlycolChillerLogic:
    """The glycol at its set-point. `rest` keeps the compressor from starting too soon after a stop."""

    tags = (
        Tag("glycol_setpoint", "holding", "乙二醇温度设定", "°C", 10, -6),
        Tag("limit_glycol_high", "holding", "乙二醇温度高限", "°C", 10, 0),
        Tag("limit_glycol_low", "holding", "乙二醇温度低限", "°C", 10, -12),
        Tag("run", "coil", "机组运行", start=1),
        Tag("pump", "coil", "乙二醇泵", start=1),
        Tag("fan", "coil", "冷凝风机", start=1),
        Tag("rest", "coil", "防短循环投用", start=1),
        Tag("reset", "coil", "高压保护复位"),
        Tag("glycol", "input", "乙二醇温度", "°C", 10),
        Tag("load", "input", "机组负荷", "%", 10),
        Tag("head_pressure", "input", "冷凝压力", "bar", 10),
        Tag("running", "discrete", "压缩机运行"),
        Tag("head_tripped", "discrete", "高压保护"),
        Tag("low_cut", "discrete", "低温保护"),
    )

    def __init__(self) -> None:
        self._loop = PI(6.0, 500.0)
        self._stopped_at: float | None = None
        self._ran = True

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "glycol", "load", "head_pressure", "head_tripped", "low_cut")
        clock = inputs.get("clock_s")
        load = self._loop.output(tags["glycol"] - tags["glycol_setpoint"], 33.0, clock)
        runs = bool(tags["run"]) and load >= 5
        if clock is not None:
            if self._ran and not runs:
                self._stopped_at = clock
            resting = self._stopped_at is not None and clock - self._stopped_at < REST_S
            if runs and not self._ran and tags["rest"] and resting:
                runs = False
            self._ran = runs
        tags["running"] = int(tags["load"] > 0)
        reset = tags["reset"]
        tags["reset"] = 0  # a push button, not a switch
        return {
            "alive": 1.0,
            "compressor": load if runs else 0.0,
            "fan": tags["fan"],
            "pump": tags["pump"],
            "reset": reset,
            "limit_glycol_high": tags["limit_glycol_high"],
            "limit_glycol_low": tags["limit_glycol_low"],
        }
