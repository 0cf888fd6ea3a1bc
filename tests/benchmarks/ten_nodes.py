"""What every benchmark of a driver launches: ten real pymodbus controllers in three zones (no Django)."""

from __future__ import annotations

import asyncio
import time

from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.plan import (
    InterfacePlan,
    Limits,
    NodePlan,
    Observed,
    ProgramPlan,
    RangePlan,
    ZonePlan,
    converge,
)
from cyber_range.engine.process.controllers import LOGICS

ZONES = ("it", "dmz", "ot")


def ten_nodes(number: int) -> RangePlan:
    """Addresses and names differ per `number` (below 180), so that ranges can stand side by side."""
    range_id, block = f"be{number:010x}", 60 + number
    zones = tuple(
        ZonePlan(name, f"10.{block}.{index}.0/24", f"lbb{number:x}{name}", float(index))
        for index, name in enumerate(ZONES)
    )
    tags = {tag.name: {"address": index} for index, tag in enumerate(LOGICS["tank"].tags)}
    nodes = []
    for index in range(10):
        zone, host = index % 3, 10 + index
        leg = InterfacePlan(
            ZONES[zone], "eth0", f"10.{block}.{zone}.{host}", 24, f"02:be:{number:02x}:00:{zone:02x}:{host:02x}"
        )
        spec = {
            "logic": "tank", "controller": "tank", "tags": tags, "plant": "127.0.0.1",  # nobody: it runs its logic by itself

            "identity": {"vendor": "bench"},
        }  # fmt: skip
        nodes.append(NodePlan(f"plc{index}", (leg,), (ProgramPlan("plc", "modbus_plc", spec),)))
    return RangePlan(range_id, zones, tuple(nodes), Limits(memory_mib=2048))


def polled(number: int) -> RangePlan:
    """The same wiring with bare pymodbus servers (the drivers' tests' own program) and a master that polls all ten.

    Neighbours are permanent, as the compiler gives them to every range: entries that are learned count against a table
    the kernel keeps once for the whole host (gc_thresh3, 1024), permanent ones do not.
    """
    plan = ten_nodes(number)
    legs = tuple(
        InterfacePlan(zone, f"eth{at}", f"10.{60 + number}.{at}.5", 24, f"02:be:{number:02x}:00:{at:02x}:05")
        for at, zone in enumerate(ZONES)
    )
    of_zone = {leg.zone: leg for leg in legs}
    servers, neighbours = [], []
    for node in plan.nodes:
        leg = node.interfaces[0]
        master = of_zone[leg.zone]
        neighbours.append((master.ifname, leg.ip, leg.mac))
        servers.append(
            NodePlan(
                node.name, (leg,), (ProgramPlan("plc", "modbus"),), neighbours=((leg.ifname, master.ip, master.mac),)
            )
        )
    targets = [node.interfaces[0].ip for node in plan.nodes]
    master = NodePlan(
        "master", legs, (ProgramPlan("master", "master", {"targets": targets}),), neighbours=tuple(neighbours)
    )
    return RangePlan(plan.range_id, plan.zones, (*servers, master), plan.limits)


async def launched(driver: Driver, plan: RangePlan) -> float:
    """Seconds from the request until every program says that its service answers."""
    began = time.perf_counter()
    await driver.open(plan.range_id, plan.limits)
    messages = driver.messages(plan.range_id)
    await driver.apply(plan.range_id, converge(plan, Observed()))
    waiting = {(node.name, program.name) for node in plan.nodes for program in node.programs}
    async with asyncio.timeout(60):
        while waiting:
            message = await anext(messages)
            if message.body["kind"] == "ready":
                waiting.discard((message.node, message.program))
    return time.perf_counter() - began
