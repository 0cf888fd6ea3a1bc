"""The dyeing vat's sequence and the dosing station that it asks for salt, dye and alkali."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from cyber_range.engine.process.logic.pi import PI
from cyber_range.engine.process.tag import Tag, settle, take

IDLE, FILL, SALT, DYE, HEAT, ALKALI, HOLD, DRAIN, RINSE_FILL, RINSE, RINSE_DRAIN, CHANGE = range(12)
SALT_S, DYE_S, ALKALI_S, RINSE_S = 60.0, 150.0, 120.0, 60.0  # a step lasts at least so long


class DyeingVatLogic:
    """Runs the recipe step by step. The sequence is retentive: after a stop it goes on where it was.

    The interlock cuts the steam on over-temperature, without circulation, and closes the water above the high level.
    """

    tags = (
        Tag("temp_setpoint", "holding", "固色温度设定", "°C", 10, 60),
        Tag("gradient", "holding", "升温速率设定", "K/min", 10, 6),
        Tag("hold_minutes", "holding", "保温时间设定", "min", 10, 5),
        Tag("liquor_setpoint", "holding", "浴液量设定", "L", 1, 480),
        Tag("trip_temperature", "holding", "超温联锁值", "°C", 10, 72),
        Tag("manual_steam", "holding", "手动蒸汽阀位", "%", 10, 0),
        Tag("limit_temp_high", "holding", "浴液温度高限", "°C", 10, 66),
        Tag("limit_level_high", "holding", "液位高限", "L", 1, 552),
        Tag("run", "coil", "程序运行", start=1),
        Tag("auto", "coil", "自动方式", start=1),
        Tag("interlock", "coil", "联锁投用", start=1),
        Tag("reset", "coil", "联锁复位"),
        Tag("skip", "coil", "跳到下一工步"),
        Tag("manual_fill", "coil", "手动进水"),
        Tag("manual_drain", "coil", "手动排液"),
        Tag("manual_pump", "coil", "手动循环泵"),
        Tag("stage", "input", "工步"),
        Tag("stage_time", "input", "工步时间", "s", 1),
        Tag("temp", "input", "浴液温度", "°C", 10),
        Tag("temp_wanted", "input", "程序温度", "°C", 10),
        Tag("level", "input", "液位", "L", 1),
        Tag("steam", "input", "蒸汽阀输出", "%", 10),
        Tag("batches", "input", "完成缸数", "缸", 1),
        Tag("tripped", "discrete", "联锁跳停"),
        Tag("circulating", "discrete", "循环泵运行"),
        Tag("thermostat", "discrete", "缸体温控器断开"),
        Tag("dry", "discrete", "低液位断汽"),
    )

    def __init__(self) -> None:
        self._stage = FILL
        self._stage_s = 0.0
        self._clock: float | None = None
        self._from_c = 30.0  # at the start of the heating step
        self._batches = 0.0  # at the start of the change
        self._loop = PI(10.0, 120.0, low=-100.0, high=100.0)

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "temp", "level", "batches", "circulating", "thermostat", "dry")
        clock = inputs.get("clock_s")
        going = bool(tags["run"] and tags["auto"]) and clock is not None
        if clock is not None:
            if going and self._clock is not None:
                self._stage_s += min(30.0, max(0.0, clock - self._clock))
            self._clock = clock
        if going and (tags["skip"] or self._over(tags, inputs)):
            self._next(tags)
        tags["skip"] = 0  # push buttons, not switches
        if tags["interlock"] and tags["temp"] > tags["trip_temperature"]:
            tags["tripped"] = 1
        elif tags["reset"]:
            tags["tripped"] = 0
        tags["reset"] = 0
        image = self._automatic(tags, clock) if tags["auto"] else self._by_hand(tags)
        if tags["interlock"]:
            if tags["level"] > tags["liquor_setpoint"] * 1.15 or tags["level"] > 640:
                image["fill"] = 0
            if tags["tripped"] or not tags["circulating"]:
                image["steam"] = 0
        tags["stage"], tags["stage_time"], tags["steam"] = self._stage, self._stage_s, image["steam"]
        return image | {
            "alive": 1.0, "stage": self._stage, "tripped": tags["tripped"], "limit_temp_high": tags["limit_temp_high"],
            "limit_level_high": tags["limit_level_high"],
        }  # fmt: skip

    def _over(self, tags: Mapping[str, float], inputs: Mapping[str, float]) -> bool:
        stage, lasted = self._stage, self._stage_s
        if stage in (FILL, RINSE_FILL):
            return tags["level"] >= tags["liquor_setpoint"] - 2 or tags["level"] > 640
        if stage in (SALT, DYE, ALKALI):
            name = {SALT: "salt", DYE: "dye", ALKALI: "alkali"}[stage]
            least = {SALT: SALT_S, DYE: DYE_S, ALKALI: ALKALI_S}[stage]
            return lasted >= least and bool(inputs.get(f"{name}_done"))
        if stage == HEAT:
            return tags["temp"] >= tags["temp_setpoint"] - 0.7
        if stage == HOLD:
            return lasted >= tags["hold_minutes"] * 60
        if stage in (DRAIN, RINSE_DRAIN):
            return tags["level"] <= 1
        if stage == RINSE:
            return lasted >= RINSE_S
        return stage == CHANGE and tags["batches"] > self._batches

    def _next(self, tags: Mapping[str, float]) -> None:
        self._stage = FILL if self._stage in (IDLE, CHANGE) else self._stage + 1
        self._stage_s = 0.0
        self._from_c = tags["temp"]
        self._batches = tags["batches"]

    def _automatic(self, tags: MutableMapping[str, float], clock: float | None) -> dict[str, float]:
        stage, running = self._stage, bool(tags["run"])
        wanted = tags["temp_setpoint"]
        usual = 6.0  # % steam that makes up for the loss
        if stage == HEAT:
            wanted = min(wanted, self._from_c + tags["gradient"] * self._stage_s / 60)
            usual += 10.0 * tags["gradient"]
        tags["temp_wanted"] = wanted if stage in (HEAT, ALKALI, HOLD) else tags["temp"]
        heat = self._loop.output(wanted - tags["temp"], usual, clock) if stage in (HEAT, ALKALI, HOLD) else 0.0
        return {
            "fill": int(running and stage in (FILL, RINSE_FILL)),
            "fill_to_l": tags["liquor_setpoint"],
            "drain": int(running and stage in (DRAIN, RINSE_DRAIN)),
            "steam": max(0.0, heat) if running else 0.0,
            "cooling": max(0.0, -heat - 5) if running else 0.0,
            "pump": int(running and (SALT <= stage <= HOLD or stage == RINSE)),
            "salt_request": int(running and stage == SALT),
            "dye_request": int(running and stage == DYE),
            "alkali_request": int(running and stage == ALKALI),
            "change": int(running and stage == CHANGE),
        }

    def _by_hand(self, tags: MutableMapping[str, float]) -> dict[str, float]:
        tags["temp_wanted"] = tags["temp"]
        return {
            "fill": tags["manual_fill"], "fill_to_l": 5000, "drain": tags["manual_drain"], "steam": tags["manual_steam"],
            "cooling": 0, "pump": tags["manual_pump"], "salt_request": 0, "dye_request": 0, "alkali_request": 0,
            "change": 0,
        }  # fmt: skip


class DyeDosingLogic:
    """The station weighs out what the recipe says each time the vat asks. Amounts are the recipe's secret."""

    tags = (
        Tag("recipe_number", "holding", "配方号", "", 1, 2617),
        Tag("dye_dose", "holding", "染料量", "g", 1, 1200),
        Tag("salt_dose", "holding", "元明粉量", "kg", 10, 19.2),
        Tag("alkali_dose", "holding", "纯碱量", "kg", 10, 9.6),
        Tag("dye_minutes", "holding", "染料加料时间", "min", 10, 2),
        Tag("limit_ph_high", "holding", "酸碱度高限", "", 100, 11.4),
        Tag("enable", "coil", "加料允许", start=1),
        Tag("ph", "input", "酸碱度", "", 100),
        Tag("salt_given", "input", "本次加盐", "kg", 10),
        Tag("dye_given", "input", "本次加染料", "g", 1),
        Tag("alkali_given", "input", "本次加碱", "kg", 10),
        Tag("salt_request", "discrete", "请求加盐"),
        Tag("dye_request", "discrete", "请求加染料"),
        Tag("alkali_request", "discrete", "请求加碱"),
    )

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "ph", "salt_request", "dye_request", "alkali_request", "dye_given")
        tags["salt_given"] = inputs.get("salt_given", 0) / 1000
        tags["alkali_given"] = inputs.get("alkali_given", 0) / 1000
        on = bool(tags["enable"])
        minutes = max(0.5, tags["dye_minutes"])
        image = {"alive": 1.0, "limit_ph_high": tags["limit_ph_high"]}
        for name, grams, seconds in (
            ("salt", tags["salt_dose"] * 1000, 45.0),
            ("dye", tags["dye_dose"], minutes * 60),
            ("alkali", tags["alkali_dose"] * 1000, 100.0),
        ):
            amount = max(0.0, grams)
            image |= {f"{name}_g": amount if on else 0.0, f"{name}_g_s": max(0.1, amount / seconds) if on else 0.0}
        return image
