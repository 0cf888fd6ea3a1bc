"""Three injection-moulding machines with two-cavity moulds as a pure model: barrels, clamps, cycles, parts.

Each barrel has three zones and a nozzle, heated electrically and cooled by the room and by the resin that passes. The
resin leaves a zone with most of the difference to its steel made up (EFFECT); what it takes, the steel loses, so that
at any moment

    heater energy = heat stored in the steel + lost to the room + given to the resin              (kJ, per machine)

and resin put in = parts good + scrap + what stands before the screw (kg). A shot's quality follows from its melt
temperature (viscosity, degradation), injection pressure, clamp force and cooling time. Two protections are hard-wired
and no controller can switch them off: the barrel's thermostat and the screw's torque limiter.

Units: °C, kN, MPa (melt), kg, kJ, kW, s. Typical for 1200 kN machines making 30 g polystyrene parts in 20 s cycles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cyber_range.engine.process.image import Image
from cyber_range.engine.process.motion import towards
from cyber_range.engine.process.parameters import checked, number
from cyber_range.engine.process.plant import SteppedPlant
from cyber_range.engine.process.variable import Variable
from cyber_range.engine.process.watch import Band, Trip, Watch

MACHINES = 3
ZONES = ("zone1", "zone2", "zone3", "nozzle")
CAVITIES = 2
CP_RESIN = 2.2  # kJ/kg K, polystyrene melt
EFFECT = 0.65  # of the difference between resin and steel made up in one zone
SHEAR_K = 6.0  # K the screw's work adds to the melt; its energy comes from the screw drive, not from the heaters
CLOSING_S, INJECTING_S, PACKING_S, PLASTICISING_S, OPENING_S = 2.0, 2.0, 4.0, 5.0, 3.0
MELT_REFERENCE = 230.0  # °C at which REQUIRED_MPA fills the mould
REQUIRED_MPA = 78.0
VISCOSITY_PER_K = 0.012  # relative change of viscosity, polystyrene between 200 and 260 °C
BURNT_C = 262.0  # above: degraded, streaks
CAVITY_SHARE = 0.45  # of the injection pressure that reaches the cavity
MOULD_C, EJECT_C, COOLING_TAU_S = 40.0, 96.0, 8.0  # wall temperature, warps above, time constant of the part's core
COLD_SCREW_C = 165.0  # resin is solid: turning the screw trips the torque limiter
REQUIRED_LOW = 205.0  # °C; below, the mould does not fill at the usual pressure
PUMP_KW = 5.5  # hydraulics while the machine runs

OFF, CLOSING, INJECTING, PACKING, COOLING, OPENING = range(6)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The cell as built. Every machine is alike."""

    zone_heat_kj_k: float = number(9.0, 4, 40, "kJ/K")
    zone_power_kw: float = number(3.5, 1.5, 10, "kW")
    zone_loss_w_k: float = number(7.0, 2, 15, "W/K")
    ambient_c: float = number(25.0, 5, 45, "°C")
    resin_c: float = number(70.0, 20, 110, "°C")  # as the dryer gives it
    thermostat_c: float = number(300.0, 270, 340, "°C")  # hard-wired, cuts one zone's heater
    shot_g: float = number(60.0, 20, 200, "g")
    projected_cm2: float = number(200.0, 50, 300, "cm²")
    clamp_max_kn: float = number(1300.0, 500, 3000, "kN")
    mould_rated_kn: float = number(1150.0, 400, 2500, "kN")  # more crushes the parting line
    pressure_max_mpa: float = number(140.0, 80, 200, "MPa")
    melt_nominal_c: float = number(230.0, 200, 250, "°C")
    melt_tolerance_c: float = number(20.0, 5, 30, "K")  # of the operator's alarms as delivered

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parameters:
        return checked(cls, "injection-moulding cell", values)


@dataclass(frozen=True, slots=True)
class MachineCommands:
    """One controller's outputs; de-energised by default."""

    heat_pct: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    run: bool = False
    clamp_kn: float = 0.0
    injection_mpa: float = 0.0
    cooling_s: float = 0.0
    tripped: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything that changes in one machine. Counters only grow."""

    zones_c: tuple[float, ...]
    heating: tuple[bool, ...] = (True, True, True, True)  # thermostats closed
    phase: int = OFF
    phase_s: float = 0.0
    cycle_s: float = 0.0
    last_cycle_s: float = 0.0
    clamp_kn: float = 0.0
    pressure_mpa: float = 0.0
    peak_mpa: float = 0.0  # of this shot
    last_peak_mpa: float = 0.0  # of the last one
    flash_force_kn: float = 0.0  # by which this shot opened the mould
    melt_kg: float = 0.0  # stands before the screw
    melt_c: float = 230.0
    last_melt_c: float = 230.0  # of the last shot
    cavity_kg: float = 0.0
    limiter: bool = False  # torque limiter tripped; the run command must go before it re-arms
    good: int = 0
    short: int = 0
    flash: int = 0
    burnt: int = 0
    warped: int = 0
    mould_damage: int = 0  # closings above the mould's rating
    resin_kg: float = 0.0
    moulded_kg: float = 0.0
    heater_kj: float = 0.0
    shear_kj: float = 0.0
    lost_kj: float = 0.0
    melt_kj: float = 0.0  # given by the steel to the resin
    drive_kj: float = 0.0

    @property
    def scrap(self) -> int:
        return self.short + self.flash + self.burnt + self.warped


State = tuple[Machine, ...]


def step_machine(m: Machine, c: MachineCommands, p: Parameters, dt: float) -> Machine:
    """One machine `dt` seconds later: first heat, then the cycle."""
    turning = m.phase == COOLING and m.melt_kg < p.shot_g / 1000 - 1e-12
    if turning and min(m.zones_c[1:]) < COLD_SCREW_C:
        m = replace(m, limiter=True)
    elif m.limiter and not c.run:
        m = replace(m, limiter=False)
    dosed = (
        min(p.shot_g / 1000 / PLASTICISING_S * dt, p.shot_g / 1000 - m.melt_kg) if turning and not m.limiter else 0.0
    )
    return cycle(heat(m, c, p, max(0.0, dosed), dt), c, p, dt)


def heat(m: Machine, c: MachineCommands, p: Parameters, dosed_kg: float, dt: float) -> Machine:
    """Steel, heaters and the resin that was drawn past them."""
    closed = tuple(
        zone < p.thermostat_c - 15 or (was and zone < p.thermostat_c)
        for zone, was in zip(m.zones_c, m.heating, strict=True)
    )
    zones, heater, lost, given, resin_c = [], 0.0, 0.0, 0.0, p.resin_c
    for zone, percent, on in zip(m.zones_c, c.heat_pct, closed, strict=True):
        electric = percent / 100 * p.zone_power_kw * dt if on else 0.0
        loss = p.zone_loss_w_k / 1000 * (zone - p.ambient_c) * dt
        to_resin = dosed_kg * CP_RESIN * EFFECT * (zone - resin_c)
        resin_c += EFFECT * (zone - resin_c)
        zones.append(zone + (electric - loss - to_resin) / p.zone_heat_kj_k)
        heater, lost, given = heater + electric, lost + loss, given + to_resin
    shear = dosed_kg * CP_RESIN * SHEAR_K
    melt_kg = m.melt_kg + dosed_kg
    melt_c = (m.melt_c * m.melt_kg + (resin_c + SHEAR_K) * dosed_kg) / melt_kg if melt_kg > 0 else m.melt_c
    drive = PUMP_KW * dt if c.run and not c.tripped else 0.0
    return replace(
        m, zones_c=tuple(zones), heating=closed, melt_kg=melt_kg, melt_c=melt_c, resin_kg=m.resin_kg + dosed_kg,
        heater_kj=m.heater_kj + heater, lost_kj=m.lost_kj + lost, melt_kj=m.melt_kj + given,
        shear_kj=m.shear_kj + shear, drive_kj=m.drive_kj + drive + shear,
    )  # fmt: skip


def cycle(m: Machine, c: MachineCommands, p: Parameters, dt: float) -> Machine:
    """The machine's own sequence. A machine told to stop ends its cycle with the mould open, as drives do."""
    running = c.run and not c.tripped and not m.limiter
    if m.phase == OFF:
        begun = replace(m, phase=CLOSING, phase_s=0.0, cycle_s=0.0, flash_force_kn=0.0) if running else m
        return replace(begun, clamp_kn=towards(m.clamp_kn, 0, 2000 * dt), pressure_mpa=0.0)
    phase_s, cycle_s = m.phase_s + dt, m.cycle_s + dt
    closed = m.phase in (CLOSING, INJECTING, PACKING, COOLING)
    clamp = towards(m.clamp_kn, min(c.clamp_kn, p.clamp_max_kn) if closed and running else 0.0, 1500 * dt)
    wanted = {INJECTING: c.injection_mpa, PACKING: 0.6 * c.injection_mpa}.get(m.phase, 0.0) if running else 0.0
    pressure = towards(m.pressure_mpa, min(wanted, p.pressure_max_mpa), 120 * dt)
    opening = pressure * CAVITY_SHARE * thin(m.melt_c) * p.projected_cm2 * 0.1 - clamp  # 1 MPa on 1 cm² is 0.1 kN
    m = replace(
        m, phase_s=phase_s, cycle_s=cycle_s, clamp_kn=clamp, pressure_mpa=pressure,
        peak_mpa=max(pressure, 0.0 if m.phase == CLOSING else m.peak_mpa),
        flash_force_kn=max(m.flash_force_kn, opening) if m.phase in (INJECTING, PACKING) else m.flash_force_kn,
    )  # fmt: skip
    lasts = {CLOSING: CLOSING_S, INJECTING: INJECTING_S, PACKING: PACKING_S, OPENING: OPENING_S}.get(
        m.phase, max(c.cooling_s, 0.5)
    )
    if m.phase == COOLING and running and m.melt_kg < p.shot_g / 1000 - 1e-9:
        return m  # the next shot is not ready
    if phase_s < lasts - 1e-9:
        return m
    return entered(m, c, p, phase_s - lasts)


def entered(m: Machine, c: MachineCommands, p: Parameters, over_s: float) -> Machine:
    """The next phase; `over_s` of it has passed already."""
    if m.phase == CLOSING:
        damage = int(m.clamp_kn > p.mould_rated_kn)
        return replace(m, phase=INJECTING, phase_s=over_s, mould_damage=m.mould_damage + damage)
    if m.phase == INJECTING:
        return replace(m, phase=PACKING, phase_s=over_s, cavity_kg=m.melt_kg, last_melt_c=m.melt_c, melt_kg=0.0)
    if m.phase == PACKING:
        return replace(m, phase=COOLING, phase_s=over_s)
    if m.phase == COOLING:
        return replace(judged(m, p), phase=OPENING, phase_s=over_s)
    running = c.run and not c.tripped and not m.limiter
    return replace(
        m, phase=CLOSING if running else OFF, phase_s=over_s if running else 0.0, last_cycle_s=m.cycle_s - over_s,
        cycle_s=over_s if running else 0.0, flash_force_kn=0.0,
    )  # fmt: skip


def thin(melt_c: float) -> float:
    """Fluidity against that at the reference temperature."""
    return math.exp(max(-3.0, min(1.0, VISCOSITY_PER_K * (melt_c - MELT_REFERENCE))))


def judged(m: Machine, p: Parameters) -> Machine:
    """The parts fall out: good, or the first fault an inspector names. An empty shot is short."""
    core = MOULD_C + (m.last_melt_c - MOULD_C) * math.exp(-(m.phase_s + PACKING_S) / COOLING_TAU_S)
    if m.cavity_kg <= 0 or m.peak_mpa * thin(m.last_melt_c) < REQUIRED_MPA:
        fault = "short"
    elif m.last_melt_c > BURNT_C:
        fault = "burnt"
    elif m.flash_force_kn > 0:
        fault = "flash"
    elif core > EJECT_C:
        fault = "warped"
    else:
        fault = "good"
    counted: dict[str, Any] = {fault: getattr(m, fault) + CAVITIES}
    return replace(m, **counted, last_peak_mpa=m.peak_mpa, moulded_kg=m.moulded_kg + m.cavity_kg, cavity_kg=0.0)


def step(state: State, commands: tuple[MachineCommands, ...], p: Parameters, dt: float) -> State:
    if not 0 <= dt <= InjectionMoulding.MAX_STEP + 1e-9:
        raise ValueError(f"a step is 0 to {InjectionMoulding.MAX_STEP} s, not {dt}")
    return tuple(step_machine(m, c, p, dt) for m, c in zip(state, commands, strict=True))


def holding_pct(p: Parameters, zone_c: float, resin_kw: float) -> float:
    """Heater duty that keeps a zone where it is."""
    return min(100.0, (p.zone_loss_w_k / 1000 * (zone_c - p.ambient_c) + resin_kw) / p.zone_power_kw * 100)


def start(p: Parameters) -> State:
    """Three warm machines a third of a cycle apart."""
    warm = (200.0, 215.0, 225.0, 230.0)
    machines = []
    for index in range(MACHINES):
        machines.append(
            Machine(
                zones_c=warm, phase=COOLING, phase_s=3.0 * index, cycle_s=8.0 + 3.0 * index, melt_kg=p.shot_g / 1000,
                cavity_kg=p.shot_g / 1000, clamp_kn=min(1000.0, p.clamp_max_kn), peak_mpa=92.0, last_peak_mpa=92.0, resin_kg=2 * p.shot_g / 1000,
                melt_c=p.melt_nominal_c, last_melt_c=p.melt_nominal_c,
            )
        )  # fmt: skip
    return tuple(machines)


def described(p: Parameters) -> list[Variable]:
    high, low = p.melt_nominal_c + p.melt_tolerance_c, p.melt_nominal_c - p.melt_tolerance_c
    found = []
    for n in range(1, MACHINES + 1):
        zh, en = f"{n} 号机", f"Machine {n} "
        found += [
            Variable(f"m{n}_zone1", f"{zh}料筒一段", f"{en}zone 1", "°C", 0, 350),
            Variable(f"m{n}_zone2", f"{zh}料筒二段", f"{en}zone 2", "°C", 0, 350),
            Variable(f"m{n}_zone3", f"{zh}料筒三段", f"{en}zone 3", "°C", 0, 350),
            Variable(f"m{n}_nozzle", f"{zh}喷嘴", f"{en}nozzle", "°C", 0, 350),
            Variable(f"m{n}_melt", f"{zh}熔体温度", f"{en}melt", "°C", 0, 350, low, high),
            Variable(f"m{n}_clamp", f"{zh}锁模力", f"{en}clamp force", "kN", 0, p.clamp_max_kn),
            Variable(
                f"m{n}_clamp_set",
                f"{zh}锁模力设定（现场）",
                f"{en}clamp force asked",
                "kN",
                0,
                p.clamp_max_kn,
                900,
                1100,
            ),
            Variable(f"m{n}_pressure", f"{zh}注射压力", f"{en}injection pressure", "MPa", 0, p.pressure_max_mpa),
            Variable(f"m{n}_peak", f"{zh}上一模峰值压力", f"{en}peak pressure", "MPa", 0, p.pressure_max_mpa, 85, 115),
            Variable(f"m{n}_phase", f"{zh}循环阶段", f"{en}phase", "", 0, 5),
            Variable(f"m{n}_cycle", f"{zh}循环时间", f"{en}cycle time", "s", 0, 60),
            Variable(f"m{n}_good", f"{zh}合格件", f"{en}good parts", "件", 0, 100_000, counts=True),
            Variable(f"m{n}_scrap", f"{zh}废品", f"{en}scrap", "件", 0, 100_000, counts=True),
            Variable(f"m{n}_tripped", f"{zh}停机联锁", f"{en}tripped", "", 0, 1),
        ]
    found += [
        Variable("parts_good", "合格件合计", "Good parts", "件", 0, 300_000, counts=True),
        Variable("parts_scrap", "废品合计", "Scrap", "件", 0, 300_000, counts=True),
        Variable("scrap_short", "缺料", "Short shots", "件", 0, 100_000, counts=True),
        Variable("scrap_flash", "飞边", "Flash", "件", 0, 100_000, counts=True),
        Variable("scrap_burnt", "烧焦", "Burnt", "件", 0, 100_000, counts=True),
        Variable("scrap_warped", "翘曲", "Warped", "件", 0, 100_000, counts=True),
        Variable("mould_damage", "超力合模次数", "Closings above mould rating", "次", 0, 10_000, counts=True),
        Variable("energy", "累计用电", "Electricity", "kWh", 0, 100_000, counts=True),
    ]
    return found


class InjectionMoulding(SteppedPlant):
    NAME = "injection-moulding cell"
    MAX_STEP = 0.2
    TITLES: ClassVar[Mapping[str, str]] = {
        "press1": "1 号注塑机控制器",
        "press2": "2 号注塑机控制器",
        "press3": "3 号注塑机控制器",
    }
    CONTROLLERS: ClassVar[tuple[str, ...]] = tuple(TITLES)
    LIMITS: ClassVar[Mapping[str, Mapping[str, tuple[str, str]]]] = {
        f"press{n}": {
            "limit_melt_high": (f"m{n}_melt", "high"),
            "limit_melt_low": (f"m{n}_melt", "low"),
            "limit_clamp_high": (f"m{n}_clamp_set", "high"),
            "limit_clamp_low": (f"m{n}_clamp_set", "low"),
            "limit_pressure_high": (f"m{n}_peak", "high"),
            "limit_pressure_low": (f"m{n}_peak", "low"),
        }
        for n in range(1, MACHINES + 1)
    }

    def __init__(self, parameters: Parameters) -> None:
        bands = [Band(f"m{n}_melt", REQUIRED_LOW, BURNT_C, f"{n} 号机熔体温度") for n in range(1, MACHINES + 1)]
        trips = [
            Trip(f"m{n}_tripped", f"{n} 号注塑机停机联锁动作", f"{n} 号注塑机联锁已复位")
            for n in range(1, MACHINES + 1)
        ]
        super().__init__(described(parameters), Watch(bands, trips))
        self.parameters = parameters
        self.state = start(parameters)
        resin = parameters.shot_g / 1000 * CP_RESIN / 20 * EFFECT
        duty = [
            holding_pct(parameters, c, resin * d)
            for c, d in ((200.0, 130.0), (215.0, 60.0), (225.0, 30.0), (230.0, 15.0))
        ]
        warm = MachineCommands(tuple(duty), True, 1000.0, 92.0, 9.0)
        self.commands: tuple[MachineCommands, ...] = (warm,) * MACHINES

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> InjectionMoulding:
        """A cell in steady production, all counters at zero."""
        return cls(Parameters.of(values))

    def piece(self, dt: float) -> None:
        self.state = step(self.state, self.commands, self.parameters, dt)

    def wired_inputs(self, controller: str) -> dict[str, float]:
        m = self.state[int(controller[-1]) - 1]
        return {
            **dict(zip(ZONES, m.zones_c, strict=True)), "melt": m.last_melt_c, "clamp": m.clamp_kn,
            "pressure": m.pressure_mpa, "peak": m.last_peak_mpa, "phase": m.phase, "cycle": m.last_cycle_s,
            "good": m.good, "scrap": m.scrap, "limiter": int(m.limiter), "thermostat": int(not all(m.heating)),
        }  # fmt: skip

    def wired_outputs(self, controller: str, image: Image) -> None:
        p, index = self.parameters, int(controller[-1]) - 1
        one = MachineCommands(
            heat_pct=tuple(image.number(f"heat_{zone}", 0, 100) for zone in ZONES),
            run=image.flag("run"),
            clamp_kn=image.number("clamp_kn", 0, p.clamp_max_kn),
            injection_mpa=image.number("injection_mpa", 0, p.pressure_max_mpa),
            cooling_s=image.number("cooling_s", 0, 120),
            tripped=image.flag("tripped"),
        )
        self.commands = (*self.commands[:index], one, *self.commands[index + 1 :])

    def values(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for n, (m, c) in enumerate(zip(self.state, self.commands, strict=True), 1):
            zones = dict(zip(ZONES, m.zones_c, strict=True))
            found |= {f"m{n}_{name}": round(zone, 2) for name, zone in zones.items()}
            found |= {
                f"m{n}_melt": round(m.last_melt_c, 2), f"m{n}_clamp": round(m.clamp_kn, 1),
                f"m{n}_clamp_set": round(c.clamp_kn, 1), f"m{n}_pressure": round(m.pressure_mpa, 2),
                f"m{n}_peak": round(m.last_peak_mpa, 2), f"m{n}_phase": m.phase, f"m{n}_cycle": round(m.last_cycle_s, 2),
                f"m{n}_good": m.good, f"m{n}_scrap": m.scrap, f"m{n}_tripped": int(c.tripped or m.limiter),
            }  # fmt: skip
        every = self.state
        return found | {
            "parts_good": sum(m.good for m in every),
            "parts_scrap": sum(m.scrap for m in every),
            "scrap_short": sum(m.short for m in every),
            "scrap_flash": sum(m.flash for m in every),
            "scrap_burnt": sum(m.burnt for m in every),
            "scrap_warped": sum(m.warped for m in every),
            "mould_damage": sum(m.mould_damage for m in every),
            "energy": round(sum(m.heater_kj + m.drive_kj for m in every) / 3600, 3),
        }

    def quiet(self, values: Mapping[str, float]) -> set[str]:
        """A machine that stands makes no shots: the last one's numbers say nothing."""
        return {
            f"m{n}_{name}"
            for n in range(1, MACHINES + 1)
            if values[f"m{n}_phase"] == OFF or not self.commands[n - 1].run
            for name in ("melt", "clamp_set", "peak")
        }
