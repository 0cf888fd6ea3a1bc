"""A small range on a real Docker engine, for the tests of the docker driver and the hosts that they kill (no Django)."""

from __future__ import annotations

import json
from typing import Any

from cyber_range.engine.drivers.docker_engine import DockerDriver
from cyber_range.engine.plan import InterfacePlan, NodePlan, Observed, ProgramPlan, RangePlan, ZonePlan, converge


def leg(zone: str, number: int, ip: str) -> InterfacePlan:
    mac = "02:4d:" + ":".join(f"{int(part):02x}" for part in ip.split("."))
    return InterfacePlan(zone, f"eth{number}", ip, 24, mac)


def firewalled(range_id: str, block: int) -> RangePlan:
    """it - fw - ot: a workstation with a shell, a firewall with NET_ADMIN, a device behind it, probes everywhere."""
    it, ot = f"10.{block}.1", f"10.{block}.2"
    hosts = ((f"{ot}.20", "plc"), (f"{it}.10", "ws"))
    probe = (ProgramPlan("probe", "probe", {}),)
    zones = (
        ZonePlan("it", f"{it}.0/24", f"b{range_id}00", 4.0),
        ZonePlan("ot", f"{ot}.0/24", f"b{range_id}01", 1.0),
    )
    return RangePlan(
        range_id,
        zones,
        (
            NodePlan(
                "fw",
                (leg("it", 0, f"{it}.1"), leg("ot", 1, f"{ot}.1")),
                probe,
                forwards=True,
                shell=True,
                caps=frozenset({"net_admin"}),
                hosts=hosts,
            ),
            NodePlan(
                "ws",
                (leg("it", 0, f"{it}.10"),),
                probe,
                routes=(("0.0.0.0/0", f"{it}.1"),),
                shell=True,
                neighbours=(("eth0", f"{it}.1", leg("it", 0, f"{it}.1").mac),),
                hosts=hosts,
            ),
            NodePlan("plc", (leg("ot", 0, f"{ot}.20"),), probe, routes=(("0.0.0.0/0", f"{ot}.1"),), hosts=hosts),
        ),
    )


class Running:
    def __init__(self, driver: DockerDriver, plan: RangePlan) -> None:
        self.driver, self.plan, self.id = driver, plan, plan.range_id

    async def launch(self) -> Running:
        await self.driver.open(self.id, self.plan.limits)
        await self.driver.apply(self.id, converge(self.plan, Observed()))
        return self

    async def python(self, node: str, code: str, *arguments: str, seconds: float = 60.0) -> Any:
        """What the code prints as its last line, read as JSON."""
        done = await self.driver.exec(self.id, node, ["python3", "-I", "-c", code, *arguments], timeout=seconds)
        assert done.code == 0, done
        return json.loads(done.stdout.splitlines()[-1])

    async def sh(self, node: str, line: str) -> str:
        done = await self.driver.exec(self.id, node, ["sh", "-c", line])
        return (done.stdout + done.stderr).decode().strip()
