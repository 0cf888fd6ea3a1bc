"""Four CNC machines that make what the MES tells them, and their central coolant, as a pure model.

A machine runs one program for one blank after another: load, cut, unload. The tool wears (faster with speed, feed and
without coolant), wear and a warm spindle move the dimension, the controller's offset corrects it or ruins it. A
program is known by its number and a checksum of its text; one that was not released cuts another shape. At any moment

    blanks loaded = good parts + scrap + blanks on the machines
    coolant at the start + topped up = in the tank + carried off with chips + over the rim               (L)

Hard-wired: the spindle drive's overload trip and the coolant's pressure switch. What no protection sees in time is a
tool offset that drives the tool into the part: a crash.

Units: µm, rpm, % (of a tool's life; of nominal load), L, bar, °C, kW, s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar

from cyber_range.engine.process.image import Image
from cyber_range.engine.process.motion import clamp, lag, towards
from cyber_range.engine.process.parameters import checked, number
from cyber_range.engine.process.plant import SteppedPlant
from cyber_range.engine.process.variable import Variable
from cyber_range.engine.process.watch import Band, Trip, Watch

MACHINES = 4
LOAD_S, UNLOAD_S, TOOL_S, REPAIR_S = 10.0, 8.0, 30.0, 120.0
SPINDLE_RPM_S = 2500.0
WEAR_UM = 0.10  # dimension error for a per cent of wear
GROWTH_UM_K, WARM_C = 0.3, 40.0  # of the spindle, against the temperature at which the machine was set up
WRONG_SHAPE_UM = 80.0  # of a program that was not released
CRASH_UM = 500.0  # a larger offset drives the tool into the part
BREAK_PCT = 160.0  # wear at which the tool breaks
OVERLOAD = 1.6  # times nominal: the spindle drive trips
DRY_WEAR = 6.0  # times
COOLANT_BAR = 8.0  # pressure switch
COOLANT_KJ_K = 3.9  # of a litre

WAITING, LOADING, CUTTING, UNLOADING, CHANGING_TOOL, FAULT = range(6)


@dataclass(frozen=True, slots=True)
class Program:
    cut_s: float
    rpm: float
    load: float


PROGRAMS: Mapping[int, Program] = {
    1001: Program(60.0, 6000.0, 1.0),
    1002: Program(90.0, 4500.0, 1.1),
    1003: Program(45.0, 8000.0, 0.85),
}


def checksum(text: str) -> int:
    """The 16 bits that machine and MES compare: the head of the SHA-256 of a program's text."""
    return int.from_bytes(sha256(text.encode()).digest()[:2], "big")


@dataclass(frozen=True, slots=True)
class Parameters:
    checksum_1001: float = number(23117, 0, 65535)  # of the released programs
    checksum_1002: float = number(12961, 0, 65535)
    checksum_1003: float = number(5309, 0, 65535)
    tolerance_um: float = number(15.0, 5, 100, "µm")
    tool_life_min: float = number(30.0, 5, 240, "min")  # of cutting at nominal speed and feed
    spindle_kw: float = number(11.0, 2, 60, "kW")
    ambient_c: float = number(25.0, 5, 40, "°C")
    coolant_l: float = number(800.0, 100, 5000, "L")
    carry_l_min: float = number(0.5, 0.05, 3, "L/min")  # with the chips of one cutting machine
    topup_l_min: float = number(12.0, 3, 60, "L/min")
    chiller_kw: float = number(30.0, 5, 100, "kW")
    pump_kw: float = number(7.5, 1, 30, "kW")
    pump_bar: float = number(30.0, 15, 80, "bar")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parameters:
        return checked(cls, "CNC workshop", values)

    def released(self, program: int) -> int | None:
        return {1001: int(self.checksum_1001), 1002: int(self.checksum_1002), 1003: int(self.checksum_1003)}.get(
            program
        )


@dataclass(frozen=True, slots=True)
class MachineCommands:
    """One controller's outputs; de-energised by default (feed hold)."""

    start: bool = False  # a next part may begin
    run: bool = False  # drives on; off is a feed hold
    program: int = 0
    checksum: int = 0
    feed_pct: float = 0.0
    speed_pct: float = 0.0
    offset_um: float = 0.0
    change_tool: bool = False
    reset: bool = False
    job_left: float = 0.0


@dataclass(frozen=True, slots=True)
class Commands:
    machines: tuple[MachineCommands, ...] = (MachineCommands(),) * MACHINES
    pump: bool = False
    pressure_bar: float = 0.0
    topup: bool = False
    chiller_pct: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """Counters only grow. `program` and `wrong` are those of the part on the machine."""

    phase: int = WAITING
    phase_s: float = 0.0
    rpm: float = 0.0
    load: float = 0.0
    wear_pct: float = 20.0
    spindle_c: float = WARM_C
    program: int = 0
    wrong: bool = False
    crash: bool = False  # repair instead of a new tool
    last_um: float = 0.0
    blanks: int = 0
    good: int = 0
    scrap: int = 0
    breaks: int = 0
    crashes: int = 0
    trips: int = 0
    waiting_s: float = 0.0
    cutting_s: float = 0.0
    spindle_kj: float = 0.0

    @property
    def loaded(self) -> int:
        """Blanks on the machine."""
        return self.blanks - self.good - self.scrap


@dataclass(frozen=True, slots=True)
class State:
    machines: tuple[Machine, ...]
    coolant_l: float
    coolant_c: float = 22.0
    bar: float = 20.0
    chiller_pct: float = 40.0
    topped_l: float = 0.0
    carried_l: float = 0.0
    over_l: float = 0.0
    pump_kj: float = 0.0
    chiller_kj: float = 0.0


def step(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The workshop `dt` seconds later (at most MAX_STEP)."""
    if not 0 <= dt <= CncWorkshop.MAX_STEP + 1e-9:
        raise ValueError(f"a step is 0 to {CncWorkshop.MAX_STEP} s, not {dt}")
    wet = s.bar >= COOLANT_BAR
    machines = tuple(
        step_machine(m, one, p, s.coolant_c, wet, dt) for m, one in zip(s.machines, c.machines, strict=True)
    )
    return cool(replace(s, machines=machines), c, p, dt)


def step_machine(m: Machine, c: MachineCommands, p: Parameters, coolant_c: float, wet: bool, dt: float) -> Machine:
    """Drives and temperature, then the machine's own sequence."""
    known = PROGRAMS.get(m.program)
    cutting = m.phase == CUTTING and c.run and known is not None
    wanted = known.rpm * c.speed_pct / 100 if known is not None and cutting else 0.0
    rpm = towards(m.rpm, wanted, SPINDLE_RPM_S * dt)
    feed = c.feed_pct / 100 if cutting and rpm > 0.9 * wanted > 0 else 0.0
    load = known.load * feed * (1.3 if m.wrong else 1.0) * (1 + m.wear_pct / 400) if known is not None else 0.0
    share = (rpm / 6000.0) ** 2
    hot = coolant_c + 18 * share if wet else p.ambient_c + 70 * share
    power = p.spindle_kw * (0.1 + 0.5 * load) if rpm > 0 else 0.0
    wear = m.wear_pct
    if feed > 0:
        rate = (c.speed_pct / 100) ** 3 * feed**1.2 * (1.0 if wet else DRY_WEAR) * (1.3 if m.wrong else 1.0)
        wear = min(300.0, wear + 100 / (p.tool_life_min * 60) * rate * dt)
    m = replace(
        m, rpm=rpm, load=load, wear_pct=wear, spindle_c=lag(m.spindle_c, hot, 240.0, dt),
        spindle_kj=m.spindle_kj + power * dt, waiting_s=m.waiting_s + (dt if m.phase == WAITING else 0.0),
        cutting_s=m.cutting_s + (dt if feed > 0 else 0.0),
    )  # fmt: skip
    if m.phase == CUTTING:
        if feed > 0 and abs(c.offset_um) > CRASH_UM:
            return replace(scrapped(m), crashes=m.crashes + 1, breaks=m.breaks + 1, crash=True)
        if wear >= BREAK_PCT:
            return replace(scrapped(m), breaks=m.breaks + 1)
        if load > OVERLOAD:
            return replace(scrapped(m), trips=m.trips + 1)
        m = replace(m, phase_s=m.phase_s + feed * dt)
        if known is None or m.phase_s < known.cut_s - 1e-9:
            return m
        return replace(m, phase=UNLOADING, phase_s=0.0, last_um=deviation(m, c))
    return sequence(m, c, p, dt)


def scrapped(m: Machine) -> Machine:
    """The machine stops in the part."""
    return replace(m, phase=FAULT, phase_s=0.0, rpm=0.0, load=0.0, scrap=m.scrap + 1)


def deviation(m: Machine, c: MachineCommands) -> float:
    shape = WRONG_SHAPE_UM if m.wrong else 0.0
    return WEAR_UM * m.wear_pct + GROWTH_UM_K * (m.spindle_c - WARM_C) + c.offset_um + shape


def sequence(m: Machine, c: MachineCommands, p: Parameters, dt: float) -> Machine:
    """Everything but cutting. Robots and the crew work on while the drives are held."""
    if m.phase == WAITING:
        if c.change_tool and c.run:
            return replace(m, phase=CHANGING_TOOL, phase_s=0.0)
        if not (c.start and c.run) or c.program not in PROGRAMS:
            return m
        wrong = c.checksum != p.released(c.program)
        return replace(m, phase=LOADING, phase_s=0.0, program=c.program, wrong=wrong, blanks=m.blanks + 1)
    if m.phase == FAULT and not c.reset and m.phase_s <= 0:
        return m  # until somebody acknowledges it
    m = replace(m, phase_s=m.phase_s + dt)
    if m.phase == LOADING and m.phase_s >= LOAD_S:
        return replace(m, phase=CUTTING, phase_s=0.0)
    if m.phase == UNLOADING and m.phase_s >= UNLOAD_S:
        good = abs(m.last_um) <= p.tolerance_um
        return replace(m, phase=WAITING, phase_s=0.0, good=m.good + good, scrap=m.scrap + (not good))
    if m.phase == CHANGING_TOOL and m.phase_s >= TOOL_S:
        return replace(m, phase=WAITING, phase_s=0.0, wear_pct=0.0)
    if m.phase == FAULT and m.phase_s >= (3 * REPAIR_S if m.crash else REPAIR_S):
        return replace(m, phase=WAITING, phase_s=0.0, wear_pct=0.0, crash=False)
    return m


def cool(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """Tank, pump and chiller. The heat of the spindles goes into the coolant while it flows."""
    sucks = s.coolant_l > 0.08 * p.coolant_l
    bar = lag(s.bar, clamp(c.pressure_bar, 0, p.pump_bar) if c.pump and sucks else 0.0, 3.0, dt)
    busy = sum(m.phase == CUTTING and m.load > 0 for m in s.machines) if bar >= COOLANT_BAR else 0
    carried = min(s.coolant_l, p.carry_l_min / 60 * busy * dt)
    topped = p.topup_l_min / 60 * dt if c.topup else 0.0
    level = s.coolant_l - carried + topped
    over = max(0.0, level - p.coolant_l)
    level -= over
    heat = sum(m.load for m in s.machines) * 0.4 * p.spindle_kw if bar >= COOLANT_BAR else 0.0
    pump = p.pump_kw * bar / p.pump_bar
    chiller = towards(s.chiller_pct, clamp(c.chiller_pct, 0, 100), 20 * dt)
    capacity = COOLANT_KJ_K * max(level, 20.0)
    cooled = chiller / 100 * p.chiller_kw * clamp((s.coolant_c - 5) / 10, 0, 1)
    warmer = (heat + 0.6 * pump - cooled - 0.15 * (s.coolant_c - p.ambient_c)) * dt / capacity
    mixed = (s.coolant_c + warmer) + topped / max(level, 20.0) * (p.ambient_c - s.coolant_c)
    return replace(
        s, bar=bar, coolant_l=level, coolant_c=clamp(mixed, 0, 95), chiller_pct=chiller, topped_l=s.topped_l + topped,
        carried_l=s.carried_l + carried, over_l=s.over_l + over, pump_kj=s.pump_kj + pump * dt,
        chiller_kj=s.chiller_kj + cooled / 3 * dt,
    )  # fmt: skip


def start(p: Parameters) -> State:
    """Warm machines in the middle of a shift, with tools of different age; all but the first have a part in work."""
    first = Machine(wear_pct=20.0)
    rest = tuple(
        Machine(CUTTING, 15.0 * (n + 1), rpm=6000.0, wear_pct=wear, program=1001, blanks=1)
        for n, wear in enumerate((45.0, 5.0, 65.0))
    )
    return State((first, *rest), coolant_l=0.7 * p.coolant_l)


def described(p: Parameters) -> list[Variable]:
    found = []
    for n in range(1, MACHINES + 1):
        zh, en = f"{n} 号机床", f"Machine {n} "
        found += [
            Variable(f"c{n}_phase", f"{zh}状态", f"{en}state", "", 0, 5),
            Variable(f"c{n}_program", f"{zh}程序号", f"{en}program", "", 0, 9999),
            Variable(f"c{n}_progress", f"{zh}加工进度", f"{en}progress", "%", 0, 100),
            Variable(f"c{n}_rpm", f"{zh}主轴转速", f"{en}spindle speed", "r/min", 0, 12_000),
            Variable(f"c{n}_load", f"{zh}主轴负载", f"{en}spindle load", "%", 0, 250, None, 150),
            Variable(f"c{n}_spindle", f"{zh}主轴温度", f"{en}spindle temperature", "°C", 0, 150, None, 70),
            Variable(f"c{n}_wear", f"{zh}刀具磨损", f"{en}tool wear", "%", 0, 300, None, 110),
            Variable(f"c{n}_deviation", f"{zh}上一件尺寸偏差", f"{en}deviation of the last part", "µm", -200, 200,
                     -p.tolerance_um, p.tolerance_um),
            Variable(f"c{n}_left", f"{zh}剩余任务", f"{en}parts left in the job", "件", 0, 10_000),
            Variable(f"c{n}_good", f"{zh}合格件", f"{en}good parts", "件", 0, 100_000, counts=True),
            Variable(f"c{n}_scrap", f"{zh}废品", f"{en}scrap", "件", 0, 100_000, counts=True),
            Variable(f"c{n}_fault", f"{zh}故障停机", f"{en}fault", "", 0, 1),
        ]  # fmt: skip
    found += [
        Variable("coolant_level", "切削液液位", "Coolant level", "%", 0, 100, 30, 95),
        Variable("coolant_pressure", "切削液压力", "Coolant pressure", "bar", 0, p.pump_bar, 12, None),
        Variable("coolant_temp", "切削液温度", "Coolant temperature", "°C", 0, 80, None, 30),
        Variable("chiller", "冷却机", "Chiller", "%", 0, 100),
        Variable("parts_good", "合格件合计", "Good parts", "件", 0, 400_000, counts=True),
        Variable("parts_scrap", "废品合计", "Scrap", "件", 0, 400_000, counts=True),
        Variable("tool_breaks", "断刀次数", "Tools broken", "次", 0, 10_000, counts=True),
        Variable("crashes", "撞刀次数", "Crashes", "次", 0, 10_000, counts=True),
        Variable("overloads", "主轴过载跳闸", "Spindle overload trips", "次", 0, 10_000, counts=True),
        Variable("waiting", "待料待单时间", "Machine time without work", "min", 0, 100_000, counts=True),
        Variable("coolant_used", "切削液消耗", "Coolant used", "L", 0, 100_000, counts=True),
        Variable("energy", "累计用电", "Electricity", "kWh", 0, 100_000, counts=True),
    ]
    return found


class CncWorkshop(SteppedPlant):
    NAME = "CNC workshop"
    MAX_STEP = 0.25
    TITLES: ClassVar[Mapping[str, str]] = {
        "cnc1": "1 号机床控制器", "cnc2": "2 号机床控制器", "cnc3": "3 号机床控制器", "cnc4": "4 号机床控制器", "coolant": "切削液站控制器",
    }  # fmt: skip
    CONTROLLERS: ClassVar[tuple[str, ...]] = tuple(TITLES)
    LIMITS: ClassVar[Mapping[str, Mapping[str, tuple[str, str]]]] = {
        "coolant": {
            "limit_level_low": ("coolant_level", "low"),
            "limit_pressure_low": ("coolant_pressure", "low"),
            "limit_temp_high": ("coolant_temp", "high"),
        },
        **{
            f"cnc{n}": {
                "limit_load_high": (f"c{n}_load", "high"),
                "limit_spindle_high": (f"c{n}_spindle", "high"),
                "limit_wear_high": (f"c{n}_wear", "high"),
                "limit_deviation_high": (f"c{n}_deviation", "high"),
                "limit_deviation_low": (f"c{n}_deviation", "low"),
            }
            for n in range(1, MACHINES + 1)
        },
    }

    def __init__(self, parameters: Parameters) -> None:
        numbers = range(1, MACHINES + 1)
        tolerance = parameters.tolerance_um
        bands = [Band(f"c{n}_deviation", -tolerance, tolerance, f"{n} 号机床尺寸偏差") for n in numbers]
        trips = [Trip(f"c{n}_fault", f"{n} 号机床故障停机", f"{n} 号机床故障已排除") for n in numbers]
        super().__init__(described(parameters), Watch(bands, trips))
        self.parameters = parameters
        self.state = start(parameters)
        self.commands = Commands(pump=True, pressure_bar=20.0, chiller_pct=40.0)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> CncWorkshop:
        """A warm workshop in work; all counters at zero."""
        return cls(Parameters.of(values))

    def piece(self, dt: float) -> None:
        self.state = step(self.state, self.commands, self.parameters, dt)

    def wired_inputs(self, controller: str) -> dict[str, float]:
        s = self.state
        if controller == "coolant":
            values = self.values()
            return {
                "level": values["coolant_level"], "pressure": s.bar, "temp": s.coolant_c, "chiller": s.chiller_pct,
            }  # fmt: skip
        m = s.machines[int(controller[-1]) - 1]
        return {
            "phase": m.phase, "program": m.program, "rpm": m.rpm, "load": m.load * 100, "spindle": m.spindle_c,
            "wear": m.wear_pct, "deviation": m.last_um, "progress": progress(m), "good": m.good, "scrap": m.scrap,
            "coolant_ok": int(s.bar >= COOLANT_BAR), "fault": int(m.phase == FAULT),
        }  # fmt: skip

    def wired_outputs(self, controller: str, image: Image) -> None:
        if controller == "coolant":
            self.commands = replace(
                self.commands, pump=image.flag("pump"), pressure_bar=image.number("pressure_bar", 0, 100),
                topup=image.flag("topup"), chiller_pct=image.number("chiller", 0, 100),
            )  # fmt: skip
            return
        one = MachineCommands(
            start=image.flag("start"), run=image.flag("run"), program=int(image.number("program", 0, 9999)),
            checksum=int(image.number("checksum", 0, 65535)), feed_pct=image.number("feed", 0, 200),
            speed_pct=image.number("speed", 0, 150), offset_um=image.number("offset", -32_000, 32_000),
            change_tool=image.flag("change_tool"), reset=image.flag("reset"),
            job_left=image.number("job_left", 0, 32_000),
        )  # fmt: skip
        index = int(controller[-1]) - 1
        machines = (*self.commands.machines[:index], one, *self.commands.machines[index + 1 :])
        self.commands = replace(self.commands, machines=machines)

    def values(self) -> dict[str, float]:
        s, p = self.state, self.parameters
        found: dict[str, float] = {}
        for n, (m, c) in enumerate(zip(s.machines, self.commands.machines, strict=True), 1):
            found |= {
                f"c{n}_phase": m.phase, f"c{n}_program": m.program, f"c{n}_progress": round(progress(m), 1),
                f"c{n}_rpm": round(m.rpm), f"c{n}_load": round(m.load * 100, 1),
                f"c{n}_spindle": round(m.spindle_c, 2), f"c{n}_wear": round(m.wear_pct, 2),
                f"c{n}_deviation": round(m.last_um, 2), f"c{n}_left": int(c.job_left), f"c{n}_good": m.good,
                f"c{n}_scrap": m.scrap, f"c{n}_fault": int(m.phase == FAULT),
            }  # fmt: skip
        every = s.machines
        electric = sum(m.spindle_kj for m in every) + s.pump_kj + s.chiller_kj
        return found | {
            "coolant_level": round(s.coolant_l / p.coolant_l * 100, 2), "coolant_pressure": round(s.bar, 2),
            "coolant_temp": round(s.coolant_c, 2), "chiller": round(s.chiller_pct, 1),
            "parts_good": sum(m.good for m in every), "parts_scrap": sum(m.scrap for m in every),
            "tool_breaks": sum(m.breaks for m in every), "crashes": sum(m.crashes for m in every),
            "overloads": sum(m.trips for m in every), "waiting": round(sum(m.waiting_s for m in every) / 60, 2),
            "coolant_used": round(s.carried_l + s.over_l, 2), "energy": round(electric / 3600, 3),
        }  # fmt: skip


def progress(m: Machine) -> float:
    """Per cent of the part that is on the machine."""
    known = PROGRAMS.get(m.program)
    if known is None or m.phase not in (CUTTING, UNLOADING):
        return 0.0
    return 100.0 if m.phase == UNLOADING else min(100.0, m.phase_s / known.cut_s * 100)
