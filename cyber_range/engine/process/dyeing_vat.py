"""A dyeing vat for cotton with reactive dye, and its dosing station, as a pure model: liquor, heat, chemistry, shade.

One batch: fill, salt, dye, heat, alkali, hold, drain, rinse, change the cloth. Dye goes from the bath onto the fibre
(faster with salt), is fixed there by alkali and heat, and hydrolyses in the bath, where it is lost. At any moment

    dye dosed = in the bath + on the fibre + fixed + hydrolysed + drained or spilled                     (g)
    water filled = in the vat + drained + spilled                                                         (L)
    steam + heat of the water filled = heat in the vat + cooled away + lost + carried out                  (kJ)

A batch is good when its colour difference to the approved shade (delta E, CMC) is at most 1: from the depth (dye fixed
per kg) and the levelness (dye must not strike while the bath stands or heats too fast). Beside that the run is
compared with the approved temperature curve all the time: seconds on and off the recipe.

Protections: the controller's interlocks; hard-wired: a float that cuts the steam over a dry coil, a thermostat at 98 °C,
and a lid that stays locked above 75 °C. Units: L, °C, g, kW, s. Defaults: 60 kg of knitwear at 1:8, 60 °C, 20 g/kg.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cyber_range.engine.process.image import Image
from cyber_range.engine.process.motion import clamp, towards
from cyber_range.engine.process.parameters import checked, number
from cyber_range.engine.process.plant import SteppedPlant
from cyber_range.engine.process.variable import Variable
from cyber_range.engine.process.watch import Band, Trip, Watch

CP_WATER, CP_CLOTH, STEEL_KJ_K = 4.19, 1.6, 125.0  # kJ/L K, kJ/kg K, the vat itself
THERMOSTAT_C, BOILING_C = 98.0, 100.0
LID_C = 75.0
DRY_L = 60.0  # coil not covered
EMPTY_L = 1.0
CHANGE_S = 90.0  # the crew takes the cloth out and loads the next
CHEMICALS = ("salt", "dye", "alkali")
FIXED_SHARE = 0.799  # of the dye dosed, when the recipe is followed; the chemistry below gives it
SHADE_TOLERANCE = 1.0  # delta E
DEPTH_TO_DELTA = 0.35  # delta E for a per cent of depth
EVEN_K_MIN = 7.0  # heating faster than this while dye strikes makes it uneven
# The approved curve from the moment the bath is ready: salt and dye cold, heating, alkali and fixing.
COLD_S, HEAT_S, FIX_S = 210.0, 300.0, 420.0
CURVE_TOLERANCE_K = 4.0
COLD_C, FIXING_C = 30.0, 60.0
PH_LIMIT = 11.4


@dataclass(frozen=True, slots=True)
class Parameters:
    cloth_kg: float = number(60.0, 10, 80, "kg")  # a batch
    vat_l: float = number(700.0, 650, 1500, "L")  # to the brim
    fill_l_min: float = number(480.0, 100, 1200, "L/min")
    drain_l_min: float = number(480.0, 100, 1200, "L/min")
    water_c: float = number(30.0, 10, 45, "°C")
    ambient_c: float = number(28.0, 5, 40, "°C")
    steam_kw: float = number(350.0, 100, 900, "kW")
    cooling_kw_k: float = number(6.0, 1, 15, "kW/K")
    loss_kw_k: float = number(0.3, 0.05, 1.0, "kW/K")
    dye_g_kg: float = number(20.0, 5, 60, "g/kg")  # of the approved shade, dosed

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parameters:
        return checked(cls, "dyeing vat", values)

    @property
    def fixed_target_g(self) -> float:
        return self.cloth_kg * self.dye_g_kg * FIXED_SHARE


@dataclass(frozen=True, slots=True)
class Commands:
    """Both controllers' outputs; de-energised by default. The meters of water and chemicals close by themselves."""

    fill: bool = False
    fill_to_l: float = 0.0
    drain: bool = False
    steam_pct: float = 0.0
    cooling_pct: float = 0.0
    pump: bool = False
    change: bool = False
    wanted: tuple[bool, ...] = (False, False, False)  # the vat asks the station for salt, dye, alkali
    stage: int = 0
    tripped: bool = False
    dose_g: tuple[float, ...] = (0.0, 0.0, 0.0)
    dose_g_s: tuple[float, ...] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class State:
    """Everything that changes. Counters only grow. Masses in g."""

    level_l: float
    temp_c: float
    rate_k_min: float = 0.0
    steam_pct: float = 0.0
    cooling_pct: float = 0.0
    circulating: bool = False
    salt_g: float = 0.0
    alkali_g: float = 0.0
    bath_g: float = 0.0
    fibre_g: float = 0.0
    fixed_g: float = 0.0
    hydrolysed_g: float = 0.0  # in the bath
    uneven: float = 0.0  # delta E
    bath_s: float = -1.0  # since the bath was ready; below zero: not yet
    changing_s: float = 0.0
    in_request: tuple[bool, ...] = (False, False, False)
    requested_g: tuple[float, ...] = (0.0, 0.0, 0.0)  # dosed in the running request
    dosed_g: tuple[float, ...] = (0.0, 0.0, 0.0)  # in total
    drained_dye_g: float = 0.0
    drained_salt_g: float = 0.0
    drained_alkali_g: float = 0.0
    taken_g: float = 0.0  # dye on cloth that left
    filled_l: float = 0.0
    drained_l: float = 0.0
    spilled_l: float = 0.0
    batches: int = 0
    good_kg: float = 0.0
    rework_kg: float = 0.0
    last_delta_e: float = 0.0
    on_recipe_s: float = 0.0
    off_recipe_s: float = 0.0
    working_s: float = 0.0  # the programme does something: water, pump or cloth move
    steam_kj: float = 0.0
    filled_kj: float = 0.0  # above 0 °C, as all heat here
    cooled_kj: float = 0.0
    lost_kj: float = 0.0
    carried_kj: float = 0.0  # with drained, spilled and evaporated water and changed cloth
    dry: bool = False
    thermostat: bool = False


def heat_kj_k(level_l: float, p: Parameters) -> float:
    return CP_WATER * level_l + CP_CLOTH * p.cloth_kg + STEEL_KJ_K


def acidity(alkali_g: float, level_l: float) -> float:
    """pH of the bath: soda ash in soft water."""
    return 7.0 + math.log10(1.0 + 500.0 * alkali_g / max(level_l, 20.0))


def curve_c(bath_s: float, p: Parameters) -> float:
    """The approved temperature, `bath_s` seconds after the bath was ready."""
    cold = max(COLD_C, p.water_c)
    return cold + (FIXING_C - cold) * clamp((bath_s - COLD_S) / HEAT_S, 0.0, 1.0)


def step(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The vat `dt` seconds later (at most MAX_STEP)."""
    if not 0 <= dt <= DyeingVat.MAX_STEP + 1e-9:
        raise ValueError(f"a step is 0 to {DyeingVat.MAX_STEP} s, not {dt}")
    s = change(dye(dose(warm(water(s, c, p, dt), c, p, dt), c, p, dt), c, p, dt), c, p, dt)
    s = compare(s, c, p, dt)
    return replace(s, working_s=s.working_s + dt) if c.fill or c.drain or c.change or s.circulating else s


def water(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """Filling, draining, spilling over; what dissolves goes out with the water."""
    room = max(0.0, c.fill_to_l - s.level_l) if c.fill else 0.0
    filled = min(room, p.fill_l_min / 60 * dt)
    level = s.level_l + filled
    temp = (heat_kj_k(s.level_l, p) * s.temp_c + filled * CP_WATER * p.water_c) / heat_kj_k(level, p)
    spilled = max(0.0, level - p.vat_l)
    drained = min(level - spilled, p.drain_l_min / 60 * dt) if c.drain else 0.0
    out = spilled + drained
    share = out / level if level > 0 else 0.0
    if level - out < EMPTY_L and c.drain:  # the last litre hangs in the cloth; what is dissolved in it goes at the spin
        share, drained, out = 1.0, drained + level - out, level
    dye_out = (s.bath_g + s.hydrolysed_g) * share
    return replace(
        s, level_l=level - out, temp_c=temp, filled_l=s.filled_l + filled, drained_l=s.drained_l + drained,
        spilled_l=s.spilled_l + spilled, filled_kj=s.filled_kj + filled * CP_WATER * p.water_c,
        carried_kj=s.carried_kj + out * CP_WATER * temp, bath_g=s.bath_g * (1 - share),
        hydrolysed_g=s.hydrolysed_g * (1 - share), salt_g=s.salt_g * (1 - share), alkali_g=s.alkali_g * (1 - share),
        drained_dye_g=s.drained_dye_g + dye_out, drained_salt_g=s.drained_salt_g + s.salt_g * share,
        drained_alkali_g=s.drained_alkali_g + s.alkali_g * share,
    )  # fmt: skip


def warm(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """Steam, cooling water and loss. At boiling point further steam leaves as vapour."""
    dry = s.level_l < DRY_L
    hot = s.temp_c >= THERMOSTAT_C - (3.0 if s.thermostat else 0.0)
    steam_pct = 0.0 if dry or hot else towards(s.steam_pct, clamp(c.steam_pct, 0, 100), 25 * dt)
    cooling_pct = towards(s.cooling_pct, clamp(c.cooling_pct, 0, 100), 25 * dt)
    capacity = heat_kj_k(s.level_l, p)
    steam = steam_pct / 100 * p.steam_kw * dt
    cooled = cooling_pct / 100 * min(p.cooling_kw_k, capacity / 10) * max(0.0, s.temp_c - p.water_c) * dt
    lost = p.loss_kw_k * (s.temp_c - p.ambient_c) * dt
    temp = s.temp_c + (steam - cooled - lost) / capacity
    vapour = max(0.0, temp - BOILING_C) * capacity
    rate = (min(temp, BOILING_C) - s.temp_c) / dt * 60 if dt else s.rate_k_min
    return replace(
        s, temp_c=min(temp, BOILING_C), rate_k_min=rate, steam_pct=steam_pct, cooling_pct=cooling_pct, dry=dry,
        thermostat=hot, steam_kj=s.steam_kj + steam, cooled_kj=s.cooled_kj + cooled, lost_kj=s.lost_kj + lost,
        carried_kj=s.carried_kj + vapour,
    )  # fmt: skip


def dose(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The station's scales: each request gives one measured amount."""
    given, requested = [], []
    for index, wanted in enumerate(c.wanted):
        before = s.requested_g[index] if wanted and s.in_request[index] else 0.0
        grams = min(max(0.0, c.dose_g[index] - before), max(0.0, c.dose_g_s[index]) * dt) if wanted else 0.0
        given.append(grams)
        requested.append(before + grams)
    return replace(
        s, in_request=c.wanted, requested_g=tuple(requested), salt_g=s.salt_g + given[0], bath_g=s.bath_g + given[1],
        alkali_g=s.alkali_g + given[2], dosed_g=tuple(a + b for a, b in zip(s.dosed_g, given, strict=True)),
    )  # fmt: skip


def dye(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """Strike, fixation, hydrolysis: first-order, with rates of typical warm-dyeing reactive dyes (1/min at 60 °C)."""
    circulating = c.pump and s.level_l > DRY_L
    minutes, heat = dt / 60, s.temp_c - FIXING_C
    salt = s.salt_g / max(s.level_l, DRY_L)
    reach = 0.85 * salt / (salt + 6.0)  # share of the free dye that wants to sit on the fibre
    stir = 1.0 if circulating else 0.15
    strike = 1 - math.exp(-0.8 * math.exp(0.02 * heat) * stir * minutes)
    moved = strike * (reach * (s.bath_g + s.fibre_g) - s.fibre_g)
    moved = clamp(moved, -s.fibre_g, s.bath_g)
    bath, fibre = s.bath_g - moved, s.fibre_g + moved
    power = 10.0 ** clamp(acidity(s.alkali_g, s.level_l) - 11.0, -4.0, 0.6)
    fixed = fibre * (1 - math.exp(-0.9 * power * math.exp(0.03 * heat) * minutes))
    split = bath * (1 - math.exp(-0.45 * power * math.exp(0.08 * heat) * minutes))
    struck = max(0.0, moved) / max(p.fixed_target_g, 1.0)
    haste = max(0.0, s.rate_k_min - EVEN_K_MIN) / EVEN_K_MIN + (0.0 if circulating else 4.0)
    return replace(
        s, circulating=circulating, bath_g=bath - split, fibre_g=fibre - fixed, fixed_g=s.fixed_g + fixed,
        hydrolysed_g=s.hydrolysed_g + split, uneven=s.uneven + 10.0 * struck * haste,
    )  # fmt: skip


def delta_e(s: State, p: Parameters) -> float:
    """Colour difference of the cloth as it is, to the approved shade."""
    depth = (s.fixed_g / p.fixed_target_g - 1.0) * 100
    return math.hypot(DEPTH_TO_DELTA * depth, s.uneven)


def change(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The crew changes the cloth when it is asked to and the vat is empty and cool."""
    if not (c.change and s.level_l <= EMPTY_L and s.temp_c < LID_C):
        return replace(s, changing_s=0.0)
    if s.changing_s + dt < CHANGE_S:
        return replace(s, changing_s=s.changing_s + dt)
    delta = delta_e(s, p)
    cloth_kj = CP_CLOTH * p.cloth_kg * (s.temp_c - p.ambient_c)
    return replace(
        s, changing_s=0.0, batches=s.batches + 1, last_delta_e=delta,
        good_kg=s.good_kg + (p.cloth_kg if delta <= SHADE_TOLERANCE else 0.0),
        rework_kg=s.rework_kg + (0.0 if delta <= SHADE_TOLERANCE else p.cloth_kg),
        taken_g=s.taken_g + s.fixed_g + s.fibre_g, fixed_g=0.0, fibre_g=0.0, uneven=0.0,
        temp_c=s.temp_c - cloth_kj / heat_kj_k(s.level_l, p), carried_kj=s.carried_kj + cloth_kj, bath_s=-1.0,
    )  # fmt: skip


def compare(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """Seconds on and off the approved curve, while there is dye to be fixed."""
    if s.bath_s < 0:
        ready = s.circulating and (s.salt_g > 0 or s.bath_g > 0)
        return replace(s, bath_s=0.0) if ready else s
    length = COLD_S + HEAT_S + FIX_S
    if c.drain and s.bath_s > length - 60:  # the curve is over
        return replace(s, bath_s=length + 3600)
    if s.bath_s >= length + 3600:
        return s
    follows = abs(s.temp_c - curve_c(s.bath_s, p)) <= CURVE_TOLERANCE_K and s.circulating
    late = s.bath_s > length + 120
    ok = follows and not late and acidity(s.alkali_g, s.level_l) <= PH_LIMIT
    return replace(
        s, bath_s=s.bath_s + dt, on_recipe_s=s.on_recipe_s + (dt if ok else 0.0),
        off_recipe_s=s.off_recipe_s + (0.0 if ok else dt),
    )  # fmt: skip


STAGES = ("空闲", "进水", "加盐", "加染料", "升温", "加碱", "保温固色", "排液", "水洗进水", "水洗", "排水", "换布")


def described(p: Parameters) -> list[Variable]:
    liquor = p.cloth_kg * 8
    return [
        Variable("stage", "工步", "Stage", "", 0, len(STAGES) - 1),
        Variable("bath_time", "浴液时间", "Bath time", "s", 0, 5000),
        Variable("temp", "浴液温度", "Bath temperature", "°C", 0, 110, None, 66),
        Variable("curve", "工艺曲线温度", "Temperature of the approved curve", "°C", 0, 110),
        Variable("curve_deviation", "与工艺曲线偏差", "Deviation from the curve", "K", -60, 60),
        Variable("heating_rate", "升温速率", "Heating rate", "K/min", -60, 60),
        Variable("level", "液位", "Level", "L", 0, p.vat_l, None, liquor * 1.15),
        Variable("liquor_ratio", "浴比", "Liquor ratio", "L/kg", 0, 20),
        Variable("ph", "酸碱度", "pH", "", 0, 14, None, PH_LIMIT),
        Variable("salt", "盐浓度", "Salt", "g/L", 0, 120),
        Variable("dye_bath", "浴中染料", "Dye in the bath", "g", 0, 4000),
        Variable("dye_fixed", "上染深度", "Depth of shade", "%", 0, 200),
        Variable("unevenness", "染花指数", "Unevenness", "", 0, 10),
        Variable("steam", "蒸汽阀", "Steam valve", "%", 0, 100),
        Variable("cooling", "冷却阀", "Cooling valve", "%", 0, 100),
        Variable("circulating", "循环泵", "Circulation pump", "", 0, 1),
        Variable("fill", "进水阀", "Water valve", "", 0, 1),
        Variable("drain", "排液阀", "Drain valve", "", 0, 1),
        Variable("dosing_salt", "加盐中", "Dosing salt", "", 0, 1),
        Variable("dosing_dye", "加染料中", "Dosing dye", "", 0, 1),
        Variable("dosing_alkali", "加碱中", "Dosing alkali", "", 0, 1),
        Variable("dye_dosed", "累计染料", "Dye dosed", "g", 0, 1_000_000, counts=True),
        Variable("last_delta_e", "上一缸色差", "Colour difference, last batch", "ΔE", 0, 50, None, SHADE_TOLERANCE),
        Variable("batches", "完成缸数", "Batches", "缸", 0, 10_000, counts=True),
        Variable("kg_good", "合格布", "Cloth on shade", "kg", 0, 1_000_000, counts=True),
        Variable("kg_rework", "色差返修布", "Cloth off shade", "kg", 0, 1_000_000, counts=True),
        Variable("on_recipe", "合规工艺时间", "Time on the recipe", "s", 0, 1_000_000, counts=True),
        Variable("off_recipe", "偏离工艺时间", "Time off the recipe", "s", 0, 1_000_000, counts=True),
        Variable("working", "程序运转时间", "Time at work", "s", 0, 1_000_000, counts=True),
        Variable("spill", "溢流", "Spilled", "L", 0, 100_000, counts=True),
        Variable("water", "累计用水", "Water used", "L", 0, 1_000_000, counts=True),
        Variable("steam_used", "累计蒸汽热", "Steam heat used", "kWh", 0, 100_000, counts=True),
        Variable("tripped", "联锁跳停", "Interlock trip", "", 0, 1),
    ]


class DyeingVat(SteppedPlant):
    NAME = "dyeing vat"
    MAX_STEP = 0.5
    TITLES: ClassVar[Mapping[str, str]] = {"vat": "染缸控制器", "dosing": "加料站控制器"}
    CONTROLLERS: ClassVar[tuple[str, ...]] = tuple(TITLES)
    LIMITS: ClassVar[Mapping[str, Mapping[str, tuple[str, str]]]] = {
        "vat": {"limit_temp_high": ("temp", "high"), "limit_level_high": ("level", "high")},
        "dosing": {"limit_ph_high": ("ph", "high")},
    }

    def __init__(self, parameters: Parameters) -> None:
        bands = [Band("curve_deviation", -CURVE_TOLERANCE_K, CURVE_TOLERANCE_K, "浴液温度与工艺曲线的偏差")]
        super().__init__(
            described(parameters), Watch(bands, [Trip("tripped", "染缸联锁动作，蒸汽切断", "染缸联锁已复位")])
        )
        self.parameters = parameters
        self.state = State(level_l=0.0, temp_c=parameters.water_c)
        self.commands = Commands()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DyeingVat:
        """A vat with its cloth loaded, before filling; all counters at zero."""
        return cls(Parameters.of(values))

    def piece(self, dt: float) -> None:
        self.state = step(self.state, self.commands, self.parameters, dt)

    def wired_inputs(self, controller: str) -> dict[str, float]:
        s, c = self.state, self.commands
        if controller == "vat":
            done = {
                f"{name}_done": int(s.in_request[i] and c.dose_g_s[i] > 0 and s.requested_g[i] >= c.dose_g[i] - 1e-6)
                for i, name in enumerate(CHEMICALS)
            }
            return {
                "level": s.level_l, "temp": s.temp_c, "batches": s.batches, "thermostat": int(s.thermostat),
                "dry": int(s.dry), "circulating": int(s.circulating), **done,
            }  # fmt: skip
        asked = {f"{name}_request": int(c.wanted[i]) for i, name in enumerate(CHEMICALS)}
        given = {f"{name}_given": s.requested_g[i] for i, name in enumerate(CHEMICALS)}
        return {"ph": acidity(s.alkali_g, s.level_l), **asked, **given}

    def wired_outputs(self, controller: str, image: Image) -> None:
        if controller == "vat":
            self.commands = replace(
                self.commands, fill=image.flag("fill"), fill_to_l=image.number("fill_to_l", 0, 5000),
                drain=image.flag("drain"), steam_pct=image.number("steam", 0, 100),
                cooling_pct=image.number("cooling", 0, 100), pump=image.flag("pump"), change=image.flag("change"),
                wanted=tuple(image.flag(f"{name}_request") for name in CHEMICALS), tripped=image.flag("tripped"),
                stage=int(image.number("stage", 0, len(STAGES) - 1)),
            )  # fmt: skip
        else:
            self.commands = replace(
                self.commands, dose_g=tuple(image.number(f"{name}_g", 0, 60_000) for name in CHEMICALS),
                dose_g_s=tuple(image.number(f"{name}_g_s", 0, 800) for name in CHEMICALS),
            )  # fmt: skip

    def values(self) -> dict[str, float]:
        s, c, p = self.state, self.commands, self.parameters
        in_bath = 0 <= s.bath_s < COLD_S + HEAT_S + FIX_S + 3600
        curve = curve_c(max(0.0, s.bath_s), p) if in_bath else s.temp_c
        dosing = {
            f"dosing_{name}": int(c.wanted[i] and c.dose_g_s[i] > 0 and s.requested_g[i] < c.dose_g[i] - 1e-6)
            for i, name in enumerate(CHEMICALS)
        }
        return {
            "stage": c.stage, "bath_time": round(s.bath_s, 1) if in_bath else 0, "temp": round(s.temp_c, 2),
            "curve": round(curve, 2), "curve_deviation": round(s.temp_c - curve, 2),
            "heating_rate": round(s.rate_k_min, 2), "level": round(s.level_l, 1),
            "liquor_ratio": round(s.level_l / p.cloth_kg, 2), "ph": round(acidity(s.alkali_g, s.level_l), 2),
            "salt": round(s.salt_g / max(s.level_l, 20.0), 2), "dye_bath": round(s.bath_g, 1),
            "dye_fixed": round(s.fixed_g / p.fixed_target_g * 100, 2), "unevenness": round(s.uneven, 3),
            "steam": round(s.steam_pct, 1), "cooling": round(s.cooling_pct, 1), "circulating": int(s.circulating),
            "fill": int(c.fill and s.level_l < c.fill_to_l), "drain": int(c.drain and s.level_l > 0), **dosing,
            "dye_dosed": round(s.dosed_g[1], 1), "last_delta_e": round(s.last_delta_e, 2), "batches": s.batches,
            "kg_good": round(s.good_kg, 1), "kg_rework": round(s.rework_kg, 1), "on_recipe": round(s.on_recipe_s, 1),
            "off_recipe": round(s.off_recipe_s, 1), "working": round(s.working_s, 1),
            "spill": round(s.spilled_l, 1), "water": round(s.filled_l, 1),
            "steam_used": round(s.steam_kj / 3600, 3), "tripped": int(c.tripped),
        }  # fmt: skip

    def quiet(self, values: Mapping[str, float]) -> set[str]:
        return {"curve_deviation"} if values["bath_time"] <= 0 else set()
