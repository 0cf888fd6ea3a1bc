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


def ten_nodes(number: int, *, poll: bool = False) -> RangePlan:
    """Addresses and names differ per `number` (below 180), so that ranges can stand side by side.

    With `poll` an eleventh node reads two registers of each controller, ten times a second.
    """
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
            "logic": "tank", "controller": "tank", "tags": tags, "plant": f"10.{block}.0.1",
            "identity": {"vendor": "bench"},
        }  # fmt: skip
        nodes.append(NodePlan(f"plc{index}", (leg,), (ProgramPlan("plc", "modbus_plc", spec),)))
    return RangePlan(range_id, zones, tuple(nodes), Limits(memory_mib=2048))


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
