"""A pusher furnace that hardens bolts, with its oil quench, as a pure model: zones, burners, doors, trays, oil.

Every push moves nine trays one place on; the last falls into the oil, a cold one comes in. A tray's steel follows the
radiation of its zone; how long it was hot enough and whether it ever was too hot decides its bolts. Energy at any
moment (kJ):

    fuel = flue + walls + doors + heat stored in the lining + given to the trays
    given to the trays = heat in the trays on the way + heat of the trays that left + (cold trays came in at room heat)
    heat of quenched trays = heat stored in the oil + taken by the cooler

Protections: the controllers' interlocks; a safety controller with thermocouples of its own that holds the gas valve
(de-energise to trip, EN 746-2 calls it the protective system); and three that no controller can reach: the valve's
spring, a melting link in the muffle, and a thermostat in the oil that blocks the pusher.

Units: °C, kW, kJ, s. Defaults: a small gas-fired furnace for 600 bolts an hour, austenitising at 860 °C.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cyber_range.engine.process.image import Image
from cyber_range.engine.process.motion import clamp, towards
from cyber_range.engine.process.parameters import checked, number
from cyber_range.engine.process.plant import SteppedPlant
from cyber_range.engine.process.variable import Variable
from cyber_range.engine.process.watch import Band, Trip, Watch

ZONES = 3
PLACES = 9  # three in each zone
PARTS = 20  # bolts on a tray
SIGMA = 5.67e-11  # kW/m² K⁴
KELVIN = 273.15
DOOR_S, PUSH_AT_S = 16.0, 8.0  # both doors stand open for DOOR_S at a push
SHORTEST_PUSH_S = 30.0  # the pusher's own limit
VALVE_STROKE_S = 8.0
GAS_KWH_M3 = 9.7  # natural gas, lower heating value
NORMAL_C = (780.0, 860.0, 860.0)
AUSTENITE_C = 820.0  # soaking counts above
COARSE_C = 900.0  # grain grows above
AGEING_C, AGEING_K = 860.0, 25.0  # the muffle's life halves for every AGEING_K above AGEING_C


@dataclass(frozen=True, slots=True)
class Parameters:
    lining_kj_k: float = number(300.0, 100, 1500, "kJ/K")  # of one zone
    wall_loss_kw_k: float = number(0.03, 0.005, 0.08, "kW/K")  # of one zone
    burner_kw: float = number(220.0, 80, 500, "kW")  # first zone, fuel; the others have 0.73 and 0.5 of it
    efficiency: float = number(0.65, 0.4, 0.9)
    exchange_kw_k: float = number(0.08, 0.0, 0.4, "kW/K")  # between two zones
    door_loss_kw_k: float = number(0.07, 0.01, 0.2, "kW/K")  # at either end, while open
    tray_kj_k: float = number(13.0, 4, 30, "kJ/K")
    tray_area_m2: float = number(0.42, 0.1, 1.0, "m²")  # times emissivity
    ambient_c: float = number(25.0, -10, 45, "°C")
    soak_s: float = number(240.0, 30, 900, "s")  # needed above AUSTENITE_C
    coarse_s: float = number(60.0, 5, 600, "s")  # allowed above COARSE_C
    oil_kj_k: float = number(1600.0, 400, 8000, "kJ/K")
    cooler_kw_k: float = number(4.0, 0.5, 12, "kW/K")
    water_c: float = number(28.0, 5, 35, "°C")
    oil_best_c: float = number(60.0, 45, 80, "°C")
    oil_max_c: float = number(85.0, 82, 110, "°C")  # hotter oil quenches too slowly
    oil_thermostat_c: float = number(150.0, 120, 170, "°C")  # hard-wired, blocks the pusher
    fuse_c: float = number(1120.0, 1000, 1200, "°C")  # the muffle's melting link

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parameters:
        return checked(cls, "heat-treatment furnace", values)

    def burner(self, zone: int) -> float:
        return self.burner_kw * (1.0, 0.73, 0.5)[zone]


@dataclass(frozen=True, slots=True)
class Commands:
    """What three controllers ask for; de-energised by default."""

    valves_pct: tuple[float, ...] = (0.0, 0.0, 0.0)
    push: bool = False
    push_interval_s: float = 120.0
    door_hold: bool = False
    cooler_pct: float = 0.0
    gas_permit: bool = False
    furnace_tripped: bool = False
    safety_tripped: bool = False


@dataclass(frozen=True, slots=True)
class Tray:
    core_c: float
    soak_s: float = 0.0
    coarse_s: float = 0.0
    peak_c: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """Everything that changes. Counters only grow. Places are empty only while somebody stops the loading."""

    zones_c: tuple[float, ...]
    oil_c: float
    trays: tuple[Tray, ...]
    valves_pct: tuple[float, ...] = (0.0, 0.0, 0.0)
    cooler_pct: float = 0.0
    since_push_s: float = 0.0
    pushing_s: float = -1.0  # of the running push; below zero: none
    pushed: bool = False  # in the running push
    door_open: bool = False
    fuse: bool = True  # whole
    good: int = 0
    coarse: int = 0
    soft: int = 0
    muffle_h: float = 0.0  # life used, in hours at AGEING_C
    last_peak_c: float = 0.0
    last_soak_s: float = 0.0
    fuel_kj: float = 0.0
    flue_kj: float = 0.0
    wall_kj: float = 0.0
    door_kj: float = 0.0
    load_kj: float = 0.0
    quenched_kj: float = 0.0
    cooled_kj: float = 0.0


def step(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The furnace `dt` seconds later (at most MAX_STEP)."""
    if not 0 <= dt <= HeatTreatmentFurnace.MAX_STEP + 1e-9:
        raise ValueError(f"a step is 0 to {HeatTreatmentFurnace.MAX_STEP} s, not {dt}")
    return push(cool_oil(burn(s, c, p, dt), c, p, dt), c, p, dt)


def burn(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """Gas, lining, walls, doors and trays. The gas valve's spring closes it without permit."""
    fuse = s.fuse and max(s.zones_c) < p.fuse_c
    gas = c.gas_permit and fuse
    valves = tuple(
        towards(now, clamp(wanted, 0, 100), 100 / VALVE_STROKE_S * dt) if gas else 0.0
        for now, wanted in zip(s.valves_pct, c.valves_pct, strict=True)
    )
    fuel = [valve / 100 * p.burner(zone) * dt for zone, valve in enumerate(valves)]
    wall = [p.wall_loss_kw_k * (zone - p.ambient_c) * dt for zone in s.zones_c]
    leak = p.door_loss_kw_k * dt if s.door_open else 0.0
    door = [leak * (s.zones_c[0] - p.ambient_c), 0.0, leak * (s.zones_c[2] - p.ambient_c)]
    over = [p.exchange_kw_k * (s.zones_c[i] - s.zones_c[i + 1]) * dt for i in range(ZONES - 1)]
    given, trays = [0.0] * ZONES, []
    for place, tray in enumerate(s.trays):
        zone = place // 3
        heat = SIGMA * p.tray_area_m2 * ((s.zones_c[zone] + KELVIN) ** 4 - (tray.core_c + KELVIN) ** 4) * dt
        given[zone] += heat
        core = tray.core_c + heat / p.tray_kj_k
        trays.append(
            Tray(
                core, tray.soak_s + (dt if core >= AUSTENITE_C else 0.0),
                tray.coarse_s + (dt if core > COARSE_C else 0.0), max(tray.peak_c, core),
            )
        )  # fmt: skip
    zones = tuple(
        zone
        + (
            fuel[i] * p.efficiency
            - wall[i]
            - door[i]
            - given[i]
            - (over[i] if i < 2 else 0)
            + (over[i - 1] if i else 0)
        )
        / p.lining_kj_k
        for i, zone in enumerate(s.zones_c)
    )
    ageing = 2.0 ** clamp((max(zones) - AGEING_C) / AGEING_K, -20, 20)
    return replace(
        s, zones_c=zones, trays=tuple(trays), valves_pct=valves, fuse=fuse, muffle_h=s.muffle_h + ageing * dt / 3600,
        fuel_kj=s.fuel_kj + sum(fuel), flue_kj=s.flue_kj + sum(fuel) * (1 - p.efficiency),
        wall_kj=s.wall_kj + sum(wall), door_kj=s.door_kj + sum(door), load_kj=s.load_kj + sum(given),
    )  # fmt: skip


def cool_oil(s: State, c: Commands, p: Parameters, dt: float) -> State:
    pump = towards(s.cooler_pct, clamp(c.cooler_pct, 0, 100), 20 * dt)
    heat = p.cooler_kw_k * pump / 100 * (s.oil_c - p.water_c) * dt
    return replace(s, cooler_pct=pump, oil_c=s.oil_c - heat / p.oil_kj_k, cooled_kj=s.cooled_kj + heat)


def push(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The pusher's own sequence: doors open, trays move, doors close. The oil's thermostat blocks a new one."""
    since, pushing, pushed = s.since_push_s + dt, s.pushing_s, s.pushed
    if pushing < 0:
        due = since >= max(c.push_interval_s, SHORTEST_PUSH_S)
        if c.push and due and s.oil_c < p.oil_thermostat_c:
            pushing, pushed, since = 0.0, False, 0.0
    elif not c.push and not pushed:
        pushing = -1.0
    else:
        pushing += dt
    if pushing >= PUSH_AT_S and not pushed:
        s, pushed = quench(s, p), True
    if pushing >= DOOR_S:
        pushing = -1.0
    return replace(s, since_push_s=since, pushing_s=pushing, pushed=pushed, door_open=pushing >= 0 or c.door_hold)


def quench(s: State, p: Parameters) -> State:
    """The last tray falls into the oil and is judged; a cold one comes in."""
    tray = s.trays[-1]
    heat = p.tray_kj_k * (tray.core_c - s.oil_c)
    if tray.coarse_s > p.coarse_s:
        fate = "coarse"
    elif tray.soak_s < p.soak_s or tray.core_c < AUSTENITE_C or s.oil_c > p.oil_max_c:
        fate = "soft"
    else:
        fate = "good"
    counted: dict[str, Any] = {fate: getattr(s, fate) + PARTS}
    return replace(
        s, trays=(Tray(p.ambient_c), *s.trays[:-1]), oil_c=s.oil_c + heat / p.oil_kj_k, quenched_kj=s.quenched_kj + heat,
        last_peak_c=tray.peak_c, last_soak_s=tray.soak_s, **counted,
    )  # fmt: skip


def start(p: Parameters) -> State:
    """In steady production: the trays as they are on the way through zones at their normal temperature."""
    trays, tray = [], Tray(p.ambient_c)
    for place in range(PLACES):
        zone = NORMAL_C[place // 3] + KELVIN
        for _ in range(120):
            core = tray.core_c + SIGMA * p.tray_area_m2 * (zone**4 - (tray.core_c + KELVIN) ** 4) / p.tray_kj_k
            tray = Tray(core, tray.soak_s + (core >= AUSTENITE_C), 0.0, max(tray.peak_c, core))
            if _ == 60:
                trays.append(tray)
    return State(
        NORMAL_C, p.oil_best_c, tuple(trays), valves_pct=(64.0, 42.0, 40.0), cooler_pct=70.0, since_push_s=60.0,
        last_peak_c=tray.peak_c, last_soak_s=tray.soak_s,
    )  # fmt: skip


def described(p: Parameters) -> list[Variable]:
    return [
        Variable("zone1", "预热区温度", "Preheating zone", "°C", 0, 1200, 720, 830),
        Variable("zone2", "加热区温度", "Heating zone", "°C", 0, 1200, 820, 900),
        Variable("zone3", "保温区温度", "Soaking zone", "°C", 0, 1200, 820, 900),
        Variable("burner1", "预热区燃气阀", "Burner 1", "%", 0, 100),
        Variable("burner2", "加热区燃气阀", "Burner 2", "%", 0, 100),
        Variable("burner3", "保温区燃气阀", "Burner 3", "%", 0, 100),
        Variable("gas_flow", "燃气流量", "Gas flow", "m³/h", 0, 60),
        Variable("gas_permit", "燃气总阀", "Gas valve", "", 0, 1),
        Variable("door", "炉门打开", "Door open", "", 0, 1),
        Variable("push_interval", "推料周期（现场）", "Push interval asked", "s", 0, 600, 90, 240),
        Variable("tray_core", "出炉料温", "Core of the next tray out", "°C", 0, 1200),
        Variable("last_peak", "上一盘最高料温", "Peak core, last tray", "°C", 0, 1200, None, COARSE_C),
        Variable("last_soak", "上一盘保温时间", "Soak, last tray", "s", 0, 1800, p.soak_s, None),
        Variable("oil", "淬火油温", "Quench oil", "°C", 0, 200, 40, 80),
        Variable("cooler", "油冷泵", "Oil cooler pump", "%", 0, 100),
        Variable("parts_out", "出炉件", "Parts out of the furnace", "件", 0, 300_000, counts=True),
        Variable("parts_good", "合格件", "Good parts", "件", 0, 100_000, counts=True),
        Variable("parts_coarse", "过热件", "Overheated parts", "件", 0, 100_000, counts=True),
        Variable("parts_soft", "硬度不足件", "Soft parts", "件", 0, 100_000, counts=True),
        Variable("muffle_life", "炉罐寿命消耗", "Muffle life used", "h", 0, 8000, counts=True),
        Variable("gas", "累计燃气", "Gas used", "m³", 0, 100_000, counts=True),
        Variable("furnace_tripped", "炉温联锁跳停", "Furnace interlock trip", "", 0, 1),
        Variable("safety_tripped", "超温保护动作", "Over-temperature protection trip", "", 0, 1),
        Variable("fuse_blown", "炉罐熔断片熔断", "Melting link gone", "", 0, 1),
    ]


class HeatTreatmentFurnace(SteppedPlant):
    NAME = "heat-treatment furnace"
    MAX_STEP = 0.5
    TITLES: ClassVar[Mapping[str, str]] = {
        "furnace": "炉温控制器",
        "quench": "推料淬火控制器",
        "safety": "超温保护控制器",
    }
    CONTROLLERS: ClassVar[tuple[str, ...]] = tuple(TITLES)
    LIMITS: ClassVar[Mapping[str, Mapping[str, tuple[str, str]]]] = {
        "furnace": {f"limit_zone{n}_{side}": (f"zone{n}", side) for n in (1, 2, 3) for side in ("low", "high")},
        "quench": {"limit_oil_high": ("oil", "high"), "limit_oil_low": ("oil", "low")},
    }

    def __init__(self, parameters: Parameters) -> None:
        bands = [Band("zone3", AUSTENITE_C, COARSE_C, "保温区温度"), Band("oil", 30, parameters.oil_max_c, "淬火油温")]
        trips = [
            Trip("furnace_tripped", "炉温联锁动作，燃气切断", "炉温联锁已复位"),
            Trip("safety_tripped", "独立超温保护动作", "超温保护已复位"),
            Trip("fuse_blown", "炉罐熔断片熔断，须停炉更换", "炉罐熔断片已更换"),
        ]
        super().__init__(described(parameters), Watch(bands, trips))
        self.parameters = parameters
        self.state = start(parameters)
        s = self.state
        self.commands = Commands(s.valves_pct, True, 120.0, False, s.cooler_pct, True)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> HeatTreatmentFurnace:
        """A furnace in steady production, all counters at zero."""
        return cls(Parameters.of(values))

    def piece(self, dt: float) -> None:
        self.state = step(self.state, self.commands, self.parameters, dt)

    def wired_inputs(self, controller: str) -> dict[str, float]:
        s = self.state
        zones = {f"zone{n}": zone for n, zone in enumerate(s.zones_c, 1)}
        if controller == "furnace":
            valves = {f"burner{n}": valve for n, valve in enumerate(s.valves_pct, 1)}
            return {**zones, **valves, "door": int(s.door_open), "gas_permit": int(self.commands.gas_permit and s.fuse)}
        if controller == "quench":
            return {
                "oil": s.oil_c, "cooler": s.cooler_pct, "since_push": s.since_push_s, "door": int(s.door_open),
                "good": s.good, "scrap": s.coarse + s.soft, "oil_thermostat": int(s.oil_c >= self.parameters.oil_thermostat_c),
            }  # fmt: skip
        return {**zones, "fuse": int(s.fuse)}

    def wired_outputs(self, controller: str, image: Image) -> None:
        if controller == "furnace":
            valves = tuple(image.number(f"burner{n}", 0, 100) for n in (1, 2, 3))
            self.commands = replace(self.commands, valves_pct=valves, furnace_tripped=image.flag("tripped"))
        elif controller == "quench":
            self.commands = replace(
                self.commands, push=image.flag("push"), push_interval_s=image.number("push_interval_s", 0, 3600, 120),
                door_hold=image.flag("door_hold"), cooler_pct=image.number("cooler", 0, 100),
            )  # fmt: skip
        else:
            permit = image.flag("gas_permit")
            self.commands = replace(self.commands, gas_permit=permit, safety_tripped=image.flag("tripped"))

    def values(self) -> dict[str, float]:
        s, c = self.state, self.commands
        found: dict[str, float] = {f"zone{n}": round(zone, 2) for n, zone in enumerate(s.zones_c, 1)}
        found |= {f"burner{n}": round(valve, 1) for n, valve in enumerate(s.valves_pct, 1)}
        kw = sum(valve / 100 * self.parameters.burner(zone) for zone, valve in enumerate(s.valves_pct))
        return found | {
            "gas_flow": round(kw / GAS_KWH_M3, 2), "gas_permit": int(c.gas_permit and s.fuse), "door": int(s.door_open),
            "push_interval": round(c.push_interval_s, 1), "tray_core": round(s.trays[-1].core_c, 1),
            "last_peak": round(s.last_peak_c, 1), "last_soak": round(s.last_soak_s, 1), "oil": round(s.oil_c, 2),
            "cooler": round(s.cooler_pct, 1), "parts_out": s.good + s.coarse + s.soft,
            "parts_good": s.good, "parts_coarse": s.coarse, "parts_soft": s.soft,
            "muffle_life": round(s.muffle_h, 3), "gas": round(s.fuel_kj / 3600 / GAS_KWH_M3, 3),
            "furnace_tripped": int(c.furnace_tripped), "safety_tripped": int(c.safety_tripped),
            "fuse_blown": int(not s.fuse),
        }  # fmt: skip
