"""The middle in real network namespaces: kernels believe it, the operator sees the lie, the controller keeps the truth."""

from __future__ import annotations

import asyncio

import pytest

from cyber_range.engine.drivers.registry import load
from cyber_range.engine.plan import InterfacePlan, NodePlan, ProgramPlan, RangePlan, ZonePlan
from cyber_range.engine.process.controllers import FillerLogic
from tests.conftest import skip_or_fail
from tests.contracts import test_driver
from tests.contracts.test_driver import LIMITS, Launched
from tests.cyber_range.engine.agents.plans import IDENTITY, tags

PLC, HMI = "10.77.9.4", "10.77.9.5"
PATIENCE = 120.0  # s for one awaited thing: scapy, kernels and their neighbour tables on a loaded machine
MAC = "02:4c:77:00:00:{:02x}"


def plan() -> RangePlan:
    def leg(number: int) -> InterfacePlan:
        return InterfacePlan("shop", "eth0", f"10.77.9.{number}", 28, MAC.format(number))

    spec = {
        "logic": "filler",
        "controller": "filler",
        "plant": "10.0.0.1",
        "tags": tags(FillerLogic()),
        "identity": IDENTITY,
    }
    device = {
        "name": "filler", "host": PLC, "blocks": [{"table": "holding", "address": 0, "count": 10}],
        "tags": [{"name": "fill_setpoint", "table": "holding", "address": 0}],
    }  # fmt: skip
    watching = {"cycle": 0.2, "view_every": 0.3, "devices": [device]}
    lab = {"range": "c0ffee0000aa", "networks": ["10.77.9.0/28"]}
    return RangePlan(
        "c0ffee0000aa",
        (ZonePlan("shop", "10.77.9.0/28", "lbmidshop", 1.0),),
        (
            NodePlan("plc", (leg(4),), (ProgramPlan("plc", "modbus_plc", spec),)),
            NodePlan("hmi", (leg(5),), (ProgramPlan("hmi", "modbus_hmi", watching),)),
            NodePlan("red", (leg(7),), (ProgramPlan("attack", "attack", {"lab": lab}),), caps=frozenset({"net_raw"})),
        ),
        LIMITS,
    )


async def shown(lab: Launched) -> float | None:
    """The set-point on the operator's picture."""
    picture = await lab.ask("hmi", "hmi", "view")
    value: float | None = picture["devices"]["filler"]["values"]["fill_setpoint"]
    return value


async def neighbour(lab: Launched, node: str, ip: str) -> str:
    """The MAC that a node's kernel believes belongs to an address."""
    ended = await lab.driver.exec(lab.plan.range_id, node, ["lb-arp", "show"])
    rows = [line.split() for line in ended.stdout.decode().splitlines()]
    return next((row[1] for row in rows if row and row[0] == ip), "")


@pytest.mark.netns
async def test_replies_are_rewritten_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_driver, "SECONDS", PATIENCE)
    kind = load("netns")
    probe = await kind.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    driver = kind()
    try:
        lab = await Launched(driver, plan()).launch()
        try:
            spoof = await lab.ask("red", "attack", "step", step="arp_spoof", args={"between": [HMI, PLC]})
            lies = [{"host": PLC, "address": 0, "value": 333}]
            lie = await lab.ask("red", "attack", "step", step="spoof_reports", args={"lies": lies, "seconds": 3})
            told = await shown(lab)
            true = await lab.ask("plc", "plc", "read", table="holding", address=0)
            poisoned = await neighbour(lab, "hmi", PLC)
            await lab.ask("red", "attack", "step", step="undo", args={})
            async with asyncio.timeout(PATIENCE):
                while await shown(lab) != 500:  # noqa: ASYNC110 - the picture comes when it is asked for
                    await asyncio.sleep(0.2)
            healed = await neighbour(lab, "hmi", PLC)
        finally:
            await lab.close()
    finally:
        await driver.aclose()

    assert (spoof["result"], lie["result"]) == ("done", "done")
    assert lie["rewritten"] > 3
    assert (poisoned, healed) == (MAC.format(7), MAC.format(4))
    assert (told, true["values"]) == (333, [500])
