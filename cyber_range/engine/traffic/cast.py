"""From a compiled plan to parts: what its programs say to each other, what its segments murmur, what its campaign does.

Polls come from the programs' own specs (every mapping with a `host` that is a node of the plan), attacks from the
campaign's steps by technique. Everything a part needs to be played is in it; nothing here renders bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cyber_range.engine.plan import InterfacePlan, NodePlan, ProgramPlan
from cyber_range.engine.scenario.model import Scenario
from cyber_range.engine.traffic.places import Meeting, Places
from cyber_range.engine.traffic.profiles import CATALOGUE, Profile, profile
from cyber_range.engine.traffic.spec import Act, chatter, group, lives, sessions
from cyber_range.engine.traffic.templates import Endpoint

BY_PORT = {
    502: "modbus_poll", 102: "s7_poll", 44818: "enip_poll", 4840: "opcua_poll", 2404: "iec104_report",
    20000: "dnp3_poll", 47808: "bacnet_poll", 1883: "mqtt_report", 22: "ssh_admin", 25: "mail", 53: "dns", 443: "browsing",
    123: "time", 514: "log_line", 80: "web",
}  # fmt: skip
# First letters of a server program's name -> what is said to it.
BY_PROGRAM = (
    ("modbus", "modbus_poll"), ("s7", "s7_poll"), ("enip", "enip_poll"), ("cip", "enip_poll"), ("opcua", "opcua_poll"),
    ("iec104", "iec104_report"), ("dnp3", "dnp3_poll"), ("bacnet", "bacnet_poll"), ("mqtt", "mqtt_report"),
    ("file_share", "share"), ("share", "share"), ("mail", "mail"), ("jump", "ssh_admin"), ("ssh", "ssh_admin"),
    ("dns", "dns"), ("historian", "web"), ("mes", "web"), ("web", "web"), ("http", "web"),
)  # fmt: skip
SILENT = ("sensor", "firewall", "attack", "probe", "traffic", "plant", "packet_filter", "campaign")
SKIPPED_KEYS = frozenset({"lab", "policy", "rules", "identity", "accounts"})
# How much of an office computer's activity goes where: `every` of its spec is the mean of all three.
OFFICE = {"share": 2.0, "historian": 3.3, "mail": 5.0}
WINDOWS_ROLES = frozenset({"workstation", "hmi", "engineering", "mes"})


@dataclass(frozen=True, slots=True)
class Part:
    """An act with its place. `begin`, `end`: seconds from the start of the capture. `targets`: of a spread, with what
    each answers (open, refused, silent). `limit`: so many visits or events at most (0: any)."""

    act: Act
    zone: str
    client_node: str
    server_node: str = ""
    begin: float = 0.0
    end: float = 0.0
    technique: str = ""
    step: str = ""
    targets: tuple[tuple[Endpoint, str], ...] = ()
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """One program's word about another node."""

    node: NodePlan
    program: ProgramPlan
    said: Mapping[str, Any]
    key: str


def places_of(plan: Any, scenario: Scenario) -> Places:
    windows = frozenset(node.name for node in scenario.nodes if node.role in WINDOWS_ROLES)
    return Places(plan, windows)


def links(places: Places) -> Iterator[Link]:
    """Every mapping with a `host` that is an address of the plan, in the programs that speak by themselves."""
    for node in places.plan.nodes:
        for program in node.programs:
            if not program.use.startswith(SILENT):
                for key, said in mappings(program.spec, ""):
                    if isinstance(said.get("host"), str) and places.node_at(said["host"]) is not None:
                        yield Link(node, program, said, key)


def mappings(value: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield key, value
        for name, inner in value.items():
            if name not in SKIPPED_KEYS:
                yield from mappings(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from mappings(inner, key)


def spoken(server: NodePlan, port: int | None) -> Profile:
    """What is said to this port of this node."""
    if port in BY_PORT:
        return profile(BY_PORT[port])
    programs = [p for p in server.programs if port is None or p.spec.get("port") == port]
    for program in programs:
        for letters, name in BY_PROGRAM:
            if program.use.startswith(letters):
                return profile(name)
    return profile("feed" if port is not None else "web")


def port_of(server: NodePlan, found: Profile, said: int | None) -> int:
    if said is not None:
        return said
    ports = [p.spec["port"] for p in server.programs if isinstance(p.spec.get("port"), int)]
    return found.port if found.port not in (80, 8080) or not ports else int(ports[0])


def benign(places: Places, scenario: Scenario, seconds: float, start: int, noise: bool) -> list[Part]:
    """Everything that belongs there."""
    parts = [part for link in links(places) if (part := polled(places, link, start)) is not None]
    parts += declared(places, scenario, start)
    if noise:
        known = {(part.act.profile.name, part.client_node, part.zone) for part in parts}
        parts += [
            p for p in murmur(places, scenario, start) if (p.act.profile.name, p.client_node, p.zone) not in known
        ]
    return [replace(part, end=seconds) for part in parts]


def polled(places: Places, link: Link, start: int) -> Part | None:
    meeting = places.meet(link.node, str(link.said["host"]))
    server = places.node_at(str(link.said["host"]))
    if meeting is None or server is None:
        return None
    port = int(link.said["port"]) if isinstance(link.said.get("port"), int) else None
    found = spoken(server, port)
    args: dict[str, Any] = dict(link.said)
    every, shift = found.every, found.shift
    said_every = link.said.get("every", link.program.spec.get("every"))
    if found.style == "poll":
        if "points" in link.said and found.name == "modbus_poll":
            found = profile("modbus_check")
            every = float(said_every or found.every)
        else:
            cycle = link.said.get("cycle", link.program.spec.get("cycle", said_every))
            script = found.write(args)
            every = float(cycle) / max(1, len(script.cycle)) if cycle else found.every
    elif said_every and link.key in OFFICE:
        every = float(said_every) * OFFICE[link.key]
        shift = "always"  # the program works round the clock
    elif said_every:
        every = float(said_every)
    if found.protocol == "http":
        login = f"{link.said.get('user', '')}:{link.said.get('password', '')}"
        args["login"] = base64.b64encode(login.encode()).decode() if link.said.get("user") else ""
        args["paths"] = [quoted(str(link.said.get("path", "/")))]
        args["read"] = [quoted(str(path)) for path in link.said.get("read", [])]
        args["write"] = quoted(str(link.said["write"])) if link.said.get("write") else ""
    return placed(meeting, found, args, every, shift, start, port_of(server, found, port))


def quoted(path: str) -> str:
    """Non-ASCII letters of a path as a browser sends them."""
    return "".join(c if c.isascii() else "".join(f"%{byte:02X}" for byte in c.encode()) for c in path)


def placed(
    meeting: Meeting, found: Profile, args: Mapping[str, Any], every: float, shift: str, start: int, port: int
) -> Part:
    client, server = replace(meeting.client, port=found.client_port), replace(meeting.server, port=port)
    act = Act(found, found.write(args), client, server, max(0.01, every), shift, start)
    return Part(act, meeting.zone, meeting.client_node, meeting.server_node, technique=found.technique)


def declared(places: Places, scenario: Scenario, start: int) -> list[Part]:
    """The scenario's own traffic entries: `mix` and `profiles` of traffic programs."""
    parts = []
    for node in places.plan.nodes:
        for program in node.programs:
            if program.use.startswith("traffic") and (legs := places.legs(node)):
                leg = legs[0]
                for act in [*chatter(program.spec, leg, node.name), *sessions(program.spec, leg)]:
                    parts.append(Part(replace(act, starts=start), leg.zone, node.name))
    return parts


def murmur(places: Places, scenario: Scenario, start: int) -> list[Part]:
    """What the segments of such a plant hear anyway, by the role of who stands there."""
    parts: list[Part] = []

    def says(name: str, node: NodePlan, leg: InterfacePlan, **args: Any) -> None:
        found = CATALOGUE[name]
        client = Endpoint(leg.ip, leg.mac, found.client_port, lives(found, places.ttl(node)))
        act = Act(found, found.write(args), client, group(found, leg), found.every, found.shift, start)
        parts.append(Part(act, leg.zone, node.name))

    roles = {node.name: node.role for node in scenario.nodes}
    for node in places.plan.nodes:
        role = roles.get(node.name, "other")
        if role in ("attacker", "sensor", "plant"):
            continue
        for leg in places.legs(node):
            says("gratuitous_arp", node, leg)
            if role == "workstation":
                for name in ("name_query", "service_search", "multicast_name", "service_names", "lease_inform"):
                    says(name, node, leg, host=node.name)
            if role in ("firewall", "router"):
                says("lldp", node, leg, host=node.name, port=leg.ifname)
            if role in ("hmi", "engineering"):
                says("name_query", node, leg, wanted="HISTORIAN")
            if role == "engineering":
                says("station_search", node, leg)
        for own, other, leg in places.neighbours(node):
            if node.name < other.name and roles.get(other.name) not in ("attacker", "sensor", "plant"):
                found = CATALOGUE["neighbour"]
                act = Act(found, found.write({}), Endpoint(own.ip, own.mac), Endpoint(leg.ip, leg.mac), found.every,
                          "always", start)  # fmt: skip
                parts.append(Part(act, own.zone, node.name, other.name))
            if role == "engineering" and roles.get(other.name) == "plc":
                found = CATALOGUE["station_read"]
                act = Act(found, found.write({"station": other.name.replace("_", "-")}), Endpoint(own.ip, own.mac),
                          Endpoint(leg.ip, leg.mac), found.every, "always", start)  # fmt: skip
                parts.append(Part(act, own.zone, node.name, other.name))
    return parts


def wished(places: Places, words: str, seconds: float, start: int) -> Part:
    """A part asked for on the command line: `PROFILE:CLIENT:SERVER[:EVERY]`, node names of the plan."""
    from_words = words.split(":")
    if len(from_words) not in (3, 4):
        raise ValueError(f"{words!r}: write PROFILE:CLIENT:SERVER or PROFILE:CLIENT:SERVER:SECONDS")
    found = profile(from_words[0])
    client, server = places.plan.node(from_words[1]), places.plan.node(from_words[2])
    every = float(from_words[3]) if len(from_words) == 4 else found.every or 60.0
    legs = places.legs(client)
    if found.group and legs:
        act = Act(found, found.write({"host": client.name}), Endpoint(legs[0].ip, legs[0].mac, found.client_port, lives(found, 64)),
                  group(found, legs[0]), every, "always", start)  # fmt: skip
        return Part(act, legs[0].zone, client.name, end=seconds, technique=found.technique)
    meeting = places.meet(client, places.legs(server)[0].ip) if places.legs(server) else None
    if meeting is None:
        raise ValueError(f"{client.name} does not reach {server.name} on a segment that can be listened to")
    part = placed(meeting, found, {}, every, "always", start, found.port)
    return replace(part, end=seconds)
