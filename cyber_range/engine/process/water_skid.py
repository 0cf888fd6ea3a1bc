"""A small works' water skid as a pure model: raw tank, filter, chlorination, clear tank to the town, and beside it the
neutralisation of acid waste water.

At any moment (m³, g, mol)

    river water in = raw tank + filtered + over the raw tank's rim
    filtered = clear tank + to the town + backwash + over the clear tank's rim
    chlorine dosed = in the clear tank + consumed + decayed + delivered + washed away
    base dosed - acid received = net base in the tank + discharged + diverted

Residual chlorine runs through two mixed cells (the baffled clear tank), so a wrong dose reaches the town in minutes.
The waste water's pH follows from its charge balance with carbonate, hence the steep titration curve. Limits: free
chlorine at the works' outlet 0.3 to 2 mg/L and 1 NTU (GB 5749-2022), discharge pH 6 to 9 (GB 8978-1996).

Hard-wired: floats that stop the pumps over empty tanks, the dosing pump's contactor that follows the raw water pump.
The pump drives of the intake controller hold their last speed when it falls silent, as drives on a bus do.

Units: m³, m³/h, mg/L = g/m³, kPa, %, s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cyber_range.engine.process.image import Image
from cyber_range.engine.process.motion import clamp, lag, towards
from cyber_range.engine.process.parameters import checked, number
from cyber_range.engine.process.plant import SteppedPlant
from cyber_range.engine.process.variable import Variable
from cyber_range.engine.process.watch import Band, Watch

CHLORINE_G_L = 100.0  # sodium hypochlorite solution
BASE_MOL_L = 2.0  # caustic soda
RESIDUAL_MIN, RESIDUAL_MAX, TURBIDITY_MAX = 0.3, 2.0, 1.0
PH_MIN, PH_MAX = 6.0, 9.0
DEAD_M3 = 0.3  # below the pumps' suction
BACKWASH_M3_H = 80.0
CLEAN_KPA = 18.0  # filter at nominal flow
BREAK_KPA = 90.0  # dirt that begins to break through
CARBONATE = 3.0  # mol/m³ in the waste water
KA1, KA2, KW = 10**-6.35, 10**-10.33, 1e-14
WAVE_S = 1200.0  # the rinse baths' rhythm
PROBE_S = 8.0


@dataclass(frozen=True, slots=True)
class Parameters:
    raw_m3: float = number(30.0, 5, 200, "m³")
    clear_m3: float = number(15.0, 6, 200, "m³")
    river_m3_h: float = number(100.0, 60, 300, "m³/h")
    raw_pump_m3_h: float = number(80.0, 40, 200, "m³/h")
    town_pump_m3_h: float = number(80.0, 20, 150, "m³/h")
    demand_m3_h: float = number(50.0, 5, 120, "m³/h")
    clog_kpa_m3: float = number(1.0, 0.05, 5, "kPa/m³")
    dosing_l_h: float = number(6.0, 1, 30, "L/h")
    consumed_mg_l: float = number(0.4, 0.0, 1.5, "mg/L")  # chlorine that the water takes at once
    decay_per_min: float = number(0.012, 0.0, 0.1, "1/min")
    waste_m3: float = number(1.5, 0.8, 20, "m³")
    waste_m3_h: float = number(6.0, 1, 20, "m³/h")
    acid_mol_m3: float = number(6.0, 1, 15, "mol/m³")
    acid_wave: float = number(0.25, 0.0, 0.6)
    base_l_h: float = number(60.0, 20, 300, "L/h")
    emergency_m3: float = number(20.0, 1, 100, "m³")
    raw_pump_kw: float = number(11.0, 1, 60, "kW")
    town_pump_kw: float = number(15.0, 1, 60, "kW")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parameters:
        return checked(cls, "water skid", values)


@dataclass(frozen=True, slots=True)
class Commands:
    """Three controllers' outputs."""

    river_valve_pct: float = 0.0
    raw_pump_pct: float = 0.0
    town_pump_pct: float = 0.0
    backwash: bool = False
    dosing_pct: float = 0.0
    base_pct: float = 0.0
    divert: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """Everything that changes. Counters only grow."""

    raw_m3: float
    clear_m3: float
    cells_g: tuple[float, float]  # chlorine in the two halves of the clear tank
    turbid: float  # NTU m³ in the clear tank
    net_mol: float  # strong base less strong acid in the waste tank
    probe_ph: float
    waste_clock_s: float = 0.0
    valve_pct: float = 0.0
    raw_pct: float = 0.0
    town_pct: float = 0.0
    dosing_pct: float = 0.0
    base_pct: float = 0.0
    dirt_kpa: float = 0.0
    raw_m3_h: float = 0.0
    town_m3_h: float = 0.0
    washing: bool = False
    diverting: bool = False
    emergency_m3: float = 0.0
    river_total: float = 0.0
    raw_over: float = 0.0
    filtered: float = 0.0
    clear_over: float = 0.0
    washed: float = 0.0
    town_total: float = 0.0
    offspec: float = 0.0
    shortage: float = 0.0
    dosed_g: float = 0.0
    consumed_g: float = 0.0
    decayed_g: float = 0.0
    delivered_g: float = 0.0
    wasted_g: float = 0.0  # chlorine with backwash and overflow
    acid_mol: float = 0.0
    base_mol: float = 0.0
    out_mol: float = 0.0  # net base that left
    discharged: float = 0.0
    waste_offspec: float = 0.0
    energy_kj: float = 0.0


def residual(s: State) -> float:
    """mg/L at the outlet."""
    return s.cells_g[1] / max(s.clear_m3 / 2, 1e-6)


def turbidity(s: State) -> float:
    return s.turbid / max(s.clear_m3, 1e-6)


def acidity(net_mol_m3: float, carbonate: float = CARBONATE) -> float:
    """pH at which the charges balance: net strong base + H = OH + HCO3 + 2 CO3 (mol/m³; 25 °C, closed to air)."""
    low, high = 0.0, 14.0
    for _ in range(36):
        middle = (low + high) / 2
        h = 10.0**-middle
        whole = h * h + KA1 * h + KA1 * KA2
        bicarbonate = carbonate * (KA1 * h + 2 * KA1 * KA2) / whole
        if net_mol_m3 + (h - KW / h) * 1000 - bicarbonate > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def step(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The skid `dt` seconds later (at most MAX_STEP)."""
    if not 0 <= dt <= WaterSkid.MAX_STEP + 1e-9:
        raise ValueError(f"a step is 0 to {WaterSkid.MAX_STEP} s, not {dt}")
    return neutralise(treat(s, c, p, dt), c, p, dt)


def treat(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """River to town."""
    hours = dt / 3600
    valve = towards(s.valve_pct, clamp(c.river_valve_pct, 0, 100), 10 * dt)
    washing = c.backwash and s.clear_m3 > DEAD_M3 + BACKWASH_M3_H * hours
    raw_on = s.raw_m3 > max(0.05 * p.raw_m3, p.raw_pump_m3_h * hours) and not washing
    raw_pct = towards(s.raw_pct, clamp(c.raw_pump_pct, 0, 100), 20 * dt) if raw_on else 0.0
    town_on = s.clear_m3 > max(0.05 * p.clear_m3, DEAD_M3 + p.town_pump_m3_h * hours)
    town_pct = towards(s.town_pct, clamp(c.town_pump_pct, 0, 100), 20 * dt) if town_on else 0.0

    flow = raw_pct / 100 * p.raw_pump_m3_h
    pressure = (CLEAN_KPA + s.dirt_kpa) * (flow / max(p.demand_m3_h, 1.0))
    flow *= math.sqrt(max(0.0, 1 - pressure / 400)) if pressure < 400 else 0.0
    filtered = flow * hours
    washed = BACKWASH_M3_H * hours if washing else 0.0
    town = town_pct / 100 * p.town_pump_m3_h * hours
    dirt = max(0.0, s.dirt_kpa + p.clog_kpa_m3 * filtered - (s.dirt_kpa / 20 + 0.2) * dt * washing)

    river = valve / 100 * p.river_m3_h * hours
    raw = s.raw_m3 + river - filtered
    raw_over = max(0.0, raw - p.raw_m3)
    clear = s.clear_m3 + filtered - town - washed
    clear_over = max(0.0, clear - p.clear_m3)

    # chlorine: dosed into the filtered water, what the water takes at once is gone, the rest enters the first cell
    dosing = towards(s.dosing_pct, clamp(c.dosing_pct, 0, 100), 50 * dt) if flow > 0 else 0.0
    dosed = dosing / 100 * p.dosing_l_h * CHLORINE_G_L * hours
    consumed = min(dosed, p.consumed_mg_l * filtered)
    fade = 1 - math.exp(-p.decay_per_min * dt / 60)
    half = max(s.clear_m3 / 2, 1e-6)
    out = town + washed + clear_over
    between = min(s.cells_g[0], (filtered + out) / 2 * s.cells_g[0] / half)
    leaves = min(s.cells_g[1], out * s.cells_g[1] / half)
    first = s.cells_g[0] + dosed - consumed - between
    second = s.cells_g[1] + between - leaves
    delivered = leaves * town / out if out > 0 else 0.0
    clouded = filtered * (0.2 + 0.05 * max(0.0, s.dirt_kpa - BREAK_KPA))
    turbid = s.turbid + clouded - min(s.turbid, out * turbidity(s))

    within = RESIDUAL_MIN <= residual(s) <= RESIDUAL_MAX and turbidity(s) <= TURBIDITY_MAX
    power = p.raw_pump_kw * (raw_pct / 100) ** 3 + p.town_pump_kw * (town_pct / 100) ** 3
    return replace(
        s, valve_pct=valve, raw_pct=raw_pct, town_pct=town_pct, dosing_pct=dosing, washing=washing, dirt_kpa=dirt,
        raw_m3=raw - raw_over, clear_m3=clear - clear_over, cells_g=(first * (1 - fade), second * (1 - fade)),
        turbid=turbid, raw_m3_h=flow, town_m3_h=town / hours if hours else 0.0, river_total=s.river_total + river,
        raw_over=s.raw_over + raw_over, filtered=s.filtered + filtered, clear_over=s.clear_over + clear_over,
        washed=s.washed + washed, town_total=s.town_total + town, offspec=s.offspec + (0.0 if within else town),
        shortage=s.shortage + max(0.0, p.demand_m3_h * hours - town), dosed_g=s.dosed_g + dosed,
        consumed_g=s.consumed_g + consumed, decayed_g=s.decayed_g + (first + second) * fade,
        delivered_g=s.delivered_g + delivered, wasted_g=s.wasted_g + leaves - delivered,
        energy_kj=s.energy_kj + power * dt,
    )  # fmt: skip


def acid_now(s: State, p: Parameters) -> float:
    """mol/m³ in what comes from the rinse baths."""
    return p.acid_mol_m3 * (1 + p.acid_wave * math.sin(2 * math.pi * s.waste_clock_s / WAVE_S))


def neutralise(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The waste tank stays full; what comes in goes out over its weir, to the sewer or to the emergency tank."""
    flow = p.waste_m3_h * dt / 3600
    pump = towards(s.base_pct, clamp(c.base_pct, 0, 100), 50 * dt)
    base = pump / 100 * p.base_l_h * BASE_MOL_L * dt / 3600
    acid = acid_now(s, p) * flow
    leaves = s.net_mol * min(1.0, flow / p.waste_m3)
    net = s.net_mol + base - acid - leaves
    ph = acidity(net / p.waste_m3)
    diverting = c.divert and s.emergency_m3 + flow <= p.emergency_m3
    off = not diverting and not PH_MIN <= ph <= PH_MAX
    return replace(
        s, waste_clock_s=s.waste_clock_s + dt, base_pct=pump, net_mol=net, probe_ph=lag(s.probe_ph, ph, PROBE_S, dt),
        diverting=diverting, emergency_m3=s.emergency_m3 + (flow if diverting else 0.0), acid_mol=s.acid_mol + acid,
        base_mol=s.base_mol + base, out_mol=s.out_mol + leaves,
        discharged=s.discharged + (0.0 if diverting else flow), waste_offspec=s.waste_offspec + (flow if off else 0.0),
    )  # fmt: skip


def start(p: Parameters) -> State:
    """In steady operation: tanks at 70 %, 0.6 mg/L, pH 7.5."""
    clear = 0.7 * p.clear_m3
    net = next(n / 100 for n in range(2000) if acidity(n / 100) >= 7.5) * p.waste_m3
    return State(
        raw_m3=0.7 * p.raw_m3, clear_m3=clear, cells_g=(0.66 * clear / 2, 0.6 * clear / 2), turbid=0.2 * clear,
        net_mol=net, probe_ph=7.5, dirt_kpa=12.0,
    )  # fmt: skip


def described(p: Parameters) -> list[Variable]:
    return [
        Variable("raw_level", "原水池液位", "Raw tank level", "%", 0, 100, 20, 95),
        Variable("river_valve", "进水阀", "River valve", "%", 0, 100),
        Variable("raw_flow", "原水泵流量", "Raw water flow", "m³/h", 0, 120),
        Variable("filter_dp", "滤池压差", "Filter pressure drop", "kPa", 0, 200, None, 75),
        Variable("backwash", "反冲洗", "Backwash", "", 0, 1),
        Variable("dosing_pump", "加氯泵", "Chlorine pump", "%", 0, 100),
        Variable("dose", "加氯量", "Chlorine dose", "mg/L", 0, 15),
        Variable("residual", "出厂余氯", "Residual chlorine", "mg/L", 0, 12, 0.35, 1.5),
        Variable("turbidity", "出厂浊度", "Turbidity", "NTU", 0, 10, None, 0.8),
        Variable("clear_level", "清水池液位", "Clear tank level", "%", 0, 100, 25, 95),
        Variable("town_flow", "供水流量", "Flow to town", "m³/h", 0, 120, 0.7 * p.demand_m3_h, None),
        Variable("waste_inflow_acid", "废水酸度", "Acidity of the waste water", "mmol/L", 0, 25),
        Variable("waste_ph", "排放口酸碱度", "pH of the discharge", "", 0, 14, 6.3, 8.7),
        Variable("base_pump", "加碱泵", "Caustic pump", "%", 0, 100),
        Variable("divert", "切入应急池", "Diverted to emergency tank", "", 0, 1),
        Variable("emergency_level", "应急池液位", "Emergency tank level", "%", 0, 100, None, 80),
        Variable("water_to_town", "累计供水", "Water delivered", "m³", 0, 100_000, counts=True),
        Variable("offspec", "不合格供水", "Off-spec water delivered", "m³", 0, 100_000, counts=True),
        Variable("shortage", "缺供水量", "Water not delivered", "m³", 0, 100_000, counts=True),
        Variable("overflow", "清水溢流", "Clear water spilled", "m³", 0, 100_000, counts=True),
        Variable("waste_discharged", "累计排放", "Waste water discharged", "m³", 0, 100_000, counts=True),
        Variable("waste_offspec", "超标排放", "Off-spec discharge", "m³", 0, 100_000, counts=True),
        Variable("chlorine_used", "累计次氯酸钠", "Hypochlorite used", "L", 0, 10_000, counts=True),
        Variable("base_used", "累计液碱", "Caustic used", "L", 0, 10_000, counts=True),
        Variable("energy", "累计用电", "Electricity", "kWh", 0, 100_000, counts=True),
    ]


class WaterSkid(SteppedPlant):
    NAME = "water skid"
    MAX_STEP = 1.0
    TITLES: ClassVar[Mapping[str, str]] = {
        "intake": "取水供水控制器",
        "dosing": "加氯控制器",
        "wastewater": "废水中和控制器",
    }
    CONTROLLERS: ClassVar[tuple[str, ...]] = tuple(TITLES)
    LIMITS: ClassVar[Mapping[str, Mapping[str, tuple[str, str]]]] = {
        "intake": {
            "limit_raw_low": ("raw_level", "low"),
            "limit_clear_low": ("clear_level", "low"),
            "limit_clear_high": ("clear_level", "high"),
            "limit_dp_high": ("filter_dp", "high"),
            "limit_town_low": ("town_flow", "low"),
        },
        "dosing": {"limit_residual_high": ("residual", "high"), "limit_residual_low": ("residual", "low")},
        "wastewater": {"limit_ph_high": ("waste_ph", "high"), "limit_ph_low": ("waste_ph", "low")},
    }

    def __init__(self, parameters: Parameters) -> None:
        bands = [
            Band("residual", RESIDUAL_MIN, RESIDUAL_MAX, "出厂余氯"),
            Band("waste_ph", PH_MIN, PH_MAX, "排放口酸碱度"),
        ]
        super().__init__(described(parameters), Watch(bands))
        self.parameters = p = parameters
        town = min(100.0, p.demand_m3_h / p.town_pump_m3_h * 100)
        raw = min(100.0, p.demand_m3_h / p.raw_pump_m3_h * 105)
        dose = (0.7 + p.consumed_mg_l) * p.demand_m3_h / CHLORINE_G_L / p.dosing_l_h * 100
        base = (p.acid_mol_m3 + CARBONATE) * p.waste_m3_h / BASE_MOL_L / p.base_l_h * 100
        self.commands = Commands(p.demand_m3_h / p.river_m3_h * 100, raw, town, False, dose, base, False)
        self.state = replace(
            start(p), valve_pct=self.commands.river_valve_pct, raw_pct=raw, town_pct=town, dosing_pct=dose, base_pct=base,
            town_m3_h=town / 100 * p.town_pump_m3_h,
        )  # fmt: skip

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> WaterSkid:
        """A works in steady operation, all counters at zero."""
        return cls(Parameters.of(values))

    def piece(self, dt: float) -> None:
        self.state = step(self.state, self.commands, self.parameters, dt)

    def dose_mg_l(self) -> float:
        s = self.state
        litres = s.dosing_pct / 100 * self.parameters.dosing_l_h
        return litres * CHLORINE_G_L / s.raw_m3_h if s.raw_m3_h > 0.5 else 0.0

    def wired_inputs(self, controller: str) -> dict[str, float]:
        s, p, values = self.state, self.parameters, self.values()
        if controller == "intake":
            names = ("raw_level", "clear_level", "raw_flow", "town_flow", "filter_dp", "river_valve", "backwash")
            return {name: values[name] for name in names} | {"demand": p.demand_m3_h}
        if controller == "dosing":
            return {name: values[name] for name in ("residual", "turbidity", "raw_flow", "dose", "dosing_pump")}
        return {
            "ph": s.probe_ph, "acid": acid_now(s, p), "waste_flow": p.waste_m3_h, "base_pump": s.base_pct,
            "emergency_level": values["emergency_level"],
        }  # fmt: skip

    def wired_outputs(self, controller: str, image: Image) -> None:
        if controller == "intake":
            if image.flag("alive"):
                self.commands = replace(
                    self.commands, river_valve_pct=image.number("river_valve", 0, 100),
                    raw_pump_pct=image.number("raw_pump", 0, 100), town_pump_pct=image.number("town_pump", 0, 100),
                    backwash=image.flag("backwash"),
                )  # fmt: skip
            else:  # the valves' springs close, the drives hold their speed
                self.commands = replace(self.commands, river_valve_pct=0.0, backwash=False)
        elif controller == "dosing":
            self.commands = replace(self.commands, dosing_pct=image.number("dosing_pump", 0, 100))
        else:
            pump = image.number("base_pump", 0, 100)
            self.commands = replace(self.commands, base_pct=pump, divert=image.flag("divert"))

    def values(self) -> dict[str, float]:
        s, p = self.state, self.parameters
        pressure = (CLEAN_KPA + s.dirt_kpa) * s.raw_m3_h / max(p.demand_m3_h, 1.0)
        return {
            "raw_level": round(s.raw_m3 / p.raw_m3 * 100, 2), "river_valve": round(s.valve_pct, 1),
            "raw_flow": round(s.raw_m3_h, 2), "filter_dp": round(pressure, 2), "backwash": int(s.washing),
            "dosing_pump": round(s.dosing_pct, 1), "dose": round(self.dose_mg_l(), 3),
            "residual": round(residual(s), 3), "turbidity": round(turbidity(s), 3),
            "clear_level": round(s.clear_m3 / p.clear_m3 * 100, 2), "town_flow": round(s.town_m3_h, 2),
            "waste_inflow_acid": round(acid_now(s, p), 2), "waste_ph": round(s.probe_ph, 2),
            "base_pump": round(s.base_pct, 1), "divert": int(s.diverting),
            "emergency_level": round(s.emergency_m3 / p.emergency_m3 * 100, 2),
            "water_to_town": round(s.town_total, 3), "offspec": round(s.offspec, 3), "shortage": round(s.shortage, 3),
            "overflow": round(s.clear_over, 3), "waste_discharged": round(s.discharged, 3),
            "waste_offspec": round(s.waste_offspec, 3), "chlorine_used": round(s.dosed_g / CHLORINE_G_L, 3),
            "base_used": round(s.base_mol / BASE_MOL_L, 3), "energy": round(s.energy_kj / 3600, 3),
        }  # fmt: skip
