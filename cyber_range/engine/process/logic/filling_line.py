"""The bottling line's two controllers: buffer tank, and conveyor with dosing heads."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from cyber_range.engine.process.tag import Tag


class TankLogic:
    """Holds the buffer tank at its set-point with the inlet valve (proportional), with a high-level interlock."""

    GAIN = 4.0  # % valve per % level
    BIAS = 50.0  # % valve that meets nominal consumption
    tags = (
        Tag("level_setpoint", "holding", "液位设定值", "%", 10, 60),
        Tag("valve_manual", "holding", "手动阀位", "%", 10, 0),
        Tag("auto", "coil", "自动方式", start=1),
        Tag("interlock", "coil", "高液位联锁投用", start=1),
        Tag("level", "input", "液位", "%", 10),
        Tag("inlet_flow", "input", "进料流量", "L/min", 10),
        Tag("outlet_flow", "input", "灌装用量", "L/min", 10),
        Tag("valve", "input", "阀位反馈", "%", 10),
        Tag("level_high", "discrete", "高高液位开关"),
        Tag("level_low", "discrete", "低液位开关"),
    )

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        tags["level"] = inputs.get("level_pct", 0)
        tags["inlet_flow"] = inputs.get("inlet_l_min", 0)
        tags["outlet_flow"] = inputs.get("outlet_l_min", 0)
        tags["valve"] = inputs.get("valve_pct", 0)
        tags["level_high"] = int(bool(inputs.get("level_high", 0)))
        tags["level_low"] = int(bool(inputs.get("level_low", 0)))
        valve = tags["valve_manual"]
        if tags["auto"]:
            valve = self.BIAS + self.GAIN * (tags["level_setpoint"] - tags["level"])
        if tags["interlock"] and tags["level_high"]:
            valve = 0.0
        return {"inlet_valve_pct": max(0.0, min(100.0, valve))}


class FillerLogic:
    """Runs conveyor and dosing heads; stops both when the drip tray is full (unless the interlock is switched off)."""

    tags = (
        Tag("fill_setpoint", "holding", "灌装设定值", "mL", 1, 500),
        Tag("speed_setpoint", "holding", "输送带速度设定", "瓶/min", 1, 60),
        Tag("run", "coil", "运行指令", start=1),
        Tag("interlock", "coil", "接液盘联锁投用", start=1),
        Tag("reset", "coil", "跳停复位"),
        Tag("speed", "input", "输送带速度", "瓶/min", 10),
        Tag("last_fill", "input", "上一瓶灌装量", "mL", 1),
        Tag("good", "input", "合格瓶数", "瓶", 1),
        Tag("over", "input", "超量瓶数", "瓶", 1),
        Tag("under", "input", "欠量瓶数", "瓶", 1),
        Tag("spill", "input", "累计溢出", "L", 10),
        Tag("tray", "input", "接液盘液位", "L", 10),
        Tag("running", "discrete", "运行中"),
        Tag("tripped", "discrete", "联锁跳停"),
        Tag("tray_high", "discrete", "接液盘高液位"),
        Tag("tank_low", "discrete", "缓冲罐低液位"),
    )

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        tags["speed"] = inputs.get("speed_bpm", 0)
        tags["last_fill"] = inputs.get("last_fill_ml", 0)
        for name in ("good", "over", "under"):
            tags[name] = inputs.get(name, 0)
        tags["spill"] = inputs.get("spill_l", 0)
        tags["tray"] = inputs.get("tray_l", 0)
        tags["tray_high"] = int(bool(inputs.get("tray_high", 0)))
        tags["tank_low"] = int(bool(inputs.get("tank_low", 0)))
        if tags["interlock"] and tags["tray_high"]:
            tags["tripped"] = 1
        elif tags["reset"]:
            tags["tripped"] = 0
        tags["reset"] = 0  # a push button, not a switch
        running = bool(tags["run"]) and not tags["tripped"] and not tags["tank_low"]
        tags["running"] = int(running)
        return {
            "conveyor_run": int(running),
            "conveyor_bpm": tags["speed_setpoint"],
            "fill_enable": int(running),
            "fill_setpoint_ml": tags["fill_setpoint"],
            "tripped": int(tags["tripped"]),
        }
