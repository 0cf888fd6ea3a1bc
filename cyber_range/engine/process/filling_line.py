"""A bottling line as a pure model: buffer tank, filling zone with dosing heads, conveyor, drip tray.

Product flows: inlet valve -> buffer tank -> dosing heads -> bottles on the conveyor -> counted at the outlet. What a
bottle cannot hold runs into the drip tray, what the tank cannot hold runs over its rim; both are counted as spill, so
that at any moment

    inflow - start volume change = product in bottles (on the line and delivered) + spill        (all in mL)

Units: volumes in mL, lengths in m, times in s, flows in mL/s unless a name says otherwise (bpm = bottles a minute).
The numbers of a line for 500 mL bottles at 60 bpm stand in the scenario's process.yml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from cyber_range.engine.process.motion import clamp, towards
from cyber_range.engine.process.variable import Variable

MAX_STEP = 0.05  # s; longer steps are cut, so that fast clocks do not change what the line does
FLOW_METER_S = 2.0  # damping of the outlet flow meter; the heads themselves draw in bursts
WARM_UP_S = 60.0  # a scenario starts on a line that has been running for a while
ALARM_HYSTERESIS = 0.005  # of the variable's span: an alarm clears only this far inside its limit


@dataclass(frozen=True, slots=True)
class Parameters:
    """The line as built. Defaults: 800 L tank, 500 mL bottles, eight bottles in the filling zone at once."""

    tank_area_m2: float = 0.5
    tank_height_m: float = 1.6
    tank_start_pct: float = 60.0
    tank_low_pct: float = 10.0  # below: the heads draw air, so the low switch takes the filler's permission
    tank_high_pct: float = 92.0  # high-high level switch
    inlet_max_l_min: float = 60.0
    valve_stroke_s: float = 2.0  # closed to open
    dose_flow_ml_s: float = 160.0  # of one head
    nominal_ml: float = 500.0
    tolerance_ml: float = 10.0  # inside nominal +/- this a bottle is good
    bottle_capacity_ml: float = 530.0  # brimful
    conveyor_length_m: float = 6.0
    pitch_m: float = 0.25  # between two bottles
    zone_start_m: float = 2.0
    zone_length_m: float = 2.0
    conveyor_max_bpm: float = 90.0
    acceleration_bpm_s: float = 15.0
    tray_drain_ml_s: float = 25.0
    tray_capacity_ml: float = 20_000.0
    tray_high_ml: float = 8_000.0  # switch that asks for the filler to stop

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parameters:
        """From process.yml; an unknown name or a value that is not above zero is an error that names it."""
        known = {f.name for f in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"the filling line has no parameter {name!r}; there are: {', '.join(sorted(known))}")
            if not float(value) > 0:
                raise ValueError(f"parameter {name!r} of the filling line must be above zero, not {value!r}")
        return cls(**{name: float(value) for name, value in values.items()})

    @property
    def tank_volume_ml(self) -> float:
        return self.tank_area_m2 * self.tank_height_m * 1e6

    def zone_holds(self, position: float) -> bool:
        """Whether a bottle at this place stands under a head."""
        return self.zone_start_m <= position <= self.zone_start_m + self.zone_length_m


@dataclass(frozen=True, slots=True)
class Commands:
    """What the controllers' output images ask for; the start values are the safe ones."""

    inlet_valve_pct: float = 0.0
    conveyor_run: bool = False
    conveyor_bpm: float = 0.0
    fill_enable: bool = False
    fill_setpoint_ml: float = 0.0


@dataclass(frozen=True, slots=True)
class Bottle:
    """`dosed_ml` is what the head gave; `content_ml` what stayed inside."""

    position_m: float
    dosed_ml: float = 0.0
    content_ml: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """Everything that changes. Counters only grow."""

    tank_ml: float
    valve_pct: float = 0.0
    speed_bpm: float = 0.0
    to_next_m: float = 0.0  # travel until the in-feed places the next bottle
    bottles: tuple[Bottle, ...] = ()
    inflow_ml: float = 0.0  # total
    delivered_ml: float = 0.0  # product in bottles that left the line
    spilled_ml: float = 0.0
    tray_ml: float = 0.0  # stands in the drip tray right now
    good: int = 0
    over: int = 0
    under: int = 0
    last_fill_ml: float = 0.0  # dosed into the bottle that left the zone last
    inlet_ml_s: float = 0.0
    outlet_ml_s: float = 0.0


def start(p: Parameters) -> State:
    """A line at rest with a part-filled tank and empty conveyor."""
    return State(tank_ml=p.tank_volume_ml * p.tank_start_pct / 100)


def step(state: State, commands: Commands, p: Parameters, dt: float) -> State:
    """The line `dt` seconds later (at most MAX_STEP)."""
    if not 0 <= dt <= MAX_STEP + 1e-9:
        raise ValueError(f"a step is 0 to {MAX_STEP} s, not {dt}")
    valve = towards(state.valve_pct, clamp(commands.inlet_valve_pct, 0, 100), 100 / p.valve_stroke_s * dt)
    wanted = clamp(commands.conveyor_bpm, 0, p.conveyor_max_bpm) if commands.conveyor_run else 0.0
    speed = towards(state.speed_bpm, wanted, p.acceleration_bpm_s * dt)

    inflow = valve / 100 * p.inlet_max_l_min * 1000 / 60 * dt
    tank = state.tank_ml + inflow
    overflow = max(0.0, tank - p.tank_volume_ml)
    tank -= overflow

    travel = speed * p.pitch_m / 60 * dt
    moved = [replace(b, position_m=b.position_m + travel) for b in state.bottles]
    to_next = state.to_next_m - travel
    while to_next < 0:
        moved.append(Bottle(position_m=-to_next))
        to_next += p.pitch_m

    standing, drawn, lost = dose(moved, commands, p, tank, dt)
    last_fill = state.last_fill_ml
    end = p.zone_start_m + p.zone_length_m
    for bottle in standing:
        if bottle.position_m > end >= bottle.position_m - travel:
            last_fill = bottle.dosed_ml

    on_line = tuple(b for b in standing if b.position_m < p.conveyor_length_m)
    left = [b for b in standing if b.position_m >= p.conveyor_length_m]
    # A brimming bottle is overfilled whatever the head gave it: judged by what was dosed, as a check weigher's
    # reject station with the spill recorded would.
    good = sum(1 for b in left if abs(b.dosed_ml - p.nominal_ml) <= p.tolerance_ml)
    over = sum(1 for b in left if b.dosed_ml > p.nominal_ml + p.tolerance_ml)
    return State(
        tank_ml=tank - drawn,
        valve_pct=valve,
        speed_bpm=speed,
        to_next_m=to_next,
        bottles=on_line,
        inflow_ml=state.inflow_ml + inflow,
        delivered_ml=state.delivered_ml + sum(b.content_ml for b in left),
        spilled_ml=state.spilled_ml + lost + overflow,
        tray_ml=clamp(state.tray_ml + lost - p.tray_drain_ml_s * dt, 0, p.tray_capacity_ml),
        good=state.good + good,
        over=state.over + over,
        under=state.under + len(left) - good - over,
        last_fill_ml=last_fill,
        inlet_ml_s=inflow / dt if dt else 0.0,
        outlet_ml_s=state.outlet_ml_s + (drawn - state.outlet_ml_s * dt) / max(FLOW_METER_S, dt),
    )


def dose(
    bottles: list[Bottle], commands: Commands, p: Parameters, tank_ml: float, dt: float
) -> tuple[list[Bottle], float, float]:
    """(bottles, drawn from the tank, lost over the brim) after every head has run for `dt`."""
    if not commands.fill_enable:
        return bottles, 0.0, 0.0
    drawn = lost = 0.0
    done = []
    for bottle in bottles:
        missing = commands.fill_setpoint_ml - bottle.dosed_ml
        if missing > 0 and p.zone_holds(bottle.position_m):
            volume = min(p.dose_flow_ml_s * dt, missing, tank_ml - drawn)
            content = min(bottle.content_ml + volume, p.bottle_capacity_ml)
            drawn += volume
            lost += bottle.content_ml + volume - content
            bottle = Bottle(bottle.position_m, bottle.dosed_ml + volume, content)
        done.append(bottle)
    return done, drawn, lost


@dataclass
class FillingLine:
    """The model behind the plant program's door: I/O images in and out, variables, events."""

    parameters: Parameters = field(default_factory=Parameters)
    state: State = field(init=False)
    commands: Commands = field(default_factory=Commands)
    tripped: bool = False
    CONTROLLERS: ClassVar[tuple[str, ...]] = ("tank", "filler")

    def __post_init__(self) -> None:
        self.state = start(self.parameters)
        self._alarms: set[tuple[str, str]] = set()
        self._in_band = True
        self._told_trip = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> FillingLine:
        """A line in steady production at its nominal volume, all counters at zero."""
        line = cls(Parameters.of(values))
        p = line.parameters
        half_open = 100 * 60 * p.nominal_ml / 1000 / p.inlet_max_l_min
        line.commands = Commands(half_open, True, min(60.0, p.conveyor_max_bpm), True, p.nominal_ml)
        line.advance(WARM_UP_S)
        line.state = replace(
            line.state,
            tank_ml=start(p).tank_ml,
            inflow_ml=0.0,
            delivered_ml=0.0,
            spilled_ml=0.0,
            good=0,
            over=0,
            under=0,
        )
        return line

    def advance(self, seconds: float) -> None:
        """Steps the line by any time, in pieces of at most MAX_STEP."""
        while seconds > 1e-9:
            dt = min(MAX_STEP, seconds)
            self.state = step(self.state, self.commands, self.parameters, dt)
            seconds -= dt

    def inputs(self, controller: str) -> dict[str, float]:
        """The input image of one controller, engineering units."""
        s, p = self.state, self.parameters
        level = s.tank_ml / p.tank_volume_ml * 100
        if controller == "tank":
            return {
                "level_pct": level, "inlet_l_min": s.inlet_ml_s * 0.06, "outlet_l_min": s.outlet_ml_s * 0.06,
                "valve_pct": s.valve_pct, "level_high": level >= p.tank_high_pct, "level_low": level <= p.tank_low_pct,
            }  # fmt: skip
        if controller == "filler":
            return {
                "speed_bpm": s.speed_bpm, "last_fill_ml": s.last_fill_ml, "good": s.good, "over": s.over,
                "under": s.under, "spill_l": s.spilled_ml / 1000, "tray_l": s.tray_ml / 1000,
                "tray_high": s.tray_ml >= p.tray_high_ml, "tank_low": level <= p.tank_low_pct,
            }  # fmt: skip
        raise LookupError(f"the filling line has no controller {controller!r}; there are: tank, filler")

    def outputs(self, controller: str, image: Mapping[str, float] | None) -> None:
        """Takes a controller's output image; None when it went silent: its outputs fall to the safe state."""
        image = image or {}
        if controller == "tank":
            self.commands = replace(self.commands, inlet_valve_pct=float(image.get("inlet_valve_pct", 0.0)))
        elif controller == "filler":
            self.tripped = bool(image.get("tripped", False))
            self.commands = replace(
                self.commands,
                conveyor_run=bool(image.get("conveyor_run", False)),
                conveyor_bpm=float(image.get("conveyor_bpm", 0.0)),
                fill_enable=bool(image.get("fill_enable", False)),
                fill_setpoint_ml=float(image.get("fill_setpoint_ml", 0.0)),
            )
        else:
            raise LookupError(f"the filling line has no controller {controller!r}; there are: tank, filler")

    def values(self) -> dict[str, float]:
        """Every variable, measured at the plant itself."""
        s, p = self.state, self.parameters
        return {
            "tank_level": round(s.tank_ml / p.tank_volume_ml * 100, 3),
            "inlet_flow": round(s.inlet_ml_s * 0.06, 3),
            "outlet_flow": round(s.outlet_ml_s * 0.06, 3),
            "conveyor_speed": round(s.speed_bpm, 2),
            "fill_setpoint": round(self.commands.fill_setpoint_ml, 1),
            "last_fill": round(s.last_fill_ml, 1),
            "tray_level": round(s.tray_ml / 1000, 3),
            "spill": round(s.spilled_ml / 1000, 3),
            "bottles_good": s.good,
            "bottles_over": s.over,
            "bottles_under": s.under,
            "tripped": int(self.tripped),
        }

    def variables(self) -> list[Variable]:
        p = self.parameters
        band = p.nominal_ml - p.tolerance_ml, p.nominal_ml + p.tolerance_ml
        return [
            Variable("tank_level", "缓冲罐液位", "Buffer tank level", "%", 0, 100, p.tank_low_pct, p.tank_high_pct),
            Variable("inlet_flow", "进料流量", "Inlet flow", "L/min", 0, p.inlet_max_l_min),
            Variable("outlet_flow", "灌装用量", "Outlet flow", "L/min", 0, 80),
            Variable("conveyor_speed", "输送带速度", "Conveyor speed", "瓶/min", 0, p.conveyor_max_bpm),
            Variable("fill_setpoint", "灌装设定值（现场）", "Fill set-point at the heads", "mL", 0, 800, *band),
            Variable("last_fill", "上一瓶灌装量", "Last fill", "mL", 0, 800, None, band[1]),
            Variable("tray_level", "接液盘液位", "Drip tray", "L", 0, p.tray_capacity_ml / 1000, None,
                     p.tray_high_ml / 1000),
            Variable("spill", "累计溢出", "Spilled in total", "L", 0, 1000, counts=True),
            Variable("bottles_good", "合格瓶数", "Good bottles", "瓶", 0, 100_000, counts=True),
            Variable("bottles_over", "超量瓶数", "Overfilled bottles", "瓶", 0, 100_000, counts=True),
            Variable("bottles_under", "欠量瓶数", "Underfilled bottles", "瓶", 0, 100_000, counts=True),
            Variable("tripped", "联锁跳停", "Interlock trip", "", 0, 1),
        ]  # fmt: skip

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """(kind, data) of what changed since the last call: alarms on and off, fills leaving and re-entering the band."""
        values, found = self.values(), []
        for variable in self.variables():
            value = values[variable.name]
            slack = (variable.high - variable.low) * ALARM_HYSTERESIS
            for side, limit, beyond in (
                ("low", variable.alarm_low, -1), ("high", variable.alarm_high, 1),
            ):  # fmt: skip
                if limit is None or (variable.name == "fill_setpoint" and not self.commands.fill_enable):
                    continue
                key = (variable.name, side)
                on = key in self._alarms
                excess = (value - limit) * beyond
                if not on and (excess > 0 or (excess == 0 and beyond > 0)):
                    self._alarms.add(key)
                elif on and excess < -slack:
                    self._alarms.discard(key)
                else:
                    continue
                word = "过高" if side == "high" else "过低"
                found.append(("alarm", {
                    "name": f"{variable.name}_{side}", "state": "off" if on else "on", "value": value, "limit": limit,
                    "text": f"{variable.zh}{'恢复' if on else word}：{value:g} {variable.unit}".rstrip(),
                }))  # fmt: skip
        p, fill = self.parameters, self.state.last_fill_ml
        in_band = fill == 0 or abs(fill - p.nominal_ml) <= p.tolerance_ml
        if in_band != self._in_band:
            self._in_band = in_band
            text = f"灌装量{'回到' if in_band else '离开'}合格范围：{fill:.0f} mL"
            found.append(("crossing", {"name": "last_fill", "value": round(fill, 1), "text": text}))
        if self.tripped != self._told_trip:
            self._told_trip = self.tripped
            text = "联锁动作，灌装停机" if self.tripped else "联锁已复位"
            found.append(("trip", {"name": "tripped", "value": int(self.tripped), "text": text}))
        return found
