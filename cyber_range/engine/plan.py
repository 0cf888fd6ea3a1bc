"""What a lab should look like, what it looks like, and the actions between the two (pure).

Every driver takes these frozen values; none of them reads a scenario. Addresses are strings as
`ipaddress` prints them; MACs are lower-case colon form; interface names are at most 15 characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Placement = Literal["node", "hub"]  # hub: a sensor that sits on the bridges, in no zone of its own


@dataclass(frozen=True, slots=True)
class ZonePlan:
    """One layer-2 segment. `hidden` zones (fieldbus wiring) are never shown or sniffed by trainees."""

    name: str
    subnet: str
    bridge: str
    purdue: float
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class InterfacePlan:
    """One leg of a node: `ifname` is what the node sees (eth0, eth1 ...)."""

    zone: str
    ifname: str
    ip: str
    prefix: int
    mac: str


@dataclass(frozen=True, slots=True)
class ProgramPlan:
    """One program in a node: `use` names a module of engine.agents, `spec` is its whole configuration (JSON)."""

    name: str
    use: str
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One host of the lab.

    `caps` beyond the base set: "net_raw", "net_admin". `forwards` turns on IPv4 forwarding (firewall,
    router). `routes` are (destination CIDR, gateway). `neighbours` are permanent ARP entries
    (ifname, ip, mac) the driver installs where it can, so that no launch waits for a lost first ARP.
    """

    name: str
    interfaces: tuple[InterfacePlan, ...]
    programs: tuple[ProgramPlan, ...]
    placement: Placement = "node"
    caps: frozenset[str] = frozenset()
    forwards: bool = False
    routes: tuple[tuple[str, str], ...] = ()
    neighbours: tuple[tuple[str, str, str], ...] = ()
    shell: bool = False
    hosts: tuple[tuple[str, str], ...] = ()  # (ip, name) lines of the node's /etc/hosts


@dataclass(frozen=True, slots=True)
class Limits:
    """Per-range bounds; a driver that cannot hold one says so in its `Probe.unbounded`."""

    memory_mib: int = 1024
    node_memory_mib: int = 256
    node_pids: int = 96
    range_pids: int = 600
    node_store_mib: int = 16
    cpus: float = 1.5


@dataclass(frozen=True, slots=True)
class RangePlan:
    """The whole wanted state of one range."""

    range_id: str  # 12 lower-case hex digits; everything made carries it in its name or labels
    zones: tuple[ZonePlan, ...]
    nodes: tuple[NodePlan, ...]
    limits: Limits = Limits()

    def node(self, name: str) -> NodePlan:
        """The node of that name; KeyError when there is none."""
        return next_or_key_error(self.nodes, name)

    def zone(self, name: str) -> ZonePlan:
        """The zone of that name; KeyError when there is none."""
        return next_or_key_error(self.zones, name)


def next_or_key_error(items: Sequence[Any], name: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Observed:
    """What a driver found of one range: names only, read from the kernel or Docker, never from files."""

    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    programs: frozenset[tuple[str, str]] = frozenset()  # (node, program) that run


@dataclass(frozen=True, slots=True)
class CreateZone:
    zone: ZonePlan


@dataclass(frozen=True, slots=True)
class CreateNode:
    """Makes the node and its legs (all its zones exist by then)."""

    node: NodePlan


@dataclass(frozen=True, slots=True)
class StartProgram:
    node: str
    program: ProgramPlan


@dataclass(frozen=True, slots=True)
class RemoveNode:
    node: str


@dataclass(frozen=True, slots=True)
class RemoveZone:
    zone: str


Action = CreateZone | CreateNode | StartProgram | RemoveNode | RemoveZone


def converge(wanted: RangePlan, observed: Observed) -> list[Action]:
    """Actions that turn `observed` into `wanted`, in an order a driver may run in batches of one type.

    Empty when all is well. Order: nodes that should not be, zones that should not be, zones, nodes, programs.
    """
    zones = {z.name for z in wanted.zones}
    nodes = {n.name for n in wanted.nodes}
    actions: list[Action] = [RemoveNode(n) for n in sorted(observed.nodes - nodes)]
    actions += [RemoveZone(z) for z in sorted(observed.zones - zones)]
    actions += [CreateZone(z) for z in wanted.zones if z.name not in observed.zones]
    actions += [CreateNode(n) for n in wanted.nodes if n.name not in observed.nodes]
    actions += [
        StartProgram(n.name, p)
        for n in wanted.nodes
        for p in n.programs
        if n.name not in observed.nodes or (n.name, p.name) not in observed.programs
    ]
    return actions
