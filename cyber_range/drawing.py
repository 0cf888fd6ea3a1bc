"""Where everything stands on a network map, computed from data: zones as lanes by Purdue level, nodes in their lane.

Pure. The range page draws it on the server, the drill room and the review draw the same figure live.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from cyber_range.engine.scenario.model import Scenario

WIDTH = 1000
LABEL = 116  # left margin of a lane with its name
LANE = 118
NODE_W, NODE_H = 118, 54

# Roles in the words of the icons of lms.design.
ICONS = {
    "plant": "droplet", "plc": "engine", "hmi": "gauge", "historian": "database", "engineering": "settings",
    "workstation": "device-desktop", "server": "server", "share": "files", "mes": "stack-2", "mail": "mail",
    "web": "world", "jump": "login", "firewall": "flame", "router": "router", "sensor": "radar-2", "attacker": "spy",
    "supplier": "users", "internet": "world", "other": "point",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    title: dict[str, str]
    purdue: float
    y: int
    height: int
    bus: int  # y of the line the nodes hang on
    hidden: bool


@dataclass(frozen=True, slots=True)
class Spot:
    name: str
    title: dict[str, str]
    role: str
    icon: str
    x: int
    y: int
    zones: tuple[str, ...]
    shell: bool


@dataclass(frozen=True, slots=True)
class Wire:
    """A node's leg to the bus of a lane."""

    node: str
    zone: str
    x: int
    y1: int
    y2: int


@dataclass(frozen=True, slots=True)
class Drawing:
    width: int
    height: int
    lanes: tuple[Lane, ...]
    nodes: tuple[Spot, ...]
    wires: tuple[Wire, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def visible_zones(scenario: Scenario, sees: Collection[str], everything: bool = False) -> set[str]:
    """Names of the zones a seat sees; "*" = all but hidden ones."""
    if everything:
        return {zone.name for zone in scenario.zones}
    return {zone.name for zone in scenario.zones if not zone.hidden and ("*" in sees or zone.name in sees)}


def draw(scenario: Scenario, *, sees: Collection[str] = ("*",), everything: bool = False) -> Drawing:
    """The map as far as a seat sees it: outside on top, the plant at the bottom."""
    shown = visible_zones(scenario, sees, everything)
    zones = sorted((z for z in scenario.zones if z.name in shown), key=lambda z: (-z.purdue, z.name))
    lanes: list[Lane] = []
    y = 0
    for zone in zones:
        lanes.append(Lane(zone.name, zone.title.model_dump(), zone.purdue, y, LANE, y + LANE - 20, zone.hidden))
        y += LANE + 10
    by_lane: dict[str, list[tuple[int, Any, tuple[str, ...]]]] = {lane.name: [] for lane in lanes}
    for order, node in enumerate(scenario.nodes):
        if node.placement == "hub":
            continue
        legs = tuple(leg.zone for leg in node.legs if leg.zone in shown)
        if legs:
            # A node between zones stands in the outer one and reaches down to the others.
            home = max(legs, key=lambda name: (scenario.zone(name).purdue, -legs.index(name)))
            by_lane[home].append((order, node, legs))
    spots: list[Spot] = []
    wires: list[Wire] = []
    for number, lane in enumerate(lanes):
        here = by_lane[lane.name]
        # Those with more feet go to the right, each a little apart, so that their wires do not meet.
        here.sort(key=lambda item: (len(item[2]), item[0]))
        step = (WIDTH - LABEL) / max(len(here), 1)
        for place, (_order, node, legs) in enumerate(here):
            shift = (number % 3 - 1) * 14 if len(legs) > 1 else 0
            x = round(LABEL + step * (place + 0.5)) + shift
            x = min(max(x, LABEL + NODE_W // 2), WIDTH - NODE_W // 2 - 4)
            spots.append(
                Spot(
                    node.name,
                    node.title.model_dump(),
                    node.role,
                    ICONS.get(node.role, "point"),
                    x,
                    lane.y + 40,
                    legs,
                    node.shell,
                )
            )
            for leg in legs:
                bus = next(one.bus for one in lanes if one.name == leg)
                offset = 0 if leg == lane.name else 10 * (1 + legs.index(leg))
                wires.append(Wire(node.name, leg, x + offset, lane.y + 40 + NODE_H // 2, bus))
    return Drawing(WIDTH, max(y - 10, LANE), tuple(lanes), tuple(spots), tuple(wires))
