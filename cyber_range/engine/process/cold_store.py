"""A small distribution cold store as a pure model: a chilled and a frozen room, a glycol chiller, doors, goods.

The chilled room is cooled by a coil on the glycol loop, the freezer by its own compressor whose evaporator ices up and
must be defrosted. Goods come and go in lots, first in first out; a lot's core follows the air slowly, and a clock runs
while it is too warm (or frozen, in the chilled room): when it is full the lot is spoiled. At any moment (kJ, kg)

    walls + doors + lamps + defrosting + goods' heat = heat stored in the air + taken by the coils       (each room)
    taken from the chilled room + pump = heat stored in the glycol + taken by the chiller
    goods at the start + received = in the rooms + shipped + discarded

Hard-wired: high-pressure switch (latching) and low-temperature switch of the chiller, the defrost thermostat, the
goods' own nature. Nothing hard-wired watches over a warm room; that is what the alarm is for.

Units: °C, kW, kJ, kg, s. Frozen goods are stored at -18 °C (GB 31605-2020); the clocks start at the limits below.
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
from cyber_range.engine.process.watch import Band, Trip, Watch

LOTS = 8
CP_CHILLED, CP_FROZEN = 3.6, 2.0  # kJ/kg K
WARM_CHILLED_C, WARM_FROZEN_C, FROST_C = 7.0, -12.0, -0.5
SPOILS_S = 600.0  # at the limit; every 10 K above double it
DOOR_S = 40.0  # open at every move of goods
ICE_KJ_KG = 334.0
MELT_SHARE = 0.7  # of the heaters' power; the rest warms the room
EVAPORATION_C = -33.0
GLYCOL_KJ_K = 500.0
LOW_CUT_C, LOW_BACK_C = -14.0, -10.0
HEAD_TRIP_BAR = 24.0
SHORT_CYCLE_S = 180.0  # a compressor started again sooner has no oil in its bearings


@dataclass(frozen=True, slots=True)
class Parameters:
    ambient_c: float = number(25.0, -10, 45, "°C")
    dock_c: float = number(15.0, -5, 35, "°C")
    chill_air_kj_k: float = number(300.0, 150, 5000, "kJ/K")
    freeze_air_kj_k: float = number(500.0, 150, 5000, "kJ/K")
    chill_wall_kw_k: float = number(0.25, 0.02, 0.6, "kW/K")
    freeze_wall_kw_k: float = number(0.16, 0.02, 0.4, "kW/K")
    door_kw_k: float = number(0.45, 0.05, 2.0, "kW/K")  # while open
    lamps_kw: float = number(2.5, 0.2, 8, "kW")  # and fans, in each room
    coil_kw_k: float = number(4.0, 0.5, 15, "kW/K")
    freeze_kw: float = number(25.0, 5, 80, "kW")
    evaporator_kw_k: float = number(2.6, 0.5, 10, "kW/K")
    defrost_kw: float = number(8.0, 2, 20, "kW")
    moisture_kg_s: float = number(0.004, 0.0005, 0.02, "kg/s")  # through the open door onto the evaporator
    chiller_kw: float = number(42.0, 10, 150, "kW")
    lot_kg: float = number(80.0, 20, 400, "kg")
    lot_kw_k: float = number(0.2, 0.01, 0.4, "kW/K")
    chill_intake_c: float = number(5.5, 0, 6.9, "°C")
    freeze_intake_c: float = number(-16.0, -25, -12.5, "°C")
    move_every_s: float = number(300.0, 90, 3600, "s")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parameters:
        return checked(cls, "cold store", values)

    def lot_kj_k(self, chilled: bool) -> float:
        return self.lot_kg * (CP_CHILLED if chilled else CP_FROZEN)


@dataclass(frozen=True, slots=True)
class Commands:
    """Two controllers' outputs; de-energised by default."""

    chill_valve_pct: float = 0.0
    chill_fan: bool = False
    freeze_pct: float = 0.0
    freeze_fan: bool = False
    defrost: bool = False
    hold_chill_door: bool = False
    hold_freeze_door: bool = False
    receive: bool = False
    chiller_pct: float = 0.0
    chiller_fan: bool = False
    glycol_pump: bool = False
    chiller_reset: bool = False


@dataclass(frozen=True, slots=True)
class Lot:
    core_c: float
    clock_s: float = 0.0
    spoiled: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """Counters only grow."""

    air_c: float
    lots: tuple[Lot, ...]  # the oldest first
    door_s: float = 0.0  # still to stay open
    open: bool = False
    spoiled_kg: float = 0.0
    shipped_kg: float = 0.0
    discarded_kg: float = 0.0
    received_kg: float = 0.0
    gained_kj: float = 0.0  # walls, door, lamps, defrosting
    goods_kj: float = 0.0  # given by the goods to the air
    taken_kj: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    chill: Room
    freeze: Room
    since_move_s: float = 0.0
    valve_pct: float = 0.0
    freeze_pct: float = 0.0
    frost_kg: float = 0.5
    frost_in_kg: float = 0.0
    melted_kg: float = 0.0
    defrosting: bool = False
    glycol_c: float = -6.0
    chiller_pct: float = 0.0
    pumping: bool = False
    low_cut: bool = False
    head_bar: float = 13.0
    head_tripped: bool = False
    stopped_s: float = 1e6  # the chiller's compressor stands since
    freeze_stopped_s: float = 1e6
    short_cycles: int = 0
    loop_kj: float = 0.0  # into the glycol
    chilled_kj: float = 0.0  # out of it
    energy_kj: float = 0.0


def step(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The store `dt` seconds later (at most MAX_STEP)."""
    if not 0 <= dt <= ColdStore.MAX_STEP + 1e-9:
        raise ValueError(f"a step is 0 to {ColdStore.MAX_STEP} s, not {dt}")
    return move(chiller(freezer(chilled(s, c, p, dt), c, p, dt), c, p, dt), c, p, dt)


def chilled(s: State, c: Commands, p: Parameters, dt: float) -> State:
    valve = towards(s.valve_pct, clamp(c.chill_valve_pct, 0, 100), 10 * dt)
    air = 1.0 if c.chill_fan else 0.12
    flows = 1.0 if s.pumping else 0.05
    taken = p.coil_kw_k * valve / 100 * air * flows * (s.chill.air_c - s.glycol_c) * dt
    lamps = p.lamps_kw if c.chill_fan else 0.4 * p.lamps_kw
    door = s.chill.door_s > 0 or c.hold_chill_door
    gained = p.chill_wall_kw_k * (p.ambient_c - s.chill.air_c) + lamps
    gained += p.door_kw_k * (p.dock_c - s.chill.air_c) if door else 0.0
    room = inside(s.chill, p, gained * dt, taken, door, True, dt)
    return replace(
        s, chill=room, valve_pct=valve, loop_kj=s.loop_kj + taken, glycol_c=s.glycol_c + taken / GLYCOL_KJ_K,
        energy_kj=s.energy_kj + lamps * dt,
    )  # fmt: skip


def freezer(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """The defrost thermostat ends the heaters when the ice is gone; the compressor stands while defrosting is asked."""
    heating = c.defrost and s.frost_kg > 0
    wanted = clamp(c.freeze_pct, 0, 100) if not c.defrost else 0.0
    pct = towards(s.freeze_pct, wanted, 20 * dt) if wanted > 0 else 0.0
    stopped = 0.0 if pct > 0 else s.freeze_stopped_s + dt
    short = int(s.freeze_pct <= 0 < pct and s.freeze_stopped_s < SHORT_CYCLE_S)
    air = 1.0 if c.freeze_fan and not c.defrost else 0.15
    reach = p.evaporator_kw_k / (1 + s.frost_kg / 4) * air * max(0.0, s.freeze.air_c - EVAPORATION_C)
    taken = min(pct / 100 * p.freeze_kw, reach) * dt
    heat = p.defrost_kw if heating else 0.0
    melted = min(s.frost_kg, heat * MELT_SHARE / ICE_KJ_KG * dt)
    door = s.freeze.door_s > 0 or c.hold_freeze_door
    ice = p.moisture_kg_s * dt * (1.0 if door else 0.05)
    lamps = p.lamps_kw if c.freeze_fan else 0.4 * p.lamps_kw
    gained = p.freeze_wall_kw_k * (p.ambient_c - s.freeze.air_c) + lamps + heat * (1 - MELT_SHARE)
    gained += p.door_kw_k * (p.dock_c - s.freeze.air_c) if door else 0.0
    room = inside(s.freeze, p, gained * dt, taken, door, False, dt)
    return replace(
        s, freeze=room, freeze_pct=pct, freeze_stopped_s=stopped, short_cycles=s.short_cycles + short,
        frost_kg=s.frost_kg + ice - melted, frost_in_kg=s.frost_in_kg + ice, melted_kg=s.melted_kg + melted,
        defrosting=heating, energy_kj=s.energy_kj + lamps * dt + heat * dt + taken / 1.5,
    )  # fmt: skip


def inside(room: Room, p: Parameters, gained: float, taken: float, door: bool, chilled_goods: bool, dt: float) -> Room:
    """Air and goods of one room, and the goods' clocks."""
    lot_kj_k = p.lot_kj_k(chilled_goods)
    limit = WARM_CHILLED_C if chilled_goods else WARM_FROZEN_C
    goods, lots, spoiled = 0.0, [], 0
    for lot in room.lots:
        heat = p.lot_kw_k * (lot.core_c - room.air_c) * dt
        core = lot.core_c - heat / lot_kj_k
        goods += heat
        pace = 2.0 ** clamp((core - limit) / 10, 0, 4) if core > limit else float(chilled_goods and core < FROST_C)
        clock = lot.clock_s + pace * dt
        bad = lot.spoiled or clock >= SPOILS_S
        spoiled += bad and not lot.spoiled
        lots.append(Lot(core, clock, bad))
    capacity = p.chill_air_kj_k if chilled_goods else p.freeze_air_kj_k
    return replace(
        room, air_c=room.air_c + (gained + goods - taken) / capacity, lots=tuple(lots), open=door,
        door_s=max(0.0, room.door_s - dt), spoiled_kg=room.spoiled_kg + spoiled * p.lot_kg,
        gained_kj=room.gained_kj + gained, goods_kj=room.goods_kj + goods, taken_kj=room.taken_kj + taken,
    )  # fmt: skip


def chiller(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """Compressor, condenser and pump of the glycol loop, with its two pressure and temperature switches."""
    low = s.glycol_c < (LOW_BACK_C if s.low_cut else LOW_CUT_C)
    head = (s.head_tripped and not c.chiller_reset) or s.head_bar > HEAD_TRIP_BAR
    wanted = 0.0 if low or head else clamp(c.chiller_pct, 0, 100)
    pct = towards(s.chiller_pct, wanted, 20 * dt) if wanted > 0 else 0.0
    short = int(s.chiller_pct <= 0 < pct and s.stopped_s < SHORT_CYCLE_S)
    taken = pct / 100 * p.chiller_kw * clamp((s.glycol_c + 30) / 24, 0.0, 1.3) * dt
    pump = 1.2 if c.glycol_pump else 0.0
    bar = 9 + 0.12 * p.ambient_c + pct / 100 * (3 if c.chiller_fan else 60)
    electric = taken / 2.8 + (pump + (1.5 if c.chiller_fan else 0.0)) * dt
    return replace(
        s, chiller_pct=pct, pumping=c.glycol_pump, low_cut=low, head_tripped=head, head_bar=lag(s.head_bar, bar, 25.0, dt),
        stopped_s=0.0 if pct > 0 else s.stopped_s + dt, short_cycles=s.short_cycles + short,
        glycol_c=s.glycol_c + (pump * dt - taken) / GLYCOL_KJ_K, loop_kj=s.loop_kj + pump * dt,
        chilled_kj=s.chilled_kj + taken, energy_kj=s.energy_kj + electric,
    )  # fmt: skip


def move(s: State, c: Commands, p: Parameters, dt: float) -> State:
    """Each interval one lot leaves either room and a fresh one comes, while goods are received."""
    since = s.since_move_s + dt
    if since < p.move_every_s or not c.receive:
        return replace(s, since_move_s=since)
    return replace(
        s, since_move_s=0.0, chill=exchanged(s.chill, p, p.chill_intake_c),
        freeze=exchanged(s.freeze, p, p.freeze_intake_c),
    )  # fmt: skip


def exchanged(room: Room, p: Parameters, intake_c: float) -> Room:
    bad = room.lots[0].spoiled
    return replace(
        room, lots=(*room.lots[1:], Lot(intake_c)), door_s=DOOR_S, received_kg=room.received_kg + p.lot_kg,
        shipped_kg=room.shipped_kg + (0.0 if bad else p.lot_kg),
        discarded_kg=room.discarded_kg + (p.lot_kg if bad else 0.0),
    )  # fmt: skip


def start(p: Parameters) -> State:
    """In steady operation: goods as old as their place in the queue makes them."""

    def room(air_c: float, intake_c: float, chilled_goods: bool) -> Room:
        tau = p.lot_kj_k(chilled_goods) / p.lot_kw_k
        ages = [p.move_every_s * (LOTS - i - 0.5) for i in range(LOTS)]
        return Room(air_c, tuple(Lot(air_c + (intake_c - air_c) * math.exp(-age / tau)) for age in ages))

    return State(
        room(2.0, p.chill_intake_c, True), room(-18.5, p.freeze_intake_c, False), since_move_s=p.move_every_s / 2,
        valve_pct=37.0, freeze_pct=48.0, chiller_pct=33.0, stopped_s=0.0, freeze_stopped_s=0.0, pumping=True,
    )  # fmt: skip


def described(p: Parameters) -> list[Variable]:
    stock = 1_000_000
    return [
        Variable("chill_temp", "冷藏间温度", "Chilled room", "°C", -20, 40, 0, 5),
        Variable("chill_core", "冷藏品最高中心温度", "Warmest chilled core", "°C", -20, 40, None, 6.5),
        Variable("chill_coldest", "冷藏品最低中心温度", "Coldest chilled core", "°C", -20, 40, -0.2, None),
        Variable("chill_valve", "冷藏盘管阀", "Chilled room coil valve", "%", 0, 100),
        Variable("chill_door", "冷藏门打开", "Chilled room door open", "", 0, 1),
        Variable("chill_clock", "冷藏品变质时钟", "Spoilage clock, chilled", "min", 0, 10, None, 5),
        Variable("freeze_temp", "冷冻间温度", "Freezer", "°C", -40, 30, -26, -14),
        Variable("freeze_core", "冷冻品最高中心温度", "Warmest frozen core", "°C", -40, 30, None, -13),
        Variable("freeze_compressor", "冷冻压缩机", "Freezer compressor", "%", 0, 100),
        Variable("freeze_door", "冷冻门打开", "Freezer door open", "", 0, 1),
        Variable("freeze_clock", "冷冻品变质时钟", "Spoilage clock, frozen", "min", 0, 10, None, 5),
        Variable("frost", "蒸发器结霜", "Frost on the evaporator", "kg", 0, 20, None, 5),
        Variable("defrost", "化霜中", "Defrosting", "", 0, 1),
        Variable("glycol", "乙二醇温度", "Glycol", "°C", -20, 40, -12, 0),
        Variable("chiller_load", "冷水机组负荷", "Chiller load", "%", 0, 100),
        Variable("chiller_fan", "冷凝风机", "Condenser fan", "", 0, 1),
        Variable("glycol_pump", "乙二醇泵", "Glycol pump", "", 0, 1),
        Variable("head_pressure", "冷凝压力", "Head pressure", "bar", 0, 40, None, 20),
        Variable("stock", "在库量", "Goods in store", "kg", 0, 10_000),
        Variable("shipped", "合格出库", "Shipped", "kg", 0, stock, counts=True),
        Variable("spoiled", "变质品", "Spoiled goods", "kg", 0, stock, counts=True),
        Variable("short_cycles", "压缩机短循环", "Compressor short cycles", "次", 0, 10_000, counts=True),
        Variable("energy", "累计用电", "Electricity", "kWh", 0, 100_000, counts=True),
        Variable("head_tripped", "机组高压保护", "High-pressure trip", "", 0, 1),
    ]


class ColdStore(SteppedPlant):
    NAME = "cold store"
    MAX_STEP = 1.0
    TITLES: ClassVar[Mapping[str, str]] = {"rooms": "库房控制器", "chiller": "冷水机组控制器"}
    CONTROLLERS: ClassVar[tuple[str, ...]] = tuple(TITLES)
    LIMITS: ClassVar[Mapping[str, Mapping[str, tuple[str, str]]]] = {
        "rooms": {
            "limit_chill_high": ("chill_temp", "high"),
            "limit_chill_low": ("chill_temp", "low"),
            "limit_freeze_high": ("freeze_temp", "high"),
            "limit_freeze_low": ("freeze_temp", "low"),
            "limit_chill_core": ("chill_core", "high"),
            "limit_freeze_core": ("freeze_core", "high"),
        },
        "chiller": {"limit_glycol_high": ("glycol", "high"), "limit_glycol_low": ("glycol", "low")},
    }

    def __init__(self, parameters: Parameters) -> None:
        bands = [
            Band("chill_core", -40, WARM_CHILLED_C, "冷藏品中心温度"),
            Band("chill_coldest", FROST_C, 60, "冷藏品最低中心温度"),
            Band("freeze_core", -60, WARM_FROZEN_C, "冷冻品中心温度"),
        ]
        super().__init__(
            described(parameters), Watch(bands, [Trip("head_tripped", "冷水机组高压保护停机", "高压保护已复位")])
        )
        self.parameters = parameters
        self.state = s = start(parameters)
        self.commands = Commands(
            s.valve_pct, True, s.freeze_pct, True, receive=True, chiller_pct=s.chiller_pct, chiller_fan=True,
            glycol_pump=True,
        )  # fmt: skip

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ColdStore:
        """A store in steady operation, all counters at zero."""
        return cls(Parameters.of(values))

    def piece(self, dt: float) -> None:
        self.state = step(self.state, self.commands, self.parameters, dt)

    def wired_inputs(self, controller: str) -> dict[str, float]:
        s = self.state
        if controller == "rooms":
            return {
                "chill_temp": s.chill.air_c, "chill_core": max(lot.core_c for lot in s.chill.lots),
                "freeze_temp": s.freeze.air_c, "freeze_core": max(lot.core_c for lot in s.freeze.lots),
                "chill_valve": s.valve_pct, "freeze_compressor": s.freeze_pct, "frost": s.frost_kg,
                "chill_door": int(s.chill.open), "freeze_door": int(s.freeze.open), "defrosting": int(s.defrosting),
            }  # fmt: skip
        return {
            "glycol": s.glycol_c, "load": s.chiller_pct, "head_pressure": s.head_bar,
            "head_tripped": int(s.head_tripped), "low_cut": int(s.low_cut),
        }  # fmt: skip

    def wired_outputs(self, controller: str, image: Image) -> None:
        if controller == "rooms":
            self.commands = replace(
                self.commands, chill_valve_pct=image.number("chill_valve", 0, 100), chill_fan=image.flag("chill_fan"),
                freeze_pct=image.number("freeze_compressor", 0, 100), freeze_fan=image.flag("freeze_fan"),
                defrost=image.flag("defrost"), hold_chill_door=image.flag("hold_chill_door"),
                hold_freeze_door=image.flag("hold_freeze_door"), receive=image.flag("receive"),
            )  # fmt: skip
        else:
            self.commands = replace(
                self.commands, chiller_pct=image.number("compressor", 0, 100), chiller_fan=image.flag("fan"),
                glycol_pump=image.flag("pump"), chiller_reset=image.flag("reset"),
            )  # fmt: skip

    def values(self) -> dict[str, float]:
        s, p = self.state, self.parameters
        chill, freeze = s.chill, s.freeze
        return {
            "chill_temp": round(chill.air_c, 2), "chill_core": round(max(lot.core_c for lot in chill.lots), 2),
            "chill_coldest": round(min(lot.core_c for lot in chill.lots), 2), "chill_valve": round(s.valve_pct, 1),
            "chill_door": int(chill.open), "chill_clock": clock_min(chill), "freeze_temp": round(freeze.air_c, 2),
            "freeze_core": round(max(lot.core_c for lot in freeze.lots), 2),
            "freeze_compressor": round(s.freeze_pct, 1), "freeze_door": int(freeze.open),
            "freeze_clock": clock_min(freeze), "frost": round(s.frost_kg, 3), "defrost": int(s.defrosting),
            "glycol": round(s.glycol_c, 2), "chiller_load": round(s.chiller_pct, 1),
            "chiller_fan": int(self.commands.chiller_fan), "glycol_pump": int(s.pumping),
            "head_pressure": round(s.head_bar, 2), "stock": round((len(chill.lots) + len(freeze.lots)) * p.lot_kg, 1),
            "shipped": round(chill.shipped_kg + freeze.shipped_kg, 1),
            "spoiled": round(chill.spoiled_kg + freeze.spoiled_kg, 1), "short_cycles": s.short_cycles,
            "energy": round(s.energy_kj / 3600, 3), "head_tripped": int(s.head_tripped),
        }  # fmt: skip


def clock_min(room: Room) -> float:
    """Minutes on the clock of the worst lot that is not spoiled yet."""
    return round(max((lot.clock_s for lot in room.lots if not lot.spoiled), default=SPOILS_S) / 60, 2)
