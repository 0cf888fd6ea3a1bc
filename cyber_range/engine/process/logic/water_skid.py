"""The water skid's three controllers: levels and pumps, chlorination, neutralisation."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from cyber_range.engine.process.logic.pi import PI
from cyber_range.engine.process.tag import Tag, settle, take

BACKWASH_S = 90.0


class WaterIntakeLogic:
    """Keeps both tanks at their levels, gives the town its flow, and washes the filter when it is dirty."""

    tags = (
        Tag("raw_setpoint", "holding", "原水池液位设定", "%", 10, 70),
        Tag("clear_setpoint", "holding", "清水池液位设定", "%", 10, 70),
        Tag("town_setpoint", "holding", "供水流量设定", "m³/h", 10, 50),
        Tag("backwash_pressure", "holding", "反冲洗启动压差", "kPa", 10, 60),
        Tag("raw_pump_manual", "holding", "原水泵手动频率", "%", 10, 0),
        Tag("town_pump_manual", "holding", "供水泵手动频率", "%", 10, 0),
        Tag("limit_raw_low", "holding", "原水池低限", "%", 10, 20),
        Tag("limit_clear_low", "holding", "清水池低限", "%", 10, 25),
        Tag("limit_clear_high", "holding", "清水池高限", "%", 10, 95),
        Tag("limit_dp_high", "holding", "滤池压差高限", "kPa", 10, 75),
        Tag("limit_town_low", "holding", "供水流量低限", "m³/h", 10, 35),
        Tag("auto", "coil", "自动方式", start=1),
        Tag("run", "coil", "供水运行", start=1),
        Tag("interlock", "coil", "清水池液位联锁投用", start=1),
        Tag("backwash_enable", "coil", "反冲洗允许", start=1),
        Tag("raw_level", "input", "原水池液位", "%", 10),
        Tag("clear_level", "input", "清水池液位", "%", 10),
        Tag("raw_flow", "input", "原水流量", "m³/h", 10),
        Tag("town_flow", "input", "供水流量", "m³/h", 10),
        Tag("filter_dp", "input", "滤池压差", "kPa", 10),
        Tag("river_valve", "input", "进水阀位", "%", 10),
        Tag("backwash", "discrete", "反冲洗中"),
        Tag("clear_low", "discrete", "清水池低液位联锁"),
        Tag("clear_high", "discrete", "清水池高液位联锁"),
    )

    def __init__(self) -> None:
        self._town = PI(0.3, 20.0)
        self._wash_until: float | None = None

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "raw_level", "clear_level", "raw_flow", "town_flow", "filter_dp", "river_valve", "backwash")
        clock = inputs.get("clock_s")
        if clock is not None and self._wash_until is not None and clock >= self._wash_until:
            self._wash_until = None
        dirty = tags["filter_dp"] > max(20.0, tags["backwash_pressure"]) and tags["clear_level"] > 40
        if clock is not None and self._wash_until is None and tags["backwash_enable"] and tags["auto"] and dirty:
            self._wash_until = clock + BACKWASH_S
        washing = self._wash_until is not None
        tags["clear_low"] = int(bool(tags["interlock"]) and 0 < tags["clear_level"] < 12)
        tags["clear_high"] = int(bool(tags["interlock"]) and tags["clear_level"] > 96)
        if tags["auto"]:
            valve = 50 + 4 * (tags["raw_setpoint"] - tags["raw_level"])
            raw = 65 + 3 * (tags["clear_setpoint"] - tags["clear_level"])
            town = self._town.output(tags["town_setpoint"] - tags["town_flow"], 1.25 * tags["town_setpoint"], clock)
        else:
            valve = 50 + 4 * (tags["raw_setpoint"] - tags["raw_level"])
            raw, town = tags["raw_pump_manual"], tags["town_pump_manual"]
        if tags["clear_high"] or washing:
            raw = 0.0
        if tags["clear_low"] or not tags["run"]:
            town = 0.0
        return {
            "alive": 1.0,
            "river_valve": max(0.0, min(100.0, valve)),
            "raw_pump": max(0.0, min(100.0, raw)),
            "town_pump": max(0.0, min(100.0, town)),
            "backwash": int(washing),
        } | {name: tags[name] for name in tags if name.startswith("limit_")}


class ChlorineDosingLogic:
    """Doses in proportion to the flow, trimmed by the residual. The interlock stops the pump on too much chlorine."""

    PUMP_MG_H = 6.0 * 100.0  # g/h at full stroke
    CONSUMED = 0.5  # mg/L that the water takes, and what decays in the clear tank
    tags = (
        Tag("residual_setpoint", "holding", "余氯设定", "mg/L", 100, 0.6),
        Tag("dosing_manual", "holding", "加氯泵手动输出", "%", 10, 0),
        Tag("trip_residual", "holding", "余氯联锁值", "mg/L", 100, 1.8),
        Tag("limit_residual_high", "holding", "余氯高限", "mg/L", 100, 1.5),
        Tag("limit_residual_low", "holding", "余氯低限", "mg/L", 100, 0.35),
        Tag("auto", "coil", "自动加氯", start=1),
        Tag("run", "coil", "加氯运行", start=1),
        Tag("interlock", "coil", "余氯联锁投用", start=1),
        Tag("residual", "input", "出厂余氯", "mg/L", 100),
        Tag("turbidity", "input", "出厂浊度", "NTU", 100),
        Tag("raw_flow", "input", "原水流量", "m³/h", 10),
        Tag("dose", "input", "加氯量", "mg/L", 100),
        Tag("dosing_pump", "input", "加氯泵输出", "%", 10),
        Tag("blocked", "discrete", "余氯联锁动作"),
    )

    def __init__(self) -> None:
        self._trim = PI(0.5, 900.0, low=-8.0, high=8.0)  # mg/L per mg/L

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "residual", "turbidity", "raw_flow", "dose", "dosing_pump")
        wanted = tags["residual_setpoint"]
        trim = self._trim.output(wanted - tags["residual"], 0.0, inputs.get("clock_s"))
        pump = max(0.0, wanted + self.CONSUMED + trim) * tags["raw_flow"] / self.PUMP_MG_H * 100
        if not tags["auto"]:
            pump = tags["dosing_manual"]
        tags["blocked"] = int(bool(tags["interlock"]) and tags["residual"] > tags["trip_residual"])
        if tags["blocked"] or not tags["run"]:
            pump = 0.0
        return {
            "alive": 1.0,
            "dosing_pump": max(0.0, min(100.0, pump)),
            "limit_residual_high": tags["limit_residual_high"],
            "limit_residual_low": tags["limit_residual_low"],
        }


class NeutralisationLogic:
    """Caustic by the titrator ahead of the tank, trimmed by the pH behind it. The interlock diverts what is off."""

    PUMP_MOL_H = 60.0 * 2.0  # at full stroke
    CARBONATE = 2.8  # mol/m³ of base that the buffer takes up to pH 7.5
    tags = (
        Tag("ph_setpoint", "holding", "酸碱度设定", "", 100, 7.5),
        Tag("base_manual", "holding", "加碱泵手动输出", "%", 10, 0),
        Tag("divert_high", "holding", "切换高限", "", 100, 8.9),
        Tag("divert_low", "holding", "切换低限", "", 100, 6.1),
        Tag("limit_ph_high", "holding", "酸碱度高限", "", 100, 8.7),
        Tag("limit_ph_low", "holding", "酸碱度低限", "", 100, 6.3),
        Tag("auto", "coil", "自动加碱", start=1),
        Tag("interlock", "coil", "超标切换联锁投用", start=1),
        Tag("ph", "input", "排放口酸碱度", "", 100),
        Tag("acid", "input", "进水酸度", "mmol/L", 100),
        Tag("waste_flow", "input", "废水流量", "m³/h", 10),
        Tag("base_pump", "input", "加碱泵输出", "%", 10),
        Tag("emergency_level", "input", "应急池液位", "%", 10),
        Tag("diverting", "discrete", "切入应急池"),
    )

    def __init__(self) -> None:
        self._trim = PI(3.0, 900.0, low=-30.0, high=60.0)

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "ph", "acid", "waste_flow", "base_pump", "emergency_level")
        clock = inputs.get("clock_s")
        need = (tags["acid"] + self.CARBONATE) * tags["waste_flow"] / self.PUMP_MOL_H * 100
        pump = need + self._trim.output(tags["ph_setpoint"] - tags["ph"], 0.0, clock)
        off = clock is not None and not tags["divert_low"] <= tags["ph"] <= tags["divert_high"]
        tags["diverting"] = int(bool(tags["interlock"]) and off)
        if not tags["auto"]:
            pump = tags["base_manual"]
        return {
            "alive": 1.0,
            "base_pump": max(0.0, min(100.0, pump)),
            "divert": tags["diverting"],
            "limit_ph_high": tags["limit_ph_high"],
            "limit_ph_low": tags["limit_ph_low"],
        }
