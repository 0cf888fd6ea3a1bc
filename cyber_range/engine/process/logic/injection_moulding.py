"""One moulding machine's controller: barrel heating in proportion, cycle permission, protective stop."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from cyber_range.engine.process.tag import Tag, settle, take

ZONES = ("zone1", "zone2", "zone3", "nozzle")


class MouldingPressLogic:
    """Heats each zone to its set-point and lets the machine cycle while nothing protective has tripped.

    The interlock stops on an overheated barrel or a cold screw. With it off only the barrel's thermostat and the
    screw's torque limiter remain, which are wired past the controller.
    """

    GAIN = 5.0  # % duty per K
    FEED_FORWARD = 0.2  # % duty per K above the room, the barrel's loss
    RESIN = (13.0, 6.0, 3.0, 1.5)  # % duty that the resin takes while the machine makes parts
    tags = (
        Tag("zone1_setpoint", "holding", "料筒一段设定", "°C", 10, 200),
        Tag("zone2_setpoint", "holding", "料筒二段设定", "°C", 10, 215),
        Tag("zone3_setpoint", "holding", "料筒三段设定", "°C", 10, 225),
        Tag("nozzle_setpoint", "holding", "喷嘴设定", "°C", 10, 230),
        Tag("clamp_setpoint", "holding", "锁模力设定", "kN", 1, 1000),
        Tag("injection_setpoint", "holding", "注射压力设定", "MPa", 10, 92),
        Tag("cooling_setpoint", "holding", "冷却时间设定", "s", 10, 9),
        Tag("trip_temperature", "holding", "超温停机值", "°C", 10, 275),
        Tag("limit_melt_high", "holding", "熔体温度高限", "°C", 10, 250),
        Tag("limit_melt_low", "holding", "熔体温度低限", "°C", 10, 210),
        Tag("limit_clamp_high", "holding", "锁模力高限", "kN", 1, 1100),
        Tag("limit_clamp_low", "holding", "锁模力低限", "kN", 1, 900),
        Tag("limit_pressure_high", "holding", "峰值压力高限", "MPa", 10, 115),
        Tag("limit_pressure_low", "holding", "峰值压力低限", "MPa", 10, 85),
        Tag("run", "coil", "循环运行", start=1),
        Tag("heaters", "coil", "料筒加热投入", start=1),
        Tag("interlock", "coil", "停机联锁投用", start=1),
        Tag("reset", "coil", "联锁复位"),
        Tag("zone1", "input", "料筒一段温度", "°C", 10),
        Tag("zone2", "input", "料筒二段温度", "°C", 10),
        Tag("zone3", "input", "料筒三段温度", "°C", 10),
        Tag("nozzle", "input", "喷嘴温度", "°C", 10),
        Tag("melt", "input", "熔体温度", "°C", 10),
        Tag("clamp", "input", "锁模力", "kN", 1),
        Tag("pressure", "input", "注射压力", "MPa", 10),
        Tag("peak", "input", "上一模峰值压力", "MPa", 10),
        Tag("phase", "input", "循环阶段"),
        Tag("cycle", "input", "循环时间", "s", 10),
        Tag("good", "input", "合格件", "件", 1),
        Tag("scrap", "input", "废品", "件", 1),
        Tag("running", "discrete", "运行中"),
        Tag("tripped", "discrete", "联锁跳停"),
        Tag("limiter", "discrete", "螺杆过载保护"),
        Tag("thermostat", "discrete", "料筒温控器断开"),
    )

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, *ZONES, "melt", "clamp", "pressure", "peak", "phase", "cycle", "good", "scrap")
        take(tags, inputs, "limiter", "thermostat")
        hot = any(tags[zone] > tags["trip_temperature"] for zone in ZONES)
        cold = bool(inputs) and min(tags[zone] for zone in ZONES) < 175
        if tags["interlock"] and (hot or cold):
            tags["tripped"] = 1
        elif tags["reset"]:
            tags["tripped"] = 0
        tags["reset"] = 0  # a push button, not a switch
        tags["running"] = int(bool(tags["run"]) and not tags["tripped"] and not tags["limiter"])
        image = {"alive": 1.0, "run": tags["run"], "tripped": tags["tripped"]}
        for zone, resin in zip(ZONES, self.RESIN, strict=True):
            wanted = tags[f"{zone}_setpoint"]
            duty = self.FEED_FORWARD * (wanted - 25) + self.GAIN * (wanted - tags[zone]) + resin * tags["running"]
            on = tags["heaters"] and not (tags["interlock"] and tags[zone] > tags["trip_temperature"])
            image[f"heat_{zone}"] = max(0.0, min(100.0, duty)) if on else 0.0
        image |= {
            "clamp_kn": tags["clamp_setpoint"],
            "injection_mpa": tags["injection_setpoint"],
            "cooling_s": tags["cooling_setpoint"],
        }
        return image | {name: tags[name] for name in tags if name.startswith("limit_")}
