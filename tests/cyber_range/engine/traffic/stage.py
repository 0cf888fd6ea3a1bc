"""A small plan without a scenario, and every profile played on it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from cyber_range.engine.plan import InterfacePlan, NodePlan, RangePlan, ZonePlan
from cyber_range.engine.traffic.capture import Written, write
from cyber_range.engine.traffic.cast import Part
from cyber_range.engine.traffic.compiled import pieces_now
from cyber_range.engine.traffic.dice import Dice
from cyber_range.engine.traffic.perform import Performance
from cyber_range.engine.traffic.places import Places
from cyber_range.engine.traffic.profiles import CATALOGUE, Profile
from cyber_range.engine.traffic.score import Score
from cyber_range.engine.traffic.spec import Act, group, lives, local_seconds
from cyber_range.engine.traffic.templates import Endpoint

START = 1_773_014_400 * 1_000_000_000
LOCAL = local_seconds("2026-03-09T10:00:00")  # a working hour
NEEDS_TSHARK = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing: apt-get install tshark")
CHECKS = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]


def leg(zone: str, host: int) -> InterfacePlan:
    third = {"office": 1, "plant": 2}[zone]
    return InterfacePlan(zone, "eth0", f"10.9.{third}.{host}", 24, f"02:00:00:00:{third:02x}:{host:02x}")


def plan() -> RangePlan:
    zones = (ZonePlan("office", "10.9.1.0/24", "b0", 4), ZonePlan("plant", "10.9.2.0/24", "b1", 2))
    nodes = (
        NodePlan("pc", (leg("office", 10),), ()),
        NodePlan("server", (leg("plant", 20),), ()),
        NodePlan("master", (leg("plant", 30),), ()),
        NodePlan("gate", (leg("office", 1), leg("plant", 1)), (), forwards=True),
    )
    return RangePlan("0" * 12, zones, nodes)


def places() -> Places:
    return Places(plan(), frozenset({"pc"}))


def part_of(found: Profile, number: int, seconds: float) -> Part:
    """The profile between two nodes of one segment, and where there is room for it across the router."""
    here = places()
    meeting = here.meet(here.plan.node("master" if number % 2 or found.transport == "l2" else "pc"), "10.9.2.20")
    assert meeting is not None
    client = replace(meeting.client, port=found.client_port)
    server = replace(meeting.server, port=found.port or (80 if found.transport == "tcp" else 0))
    zone = meeting.zone
    if found.group:
        client, zone = Endpoint("10.9.2.30", "02:00:00:00:02:1e", found.client_port, lives(found, 64)), "plant"
        server = group(found, leg("plant", 30))
    targets = ()
    if found.style == "spread":
        answers = ("open", "refused", "silent")
        targets = tuple(
            (replace(server, ip=f"10.9.2.{50 + n // 40}", port=server.port + n), answers[n % 3]) for n in range(120)
        )
    every = min(found.every or 1.0, seconds / 4)
    act = Act(found, found.write({"size": 100} if found.name == "ping" else {}), client, server, every, "always", LOCAL)
    return Part(act, zone, meeting.client_node, meeting.server_node, 0.0, seconds, found.technique, targets=targets)


def everything(seconds: float = 60.0, names: Iterable[str] = ()) -> list[Part]:
    chosen = [CATALOGUE[name] for name in names] or list(CATALOGUE.values())
    return [part_of(found, number, seconds) for number, found in enumerate(chosen)]


def played(parts: list[Part], seconds: float, seed: str = "7") -> Score:
    pieces = pieces_now(order for part in parts for order in part.act.script.orders)
    return Performance(pieces, Dice(seed), START, LOCAL, seconds).play(parts)


def recorded(folder: Path, parts: list[Part], seconds: float, seed: str = "7") -> Written:
    folder.mkdir(parents=True, exist_ok=True)
    score = played(parts, seconds, seed)
    return write(score, places().zones, folder / "capture.pcapng", folder / "labels.csv", Dice(seed, "bytes"))


def tshark(capture: Path, *arguments: str) -> list[str]:
    command = ["tshark", *CHECKS, "-r", str(capture), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
