"""The furnace's three controllers: zone temperatures, pusher with oil quench, and the separate protection."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from cyber_range.engine.process.logic.pi import PI
from cyber_range.engine.process.tag import Tag, settle, take

DOOR_STUCK_S = 45.0  # a push takes 16 s


class FurnaceLogic:
    """Three zones by PI on their gas valves. The interlock cuts the burners on over-temperature or a door left open."""

    BIAS = (64.0, 42.0, 40.0)  # % valve at the normal set-points and rate
    NORMAL = (780.0, 860.0, 860.0)
    LOSS = 0.06  # % valve per K above normal
    tags = (
        Tag("zone1_setpoint", "holding", "预热区设定", "°C", 10, 780),
        Tag("zone2_setpoint", "holding", "加热区设定", "°C", 10, 860),
        Tag("zone3_setpoint", "holding", "保温区设定", "°C", 10, 860),
        Tag("manual_valve", "holding", "手动燃气阀位", "%", 10, 0),
        Tag("trip_temperature", "holding", "联锁温度", "°C", 10, 930),
        Tag("limit_zone1_high", "holding", "预热区高限", "°C", 10, 830),
        Tag("limit_zone1_low", "holding", "预热区低限", "°C", 10, 720),
        Tag("limit_zone2_high", "holding", "加热区高限", "°C", 10, 900),
        Tag("limit_zone2_low", "holding", "加热区低限", "°C", 10, 820),
        Tag("limit_zone3_high", "holding", "保温区高限", "°C", 10, 900),
        Tag("limit_zone3_low", "holding", "保温区低限", "°C", 10, 820),
        Tag("auto", "coil", "自动方式", start=1),
        Tag("burners", "coil", "燃烧器投入", start=1),
        Tag("interlock", "coil", "炉温联锁投用", start=1),
        Tag("reset", "coil", "联锁复位"),
        Tag("zone1", "input", "预热区温度", "°C", 10),
        Tag("zone2", "input", "加热区温度", "°C", 10),
        Tag("zone3", "input", "保温区温度", "°C", 10),
        Tag("burner1", "input", "预热区燃气阀", "%", 10),
        Tag("burner2", "input", "加热区燃气阀", "%", 10),
        Tag("burner3", "input", "保温区燃气阀", "%", 10),
        Tag("door", "discrete", "炉门打开"),
        Tag("gas_permit", "discrete", "燃气总阀开"),
        Tag("tripped", "discrete", "联锁跳停"),
    )

    def __init__(self) -> None:
        self._loops = tuple(PI(2.0, 240.0) for _ in range(3))
        self._door_since: float | None = None

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "zone1", "zone2", "zone3", "burner1", "burner2", "burner3", "door", "gas_permit")
        clock = inputs.get("clock_s")
        if not tags["door"] or clock is None:
            self._door_since = None
        elif self._door_since is None:
            self._door_since = clock
        stuck = self._door_since is not None and clock is not None and clock - self._door_since > DOOR_STUCK_S
        hot = any(tags[f"zone{n}"] > tags["trip_temperature"] for n in (1, 2, 3))
        if tags["interlock"] and (hot or stuck):
            tags["tripped"] = 1
        elif tags["reset"]:
            tags["tripped"] = 0
        tags["reset"] = 0  # a push button, not a switch
        firing = bool(tags["burners"]) and not tags["tripped"]
        image = {"alive": 1.0, "tripped": tags["tripped"]}
        for n, (loop, bias, normal) in enumerate(zip(self._loops, self.BIAS, self.NORMAL, strict=True), 1):
            wanted = tags[f"zone{n}_setpoint"]
            valve = loop.output(wanted - tags[f"zone{n}"], bias + self.LOSS * (wanted - normal), clock)
            image[f"burner{n}"] = (valve if tags["auto"] else tags["manual_valve"]) if firing else 0.0
        return image | {name: tags[name] for name in tags if name.startswith("limit_")}


class QuenchLogic:
    """Pushes a tray at every interval and cools the oil. The interlock holds trays back from hot oil."""

    BIAS = 70.0  # % pump at the normal rate and 28 °C water
    tags = (
        Tag("push_interval", "holding", "推料周期设定", "s", 1, 120),
        Tag("oil_setpoint", "holding", "油温设定", "°C", 10, 60),
        Tag("cooler_manual", "holding", "油冷泵手动输出", "%", 10, 0),
        Tag("trip_oil", "holding", "油温联锁值", "°C", 10, 100),
        Tag("limit_oil_high", "holding", "油温高限", "°C", 10, 80),
        Tag("limit_oil_low", "holding", "油温低限", "°C", 10, 40),
        Tag("push_enable", "coil", "推料允许", start=1),
        Tag("cooler_auto", "coil", "油冷自动", start=1),
        Tag("interlock", "coil", "油温联锁投用", start=1),
        Tag("door_hold", "coil", "炉门检修保持打开"),
        Tag("oil", "input", "淬火油温", "°C", 10),
        Tag("cooler", "input", "油冷泵", "%", 10),
        Tag("since_push", "input", "距上次推料", "s", 1),
        Tag("good", "input", "合格件", "件", 1),
        Tag("scrap", "input", "废品", "件", 1),
        Tag("door", "discrete", "炉门打开"),
        Tag("oil_blocked", "discrete", "油温联锁动作"),
        Tag("oil_thermostat", "discrete", "油槽温控器断开"),
    )

    def __init__(self) -> None:
        self._loop = PI(3.0, 300.0)

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "oil", "cooler", "since_push", "good", "scrap", "door", "oil_thermostat")
        tags["oil_blocked"] = int(bool(tags["interlock"]) and tags["oil"] > tags["trip_oil"])
        pump = self._loop.output(tags["oil"] - tags["oil_setpoint"], self.BIAS, inputs.get("clock_s"))
        return {
            "alive": 1.0,
            "push": int(bool(tags["push_enable"]) and not tags["oil_blocked"]),
            "push_interval_s": tags["push_interval"],
            "door_hold": tags["door_hold"],
            "cooler": pump if tags["cooler_auto"] else tags["cooler_manual"],
            "limit_oil_high": tags["limit_oil_high"],
            "limit_oil_low": tags["limit_oil_low"],
        }


class FurnaceSafetyLogic:
    """Holds the gas valve open while no thermocouple of its own is too hot. Stopped or silent, the gas is off.

    `bypass` exists for commissioning and should never be set in production; nothing in the controller forbids it.
    """

    tags = (
        Tag("trip_temperature", "holding", "超温保护值", "°C", 10, 950),
        Tag("bypass", "coil", "保护旁路"),
        Tag("reset", "coil", "保护复位"),
        Tag("zone1", "input", "预热区保护热电偶", "°C", 10),
        Tag("zone2", "input", "加热区保护热电偶", "°C", 10),
        Tag("zone3", "input", "保温区保护热电偶", "°C", 10),
        Tag("tripped", "discrete", "超温保护动作"),
        Tag("permit", "discrete", "燃气允许"),
        Tag("fuse", "discrete", "熔断片完好"),
    )

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "zone1", "zone2", "zone3", "fuse")
        if any(tags[f"zone{n}"] > tags["trip_temperature"] for n in (1, 2, 3)):
            tags["tripped"] = 1
        elif tags["reset"]:
            tags["tripped"] = 0
        tags["reset"] = 0  # a push button, not a switch
        tags["permit"] = int(bool(tags["bypass"]) or not tags["tripped"])
        return {"alive": 1.0, "gas_permit": tags["permit"], "tripped": tags["tripped"]}
