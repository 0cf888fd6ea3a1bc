"""What the spec of a `traffic` program means: acts of one host and of the ghosts of its segment.

Shared by the program that plays them live and by captures written offline, so both say the same.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from cyber_range.engine.errors import RangeError
from cyber_range.engine.traffic.profiles import BROADCAST_MAC, CATALOGUE, GROUPS, Profile, Script, profile
from cyber_range.engine.traffic.templates import Endpoint

START = "2026-03-09T08:00:00"  # a Monday; only what shifts make of it matters
MOST_GHOSTS = 24
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - stands in flows of frames that carry none


class BadTraffic(RangeError):
    """A traffic entry asks for something that cannot be played."""

    code = "bad_traffic"


class Leg(Protocol):
    """An interface of a plan or of a running node."""

    @property
    def ip(self) -> str: ...
    @property
    def prefix(self) -> int: ...
    @property
    def mac(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Act:
    """One profile between two endpoints. `every`: scenario seconds. `starts`: local epoch seconds at scenario time 0."""

    profile: Profile
    script: Script
    client: Endpoint
    server: Endpoint
    every: float
    shift: str = "always"
    starts: int = 0


def local_seconds(start: str) -> int:
    """A local time as seconds since 1970, without a zone."""
    moment = datetime.fromisoformat(start).replace(tzinfo=None)
    return int((moment - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001 - both are local and have no zone


def group(found: Profile, leg: Leg) -> Endpoint:
    """Everybody, as the profile addresses them on this segment."""
    ip, mac = GROUPS[found.group]
    if found.group == "subnet":
        ip = str(ipaddress.IPv4Network(f"{leg.ip}/{leg.prefix}", strict=False).broadcast_address)
    return Endpoint(ip or NO_ADDRESS, mac, found.port)


def lives(found: Profile, usual: int) -> int:
    """Time to live of datagrams to everybody: 255 on one link (RFC 6762, 11), 4 for SSDP."""
    return {"llmnr": 255, "mdns": 255, "ssdp": 4}.get(found.group, usual)


def chatter(spec: Mapping[str, Any], leg: Leg, name: str) -> list[Act]:
    """The entries of `mix`: events of this host."""
    host = str(spec.get("host", name))
    known = {p.name: group(p, leg) for p in CATALOGUE.values() if p.group and p.kind == "benign"}
    for use, key in (("log_line", "syslog"), ("time_query", "time")):
        if spec.get(key):
            known[use] = Endpoint(str(spec[key]), str(spec.get(f"{key}_mac", BROADCAST_MAC)), CATALOGUE[use].port)
    acts = []
    for use, every in (spec.get("mix") or {}).items():
        if use not in known:
            raise BadTraffic(f"no template {use!r} for this node; there are: {', '.join(sorted(known))}")
        found = profile(use)
        client = Endpoint(leg.ip, leg.mac, found.client_port, lives(found, 128))
        script = found.write({"host": host, **(spec.get("args") or {})})
        shift, start = str(spec.get("shift", "always")), local_seconds(str(spec.get("start", START)))
        acts.append(Act(found, script, client, known[use], float(every), shift, start))
    return acts


def sessions(spec: Mapping[str, Any], leg: Leg) -> list[Act]:
    """The entries of `profiles`: sessions between ghosts, several clients to one server each."""
    entries = spec.get("profiles") or []
    if not entries:
        return []
    if "taken" not in spec:
        raise BadTraffic(
            "profiles need to know which addresses are taken", remedy="Write taken: ${range.nodes} beside them"
        )
    free = iter(free_addresses(leg, spec["taken"]))
    acts = []
    for index, entry in enumerate(entries):
        found = profile(str(entry["use"]))
        if found.style == "spread" or found.group:
            raise BadTraffic(
                f"profile {found.name} is not played between ghosts", remedy="Name it in mix, or in a capture"
            )
        count = max(2, min(MOST_GHOSTS, int(entry.get("ghosts", 4))))
        addresses = [address for _, address in zip(range(count), free, strict=False)]
        if len(addresses) < count:
            raise BadTraffic(
                f"the segment {leg.ip}/{leg.prefix} has too few free addresses for the ghosts of {found.name}",
                remedy="Give the zone a smaller prefix, or fewer ghosts",
            )
        server = ghost(addresses[0], index, int(entry.get("port", found.port)))
        every = float(entry.get("every", found.every)) or 60.0
        script = found.write(entry.get("args") or {})
        shift, start = str(entry.get("shift", found.shift)), local_seconds(str(spec.get("start", START)))
        for number, address in enumerate(addresses[1:]):
            client = ghost(address, 100 * index + number + 1, found.client_port)
            acts.append(Act(found, script, client, server, every, shift, start))
    return acts


def free_addresses(leg: Leg, taken: Iterable[Mapping[str, Any]]) -> list[str]:
    """Host addresses of the segment from the top down that no node has."""
    used = {str(other["ip"]) for node in taken for other in node.get("legs", ())} | {leg.ip}
    network = ipaddress.IPv4Network(f"{leg.ip}/{leg.prefix}", strict=False)
    return [str(address) for address in reversed(list(network.hosts())) if str(address) not in used]


def ghost(ip: str, number: int, port: int) -> Endpoint:
    """A machine of a common make, the same at every start."""
    tail = hashlib.sha256(f"{ip}/{number}".encode()).hexdigest()
    return Endpoint(ip, f"00:1b:21:{tail[0:2]}:{tail[2:4]}:{tail[4:6]}", port, 128)
