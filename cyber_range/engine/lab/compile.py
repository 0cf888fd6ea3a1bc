"""Scenario + seed + team + address block -> the wanted state of one range. Pure: the same input gives the same plan."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.plan import InterfacePlan, Limits, NodePlan, ProgramPlan, RangePlan, ZonePlan
from cyber_range.engine.scenario.draw import draw_all
from cyber_range.engine.scenario.fill import Leaf, fill
from cyber_range.engine.scenario.load import bundle
from cyber_range.engine.scenario.model import FlowBlockedCheck, LoginCheck, Node, Scenario

Block = ipaddress.IPv4Network

PROBE = "probe"  # the program that tries connections and logins for the objectives


@dataclass(frozen=True, slots=True)
class Compiled:
    """One range's plan, its scenario with every reference filled, and the team's draws."""

    plan: RangePlan
    scenario: Scenario
    draws: dict[str, Any]

    def address(self, node: str, zone: str | None = None) -> str:
        """Address of a node's leg (in `zone`, else its first)."""
        for leg in self.plan.node(node).interfaces:
            if zone is None or leg.zone == zone:
                return leg.ip
        raise KeyError((node, zone))

    def node_at(self, ip: str) -> str | None:
        """The node that has this address."""
        for node in self.plan.nodes:
            if any(leg.ip == ip for leg in node.interfaces):
                return node.name
        return None


def block_prefix(scenario: Scenario) -> int:
    """Size of the address block a range of this scenario needs: all zones packed, largest first."""
    total = sum(2 ** (32 - zone.prefix) for zone in scenario.zones)
    return 32 - max(1, (total - 1).bit_length())


def compile_range(
    scenario: Scenario, *, range_id: str, seed: str, team: str, block: Block, limits: Limits | None = None
) -> Compiled:
    """The plan of one range. `block` is at least as large as `block_prefix` says."""
    subnets = _subnets(scenario, block)
    zones = tuple(
        ZonePlan(
            name=zone.name,
            subnet=str(subnets[zone.name]),
            bridge=f"b{range_id}{index:02d}",  # 15 characters, the kernel's limit
            purdue=zone.purdue,
            hidden=zone.hidden,
        )
        for index, zone in enumerate(scenario.zones)
    )
    fixed = {
        zone.name: frozenset(
            leg.host
            for node in scenario.nodes
            for leg in node.legs
            if leg.zone == zone.name and isinstance(leg.host, int)
        )
        for zone in scenario.zones
    }
    highest = {name: subnet.num_addresses - 2 for name, subnet in subnets.items()}
    draws = draw_all(scenario, seed=seed, team=team, fixed_hosts=fixed, highest=highest)
    legs = _legs(scenario, subnets, draws, range_id=range_id, seed=seed, team=team)
    table = _table(scenario, zones, subnets, legs, draws, range_id=range_id, seed=seed, team=team)
    document = bundle(scenario)
    files, process = document.pop("files"), document.pop("process")
    filled = fill(document, table)
    concrete = Scenario.model_validate({**filled, "files": files, "process": fill(process, table)})
    hidden = {zone.name for zone in zones if zone.hidden}
    taps = {zone.name: zone.bridge for zone in zones if not zone.hidden}
    probing = _probing(concrete)
    nodes = tuple(_node(node, concrete, legs, hidden, subnets, taps, node.name in probing) for node in concrete.nodes)
    return Compiled(RangePlan(range_id, zones, nodes, limits or Limits()), concrete, draws)


def _subnets(scenario: Scenario, block: Block) -> dict[str, Block]:
    cursor = int(block.network_address)
    subnets: dict[str, Block] = {}
    for zone in sorted(scenario.zones, key=lambda zone: (zone.prefix, zone.name)):
        subnets[zone.name] = Block((cursor, zone.prefix))
        cursor += 2 ** (32 - zone.prefix)
    if cursor - 1 > int(block.broadcast_address):
        raise ScenarioError(
            f"block {block} is too small for scenario {scenario.id}", remedy=f"Give it a /{block_prefix(scenario)}"
        )
    return subnets


def _legs(
    scenario: Scenario, subnets: dict[str, Block], draws: dict[str, Any], *, range_id: str, seed: str, team: str
) -> dict[str, tuple[InterfacePlan, ...]]:
    numbers: dict[tuple[str, str], int] = {}
    for node in scenario.nodes:
        for leg in node.legs:
            if leg.host is not None:
                numbers[node.name, leg.zone] = int(fill(leg.host, {"draw": draws}))
    for zone in scenario.zones:
        used: dict[int, str] = {}
        for (name, in_zone), number in numbers.items():
            if in_zone == zone.name and used.setdefault(number, name) != name:
                raise ScenarioError(
                    f"nodes {used[number]} and {name} both have host {number} in zone {zone.name}",
                    remedy="Fix one of them elsewhere",
                )
        drawn = {value for key, value in draws.items() if getattr(scenario.draws[key], "zone", None) == zone.name}
        free = iter(n for n in range(2, subnets[zone.name].num_addresses - 1) if n not in used and n not in drawn)
        waiting = [n for n in scenario.nodes if any(leg.zone == zone.name for leg in n.legs)]
        for node in sorted(waiting, key=lambda node: not node.forwards):  # routers come first, as people number them
            if (node.name, zone.name) in numbers:
                continue
            number = next(free, 0)
            if not number:
                raise ScenarioError(
                    f"zone {zone.name} has no host number left for node {node.name}",
                    remedy="Give the zone a smaller prefix",
                )
            numbers[node.name, zone.name] = number
    seen: set[str] = set()
    legs: dict[str, tuple[InterfacePlan, ...]] = {}
    for node in scenario.nodes:
        built = []
        for index, leg in enumerate(node.legs):
            subnet = subnets[leg.zone]
            built.append(
                InterfacePlan(
                    zone=leg.zone,
                    ifname=f"eth{index}",
                    ip=str(subnet.network_address + numbers[node.name, leg.zone]),
                    prefix=subnet.prefixlen,
                    mac=_mac(node, leg.zone, seen, range_id=range_id, seed=seed, team=team),
                )
            )
        legs[node.name] = tuple(built)
    return legs


def _mac(node: Node, zone: str, seen: set[str], *, range_id: str, seed: str, team: str) -> str:
    """Locally administered unless the scenario lends the node a vendor's prefix; fixed for the range."""
    for attempt in range(100):
        message = f"{range_id}|{team}|{node.name}|{zone}|{attempt}".encode()
        digest = hmac.new(seed.encode(), message, sha256).digest()
        tail = ":".join(f"{byte:02x}" for byte in digest[:3])
        head = node.oui or f"02:{digest[3]:02x}:{digest[4]:02x}"
        mac = f"{head}:{tail}"
        if mac not in seen:
            seen.add(mac)
            return mac
    raise AssertionError("a hundred MACs of one range met: HMAC is broken")


def _table(
    scenario: Scenario,
    zones: tuple[ZonePlan, ...],
    subnets: dict[str, Block],
    legs: dict[str, tuple[InterfacePlan, ...]],
    draws: dict[str, Any],
    *,
    range_id: str,
    seed: str,
    team: str,
) -> dict[str, Any]:
    node_values: dict[str, Any] = {}
    for node in scenario.nodes:
        own = legs[node.name]
        values: dict[str, Any] = {"name": node.name}
        if own:
            for attribute in ("ip", "mac", "ifname"):
                values[attribute] = Leaf(getattr(own[0], attribute), {leg.zone: getattr(leg, attribute) for leg in own})
        node_values[node.name] = values
    zone_values = {
        zone.name: {
            "subnet": zone.subnet,
            "network": str(subnets[zone.name].network_address),
            "first": str(subnets[zone.name].network_address + 1),
            "last": str(subnets[zone.name].broadcast_address - 1),
            "broadcast": str(subnets[zone.name].broadcast_address),
            "prefix": subnets[zone.name].prefixlen,
            "bridge": zone.bridge,
        }
        for zone in zones
    }
    return {
        "draw": draws,
        "node": node_values,
        "zone": zone_values,
        "file": scenario.files,
        "process": scenario.process,
        "range": {
            "id": range_id,
            "seed": seed,
            "team": team,
            "duration": scenario.duration,
            "zones": [
                {"name": z.name, "subnet": z.subnet, "bridge": z.bridge, "purdue": z.purdue, "hidden": z.hidden}
                for z in zones
            ],
            "nodes": [
                {
                    "name": node.name,
                    "role": node.role,
                    "legs": [{"zone": leg.zone, "ip": leg.ip, "mac": leg.mac} for leg in legs[node.name]],
                }
                for node in scenario.nodes
            ],
        },
    }


def _node(
    node: Node,
    scenario: Scenario,
    legs: dict[str, tuple[InterfacePlan, ...]],
    hidden: set[str],
    subnets: dict[str, Block],
    taps: dict[str, str],
    probes: bool,
) -> NodePlan:
    own = legs[node.name]
    own_zones = {leg.zone for leg in own}
    learning = {zone.name for zone in scenario.zones if zone.arp == "learned"}
    neighbours = tuple(
        (leg.ifname, other.ip, other.mac)
        for leg in own
        if leg.zone not in learning
        for name, others in legs.items()
        if name != node.name
        for other in others
        if other.zone == leg.zone
    )
    routes: list[tuple[str, str]] = []
    for route in node.routes:
        if route.to not in own_zones:
            routes.append((str(subnets[route.to]), _shared_address(own_zones, legs[route.via])))
    if node.gateway is not None:
        routes.append(("0.0.0.0/0", _shared_address(own_zones, legs[node.gateway])))
    # A node of the hidden wiring knows names there; everybody else never hears of it.
    hosts = tuple(
        (leg.ip, name)
        for name, others in legs.items()
        for leg in others
        if leg.zone not in hidden or leg.zone in own_zones
    )
    programs = [ProgramPlan(program.name, program.use, program.spec) for program in node.programs]
    programs += [ProgramPlan(t.name, t.use, t.spec) for t in scenario.traffic if t.node == node.name]
    if probes and PROBE not in {program.name for program in programs}:
        programs.append(ProgramPlan(PROBE, "probe"))
    if node.placement == "hub":  # which bridge device is which zone
        programs = [ProgramPlan(program.name, program.use, {**program.spec, "taps": taps}) for program in programs]
    return NodePlan(
        name=node.name,
        interfaces=own,
        programs=tuple(programs),
        placement=node.placement,
        caps=frozenset(node.caps),
        forwards=node.forwards,
        routes=tuple(routes),
        neighbours=neighbours,
        shell=node.shell,
        hosts=hosts,
    )


def _probing(scenario: Scenario) -> set[str]:
    """Nodes that an objective is tried from."""
    return {
        check.source
        for objective in scenario.objectives
        for check in objective.checks
        if isinstance(check, FlowBlockedCheck | LoginCheck)
    }


def _shared_address(own_zones: set[str], via: tuple[InterfacePlan, ...]) -> str:
    return next(leg.ip for leg in via if leg.zone in own_zones)
