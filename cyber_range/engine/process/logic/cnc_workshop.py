"""A CNC machine's controller, which takes jobs from the MES, and the coolant station's."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from cyber_range.engine.process.logic.pi import PI
from cyber_range.engine.process.tag import Tag, settle, take

WAITING, IN_WORK = 0, (1, 2, 3)  # the machine's phases


class CncMachineLogic:
    """Begins a part while the job has some left, the program is the released one, and coolant flows.

    The MES writes job_program, job_checksum and job_quantity; the quantity counts down with every part, and at zero
    the machine waits. `verify` compares the checksum with the release table; `interlock` wants coolant.
    Checksums are 16 bits without sign, as the register holds them.
    """

    tags = (
        Tag("job_program", "holding", "任务程序号", "", 1, 1001),
        Tag("job_checksum", "holding", "任务程序校验和", "", 1, 23117),
        Tag("job_quantity", "holding", "任务剩余数量", "件", 1, 500),
        Tag("released_1001", "holding", "程序 1001 发布校验和", "", 1, 23117),
        Tag("released_1002", "holding", "程序 1002 发布校验和", "", 1, 12961),
        Tag("released_1003", "holding", "程序 1003 发布校验和", "", 1, 5309),
        Tag("feed_override", "holding", "进给倍率", "%", 10, 100),
        Tag("speed_override", "holding", "主轴倍率", "%", 10, 100),
        Tag("tool_offset", "holding", "刀具补偿", "µm", 1, 0),
        Tag("tool_limit", "holding", "换刀磨损值", "%", 10, 90),
        Tag("limit_load_high", "holding", "主轴负载高限", "%", 10, 150),
        Tag("limit_spindle_high", "holding", "主轴温度高限", "°C", 10, 70),
        Tag("limit_wear_high", "holding", "刀具磨损高限", "%", 10, 110),
        Tag("limit_deviation_high", "holding", "尺寸偏差上限", "µm", 10, 15),
        Tag("limit_deviation_low", "holding", "尺寸偏差下限", "µm", 10, -15),
        Tag("run", "coil", "加工允许", start=1),
        Tag("verify", "coil", "程序校验投用", start=1),
        Tag("interlock", "coil", "切削液联锁投用", start=1),
        Tag("reset", "coil", "故障复位"),
        Tag("phase", "input", "机床状态"),
        Tag("program", "input", "当前程序号"),
        Tag("progress", "input", "加工进度", "%", 10),
        Tag("rpm", "input", "主轴转速", "r/min", 1),
        Tag("load", "input", "主轴负载", "%", 10),
        Tag("spindle", "input", "主轴温度", "°C", 10),
        Tag("wear", "input", "刀具磨损", "%", 10),
        Tag("deviation", "input", "上一件尺寸偏差", "µm", 10),
        Tag("good", "input", "合格件", "件", 1),
        Tag("scrap", "input", "废品", "件", 1),
        Tag("waiting", "discrete", "等待任务"),
        Tag("refused", "discrete", "程序校验不符"),
        Tag("fault", "discrete", "故障停机"),
        Tag("coolant_ok", "discrete", "切削液压力正常"),
    )

    def __init__(self) -> None:
        self._made: float | None = None

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "phase", "program", "progress", "rpm", "load", "spindle", "wear", "deviation")
        take(tags, inputs, "good", "scrap", "fault", "coolant_ok")
        made = tags["good"] + tags["scrap"]
        if inputs:
            if self._made is not None and made > self._made:
                tags["job_quantity"] = max(0.0, tags["job_quantity"] - (made - self._made))
            self._made = made
        number = int(tags["job_program"])
        released = tags.get(f"released_{number}")
        matches = released is not None and int(released) % 65536 == int(tags["job_checksum"]) % 65536
        tags["refused"] = int(bool(tags["verify"]) and not matches and tags["job_quantity"] > 0)
        wet = bool(tags["coolant_ok"]) or not tags["interlock"]
        tags["waiting"] = int(tags["phase"] == WAITING and tags["job_quantity"] <= 0)
        more = tags["job_quantity"] - (tags["phase"] in IN_WORK)  # the part on the machine counts when it is done
        ready = more > 0 and not tags["refused"] and wet
        reset = tags["reset"]
        tags["reset"] = 0  # a push button, not a switch
        return {
            "alive": 1.0,
            "run": tags["run"],
            "start": int(ready),
            "program": number,
            "checksum": int(tags["job_checksum"]) % 65536,
            "feed": tags["feed_override"],
            "speed": tags["speed_override"],
            "offset": tags["tool_offset"],
            "change_tool": int(tags["wear"] >= tags["tool_limit"]),
            "reset": reset,
            "job_left": tags["job_quantity"],
        } | {name: tags[name] for name in tags if name.startswith("limit_")}


class CoolantStationLogic:
    """Keeps the common coolant at pressure, level and temperature."""

    tags = (
        Tag("pressure_setpoint", "holding", "压力设定", "bar", 10, 20),
        Tag("level_setpoint", "holding", "液位设定", "%", 10, 70),
        Tag("temp_setpoint", "holding", "温度设定", "°C", 10, 22),
        Tag("limit_level_low", "holding", "液位低限", "%", 10, 30),
        Tag("limit_pressure_low", "holding", "压力低限", "bar", 10, 12),
        Tag("limit_temp_high", "holding", "温度高限", "°C", 10, 30),
        Tag("pump_run", "coil", "供液泵运行", start=1),
        Tag("chiller_run", "coil", "冷却机运行", start=1),
        Tag("topup_auto", "coil", "自动补液", start=1),
        Tag("topup_manual", "coil", "手动补液"),
        Tag("level", "input", "液位", "%", 10),
        Tag("pressure", "input", "压力", "bar", 10),
        Tag("temp", "input", "温度", "°C", 10),
        Tag("chiller", "input", "冷却机负荷", "%", 10),
        Tag("topping", "discrete", "补液中"),
    )

    def __init__(self) -> None:
        self._chill = PI(8.0, 400.0)

    def scan(self, tags: MutableMapping[str, float], inputs: Mapping[str, float]) -> dict[str, float]:
        settle(tags, self.tags)
        take(tags, inputs, "level", "pressure", "temp", "chiller")
        low = tags["level"] < tags["level_setpoint"] - (0 if tags["topping"] else 3)
        filling = bool(inputs) and low if tags["topup_auto"] else bool(tags["topup_manual"])
        tags["topping"] = int(filling)
        cold = self._chill.output(tags["temp"] - tags["temp_setpoint"], 50.0, inputs.get("clock_s"))
        return {
            "alive": 1.0,
            "pump": tags["pump_run"],
            "pressure_bar": tags["pressure_setpoint"],
            "topup": tags["topping"],
            "chiller": cold if tags["chiller_run"] else 0.0,
        } | {name: tags[name] for name in tags if name.startswith("limit_")}
