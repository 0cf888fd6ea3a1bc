"""The campaign as parts of a capture: steps in their order, at drawn times, by what their technique does to such a target."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cyber_range.engine.plan import NodePlan
from cyber_range.engine.scenario.model import Scenario, Step
from cyber_range.engine.traffic.cast import Part, placed, port_of, spoken
from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.places import Places
from cyber_range.engine.traffic.profiles import CATALOGUE, GROUPS, profile
from cyber_range.engine.traffic.spec import Act, group
from cyber_range.engine.traffic.templates import Endpoint

# ATT&CK for ICS v18.1 -> what it looks like on the wire.
WORK = {
    "T0846": "scan", "T0840": "scan", "T0842": "spoof", "T0888": "identify", "T0868": "identify", "T0861": "enumerate",
    "T0877": "enumerate", "T0801": "watch", "T0802": "watch", "T0848": "watch", "T0845": "upload", "T0893": "exfil",
    "T0811": "exfil", "T0882": "exfil", "T0843": "download", "T0889": "download", "T0821": "download", "T0858": "mode",
    "T0816": "restart", "T0836": "setpoint", "T0831": "setpoint", "T0835": "setpoint", "T0838": "setpoint",
    "T0878": "setpoint", "T0837": "setpoint", "T0880": "setpoint", "T0879": "setpoint", "T0855": "command",
    "T0827": "command", "T0803": "flood", "T0804": "flood", "T0806": "brute", "T0814": "flood", "T0813": "flood",
    "T0815": "flood", "T0829": "flood", "T0826": "wreck", "T0830": "spoof", "T0856": "spoof", "T0832": "spoof",
    "T0812": "login", "T0859": "login", "T0891": "login", "T0892": "login", "T0822": "login", "T0886": "shell",
    "T0884": "shell", "T0807": "shell", "T0853": "shell", "T0883": "scan", "T0819": "exploit", "T0866": "exploit",
    "T0890": "exploit", "T0867": "drop", "T0864": "drop", "T0862": "drop", "T0849": "drop", "T0865": "phish",
    "T0863": "phish", "T0809": "wreck", "T0828": "wreck", "T0881": "wreck", "T0872": "wreck", "T0869": "beacon",
    "T0885": "beacon",
}  # fmt: skip
# (work, protocol of the target) -> profile; protocol "" is what remains.
DOES = {
    ("identify", "modbus"): "modbus_identify", ("identify", "s7"): "s7_identify", ("identify", "enip"): "enip_identify",
    ("identify", "bacnet"): "bacnet_identify", ("identify", ""): "port_scan",
    ("enumerate", "modbus"): "modbus_enumerate", ("enumerate", "s7"): "s7_upload", ("enumerate", "opcua"): "opcua_browse",
    ("enumerate", ""): "port_scan",
    ("watch", "modbus"): "rogue_poll", ("watch", ""): "beacon",
    ("upload", "s7"): "s7_upload", ("upload", "modbus"): "modbus_enumerate", ("upload", ""): "http_exfil",
    ("download", "s7"): "s7_download", ("download", "modbus"): "modbus_setpoint", ("download", "enip"): "enip_setpoint",
    ("download", ""): "file_drop",
    ("mode", "s7"): "s7_stop", ("mode", "modbus"): "modbus_restart", ("mode", "enip"): "cip_reset",
    ("mode", "dnp3"): "dnp3_restart", ("mode", "bacnet"): "bacnet_reinit", ("mode", ""): "web_exploit",
    ("restart", "modbus"): "modbus_restart", ("restart", "s7"): "s7_stop", ("restart", "enip"): "cip_reset",
    ("restart", "dnp3"): "dnp3_restart", ("restart", "bacnet"): "bacnet_reinit", ("restart", ""): "web_exploit",
    ("setpoint", "modbus"): "modbus_setpoint", ("setpoint", "s7"): "s7_setpoint", ("setpoint", "enip"): "enip_setpoint",
    ("setpoint", "bacnet"): "bacnet_setpoint", ("setpoint", "iec104"): "iec104_command", ("setpoint", "dnp3"): "dnp3_operate",
    ("setpoint", ""): "web_guess",
    ("command", "modbus"): "modbus_setpoint", ("command", "s7"): "s7_setpoint", ("command", "enip"): "enip_setpoint",
    ("command", "iec104"): "iec104_command", ("command", "dnp3"): "dnp3_operate", ("command", "bacnet"): "bacnet_setpoint",
    ("command", ""): "web_guess",
    ("brute", "modbus"): "modbus_brute_io", ("brute", ""): "syn_flood",
    ("scan", ""): "port_scan", ("flood", ""): "syn_flood", ("spoof", ""): "arp_spoof",
    ("login", "http"): "web_guess", ("login", "ssh"): "ssh_guess", ("login", ""): "ssh_guess", ("shell", ""): "ssh_tunnel",
    ("exfil", "dns"): "dns_exfil", ("exfil", ""): "http_exfil", ("beacon", "dns"): "dns_exfil", ("beacon", ""): "beacon",
    ("exploit", ""): "web_exploit", ("drop", ""): "file_drop", ("wreck", ""): "file_wreck", ("phish", ""): "phishing",
}  # fmt: skip
LONG = {
    "watch": 600.0,
    "spoof": 240.0,
    "beacon": 1200.0,
    "exfil": 180.0,
    "shell": 600.0,
    "flood": 8.0,
}  # s a work goes on
SCANNED = (21, 22, 23, 25, 53, 80, 102, 139, 443, 445, 502, 1883, 2404, 4840, 5900, 8080, 20000, 44818)
FLOOD_MOST = 2000  # SYNs of one flood: it is a picture of one, not one


@dataclass(frozen=True, slots=True)
class Cue:
    """When a step is played, in seconds from the start of the capture."""

    step: Step
    at: float
    times: int


def timeline(scenario: Scenario, seconds: float, dice: Dice) -> list[Cue]:
    """Steps that start without anything being blocked, each after those it waits for, drawn within the capture."""
    spare = {step.on_blocked for step in scenario.campaign if step.on_blocked}
    steps = [step for step in scenario.campaign if step.id not in spare]
    names = {step.id for step in steps}
    at: dict[str, float] = {}
    waiting = list(steps)
    while waiting:
        ready = [step for step in waiting if all(name in at or name not in names for name in step.after)]
        if not ready:  # the loader refuses circles; what waits for a spare step alone never starts here
            break
        for step in ready:
            begin = max((at[name] + 4.0 for name in step.after if name in at), default=0.0)
            wait = float(step.delay) if isinstance(step.delay, int | float) else 30.0
            at[step.id] = begin + wait * dice.between(600, 1400) / 1000 + dice.between(0, 6000) / 1000
            waiting.remove(step)
    if not at:
        return []
    first = seconds * dice.between(40, 120) / 1000
    room = max(1.0, seconds * 0.8 - first)
    scale = min(1.0, room / max(1.0, max(at.values())))
    cues = []
    for step in steps:
        if step.id in at:
            when = first + at[step.id] * scale
            fitting = int(max(0.0, seconds * 0.95 - when) // step.every) + 1 if step.every else 1
            cues.append(Cue(step, when, max(1, min(step.times, fitting))))
    return sorted(cues, key=lambda cue: (cue.at, cue.step.id))


def hostile(places: Places, scenario: Scenario, seconds: float, start: int, seed: Dice) -> list[Part]:
    parts: list[Part] = []
    inside: dict[str, NodePlan] = {}  # attacker -> machine through which it works since its login there
    for cue in timeline(scenario, seconds, seed.child("timeline")):
        actor = places.plan.node(cue.step.node)
        source = inside.get(actor.name, actor)
        for index in range(cue.times):
            begin = cue.at + index * cue.step.every
            if begin < seconds:
                parts += of_step(places, cue.step, source, begin, seconds, start)
        through = places.node_at(str(cue.step.args.get("host", "")))
        if WORK.get(cue.step.technique) not in ("login", "shell") or through is None or source.name != actor.name:
            continue
        if through.name != actor.name and any(p.use.startswith(("jump", "ssh", "vpn")) for p in through.programs):
            inside[actor.name] = through
            parts += tunnel(places, cue, actor, through, seconds, start)
    return [part for part in parts if part.end - part.begin >= 0.5]


def tunnel(places: Places, cue: Cue, actor: NodePlan, through: NodePlan, seconds: float, start: int) -> list[Part]:
    """The session that carries the later steps."""
    meeting = places.meet(actor, str(cue.step.args["host"]))
    if meeting is None:
        return []
    found = CATALOGUE["ssh_tunnel"]
    part = placed(meeting, found, {}, found.every, "always", start, int(cue.step.args.get("port", found.port)))
    return [replace(part, begin=cue.at + 20, end=seconds, step=cue.step.id, technique=cue.step.technique)]


def of_step(places: Places, step: Step, source: NodePlan, begin: float, seconds: float, start: int) -> list[Part]:
    work = WORK.get(step.technique, "scan")
    if work == "scan":
        return scan(places, step, source, begin, seconds, start)
    found_parts = []
    for target in targets(places, step, source):
        server = places.node_at(target)
        if server is None:
            continue
        said = int(step.args["port"]) if isinstance(step.args.get("port"), int) else None
        protocol = spoken(server, said).protocol
        name = DOES.get((work, protocol)) or DOES.get((work, ""), "port_scan")
        found = profile(name)
        if found.name == "port_scan":
            found_parts += scan(places, step, source, begin, seconds, start)
            continue
        end = min(seconds, begin + float(step.args.get("seconds", LONG.get(work, 60.0))))
        if found.style == "event" and found.transport == "l2":
            found_parts += lies(places, step, source, server, begin, end, start)
            continue
        meeting = places.meet(source, target)
        if meeting is None:
            continue
        port = said if said is not None else port_of(server, found, None)
        args = {key: value for key, value in step.args.items() if key not in ("host", "hosts")}
        if isinstance(args.get("writes"), list):
            args["writes"] = [w for w in args["writes"] if isinstance(w, Mapping) and w.get("host") == target]
        every = float(step.args["every"]) if isinstance(step.args.get("every"), int | float) else found.every
        part = placed(meeting, found, known(args), max(0.05, every), "always", start, port)
        if found.group:
            leg = places.legs(source)[0]
            part = replace(part, act=replace(part.act, server=group(found, leg)), zone=leg.zone, server_node="")
        if found.style == "spread":
            count = min(FLOOD_MOST, int((end - begin) * found.per_second))
            part = replace(part, targets=((part.act.server, "open"),) * count)
        once = work in ("exfil", "beacon", "watch", "login") and found.style == "visit"
        found_parts.append(
            replace(part, begin=begin, end=end, step=step.id, technique=step.technique, limit=0 if once else 1)
        )
    return found_parts


def known(args: Mapping[str, Any]) -> dict[str, Any]:
    """Plain arguments only: a step may carry credentials and other structures that no packet needs."""
    return {k: v for k, v in args.items() if isinstance(v, int | float | str) or k in ("writes", "tables")}


def targets(places: Places, step: Step, source: NodePlan) -> list[str]:
    """Addresses a step names; else the first controllers of the plan."""
    args = step.args
    said: list[str] = []
    if isinstance(args.get("host"), str):
        said.append(args["host"])
    if isinstance(args.get("hosts"), list):
        said += [str(host) for host in args["hosts"]]
    if isinstance(args.get("writes"), list):
        said += [str(w["host"]) for w in args["writes"] if isinstance(w, Mapping) and "host" in w]
    for value in args.values():
        if isinstance(value, str) and value not in said:
            said.append(value)
    found = [host for host in dict.fromkeys(said) if places.node_at(host) is not None]
    if found:
        return found
    reached = [leg.ip for node in places.plan.nodes if node.name != source.name for leg in places.legs(node)[:1]
               if any(p.use.startswith(("modbus_plc", "s7", "enip", "opcua", "iec104", "dnp3", "bacnet")) for p in node.programs)]  # fmt: skip
    return reached[:1]


def scan(places: Places, step: Step, source: NodePlan, begin: float, seconds: float, start: int) -> list[Part]:
    """SYNs to every host and port named: open, refused or silent as the plan has it; ARP first where it is next door."""
    hosts: list[str] = []
    for text in step.args.get("hosts") or [step.args.get("host") or ""]:
        hosts += [str(a) for a in network_hosts(str(text))]
    if not [host for host in hosts if host]:
        network = places.network(places.legs(source)[0].zone)
        hosts = [str(address) for address in network.hosts()]
    raw_ports = step.args.get("ports")
    ports = [int(port) for port in raw_ports] if isinstance(raw_ports, list) else list(SCANNED)
    found = CATALOGUE["port_scan"]
    by_zone: dict[str, list[tuple[Endpoint, str]]] = {}
    clients: dict[str, Endpoint] = {}
    for host in hosts:
        meeting = places.meet(source, host)
        server = places.node_at(host)
        if meeting is None or server is None:
            continue
        listening = {int(p.spec["port"]) for p in server.programs if isinstance(p.spec.get("port"), int)}
        listening |= {profile(name).port for p in server.programs for letters, name in serving(p.use)}
        clients[meeting.zone] = meeting.client
        for port in ports:
            answer = "open" if port in listening else "refused"
            by_zone.setdefault(meeting.zone, []).append((replace(meeting.server, port=port), answer))
    parts = []
    for zone, aims in by_zone.items():
        act = Act(found, found.write({}), clients[zone], aims[0][0], 1.0, "always", start)
        end = min(seconds, begin + len(aims) / found.per_second + 2)
        parts.append(Part(act, zone, source.name, "", begin, end, step.technique, step.id, tuple(aims)))
    parts += sweep(places, step, source, hosts, begin, seconds, start)
    return parts


def serving(use: str) -> list[tuple[str, str]]:
    names = (("modbus_plc", "modbus_poll"), ("s7", "s7_poll"), ("enip", "enip_poll"), ("opcua", "opcua_poll"),
             ("iec104", "iec104_report"), ("dnp3", "dnp3_poll"), ("mqtt", "mqtt_report"), ("jump", "ssh_admin"),
             ("mail", "mail"))  # fmt: skip
    return [(letters, name) for letters, name in names if use.startswith(letters)]


def sweep(
    places: Places, step: Step, source: NodePlan, hosts: list[str], begin: float, seconds: float, start: int
) -> list[Part]:
    """Who is there? asked for every address of an own segment."""
    found = CATALOGUE["host_sweep"]
    parts = []
    for leg in places.legs(source):
        network = places.network(leg.zone)
        near = [host for host in hosts if host and host != leg.ip and in_network(host, network)]
        if near:
            aims = tuple((Endpoint(host, GROUPS["wire"][1]), "silent") for host in near)
            act = Act(found, found.write({}), Endpoint(leg.ip, leg.mac), aims[0][0], 1.0, "always", start)
            at = max(0.0, begin - len(aims) / found.per_second - 1)
            parts.append(Part(act, leg.zone, source.name, "", at, seconds, step.technique, step.id, aims))
    return parts


def network_hosts(text: str) -> list[str]:
    """The address itself, or every host of a network."""
    return [str(address) for address in ipaddress.IPv4Network(text, strict=False).hosts()] if "/" in text else [text]


def in_network(host: str, network: ipaddress.IPv4Network) -> bool:
    return ipaddress.IPv4Address(host) in network


def lies(
    places: Places, step: Step, source: NodePlan, victim: NodePlan, begin: float, end: float, start: int
) -> list[Part]:
    """ARP claims: the intruder is the victim's neighbours, for as long as it lasts. Both must stand on one segment."""
    found = CATALOGUE["arp_spoof"]
    parts = []
    for own in places.legs(source):
        on_segment = [
            (node, leg)
            for node in places.plan.nodes
            if node.name != source.name
            for leg in node.interfaces
            if leg.zone == own.zone
        ]
        if victim.name not in {node.name for node, _ in on_segment}:
            continue
        for claimed, leg in on_segment:
            for node, other in on_segment:
                if node.name != claimed.name and victim.name in (node.name, claimed.name):
                    act = Act(found, found.write({}), Endpoint(leg.ip, own.mac), Endpoint(other.ip, other.mac), found.every,
                              "always", start)  # fmt: skip
                    parts.append(Part(act, own.zone, source.name, node.name, begin, end, step.technique, step.id))
    return parts[:4]
