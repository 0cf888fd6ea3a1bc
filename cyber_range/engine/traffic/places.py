"""Where two nodes of a plan meet: the segment on which a sensor would see them, and how they look there."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from cyber_range.engine.plan import InterfacePlan, NodePlan, RangePlan
from cyber_range.engine.traffic.templates import Endpoint

WINDOWS_TTL, UNIX_TTL = 128, 64


@dataclass(frozen=True, slots=True)
class Meeting:
    """`zone` is the server's segment: every flow is captured once, where it arrives."""

    zone: str
    client: Endpoint
    server: Endpoint
    client_node: str
    server_node: str


class Places:
    """The plan's visible segments. `windows`: nodes that count their packets' lives from 128."""

    def __init__(self, plan: RangePlan, windows: frozenset[str]) -> None:
        self._hidden = {zone.name for zone in plan.zones if zone.hidden}
        self._windows = windows
        self.plan = plan
        self.zones = [zone.name for zone in plan.zones if not zone.hidden]
        self._by_ip = {leg.ip: node for node in plan.nodes for leg in node.interfaces if leg.zone not in self._hidden}

    def node_at(self, ip: str) -> NodePlan | None:
        return self._by_ip.get(ip)

    def legs(self, node: NodePlan) -> list[InterfacePlan]:
        """Its feet in segments that can be listened to."""
        return [leg for leg in node.interfaces if leg.zone not in self._hidden]

    def ttl(self, node: NodePlan) -> int:
        return WINDOWS_TTL if node.name in self._windows else UNIX_TTL

    def neighbours(self, node: NodePlan) -> list[tuple[InterfacePlan, NodePlan, InterfacePlan]]:
        """(own leg, other node, its leg) of everybody on a common segment."""
        return [
            (own, other, leg)
            for own in self.legs(node)
            for other in self.plan.nodes
            if other.name != node.name
            for leg in other.interfaces
            if leg.zone == own.zone
        ]

    def meet(self, client: NodePlan, server_ip: str) -> Meeting | None:
        """None: there is no such node, no way to it, or it is the client itself."""
        server = self.node_at(server_ip)
        if server is None or server.name == client.name:
            return None
        at = next(leg for leg in server.interfaces if leg.ip == server_ip)
        answering = Endpoint(at.ip, at.mac, 0, self.ttl(server))
        for own in self.legs(client):
            if own.zone == at.zone:
                return Meeting(
                    at.zone, Endpoint(own.ip, own.mac, 0, self.ttl(client)), answering, client.name, server.name
                )
        legs = self.legs(client)
        router = self._router(at.zone, {leg.zone for leg in legs})
        if router is None or not legs:
            return None
        last_hop = next(leg for leg in router.interfaces if leg.zone == at.zone)
        return Meeting(
            at.zone, Endpoint(legs[0].ip, last_hop.mac, 0, self.ttl(client) - 1), answering, client.name, server.name
        )  # fmt: skip

    def _router(self, zone: str, sources: set[str]) -> NodePlan | None:
        """The forwarding node of the zone that is nearest to where the client stands."""
        there = [node for node in self.plan.nodes if node.forwards and any(leg.zone == zone for leg in node.interfaces)]
        direct = [node for node in there if sources & {leg.zone for leg in node.interfaces}]
        return next(iter(direct or there), None)

    def network(self, zone: str) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.plan.zone(zone).subnet)
