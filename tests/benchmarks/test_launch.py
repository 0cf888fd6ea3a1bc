"""Launch, teardown and memory of ten real pymodbus nodes in three zones, each beside its floor in the same run.

Not part of the suite: `make bench` prints the figures; nothing here asserts a time.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.drivers.registry import load
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
from tests.conftest import skip_or_fail

ZONES = ("it", "dmz", "ot")
ROUNDS = {"netns": 7, "docker": 3}


def ten_nodes(number: int) -> RangePlan:
    """Ten controllers over three zones; addresses and names differ per `number` so that ranges can stand side by side."""
    range_id = f"be{number:010x}"
    zones = tuple(
        ZonePlan(name, f"10.{60 + number}.{index}.0/24", f"lbb{number:x}{name}", float(index))
        for index, name in enumerate(ZONES)
    )
    tags = {tag.name: {"address": index} for index, tag in enumerate(LOGICS["tank"].tags)}
    nodes = []
    for index in range(10):
        zone, host = index % 3, 10 + index
        leg = InterfacePlan(
            ZONES[zone], "eth0", f"10.{60 + number}.{zone}.{host}", 24, f"02:be:{number:02x}:00:{zone:02x}:{host:02x}"
        )
        spec = {
            "logic": "tank", "controller": "tank", "tags": tags, "plant": f"10.{60 + number}.0.1",
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
    waiting = {node.name for node in plan.nodes}
    async with asyncio.timeout(60):
        while waiting:
            message = await anext(messages)
            if message.body["kind"] == "ready":
                waiting.discard(message.node)
    return time.perf_counter() - began


async def measure(driver: Driver, rounds: int) -> tuple[float, float]:
    """Median seconds of launch and of teardown."""
    ups, downs = [], []
    await launched(driver, ten_nodes(0))  # warms what is kept warm in a running product
    await driver.close(ten_nodes(0).range_id)
    for number in range(1, rounds + 1):
        plan = ten_nodes(number)
        ups.append(await launched(driver, plan))
        began = time.perf_counter()
        await driver.close(plan.range_id)
        downs.append(time.perf_counter() - began)
    return statistics.median(ups), statistics.median(downs)


def parallel(*commands: list[str]) -> float:
    """Seconds until all commands, started at once, have ended well."""
    began = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        _out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error.decode()
    return time.perf_counter() - began


@pytest.mark.netns
async def test_netns_launch_beside_unshare() -> None:
    kind = load("netns")
    probe = await kind.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    driver = kind()
    try:
        up, down = await measure(driver, ROUNDS["netns"])
    finally:
        await driver.aclose()
    floor = statistics.median(parallel(*[["unshare", "-nimpuf", "true"]] * 10) for _ in range(5))
    load_average = Path("/proc/loadavg").read_text().split()[0]
    print(f"\nnetns: launch {up * 1000:.0f} ms, close {down * 1000:.0f} ms; unshare x10 {floor * 1000:.0f} ms; "
          f"ratio {up / floor:.1f}; load {load_average}")  # fmt: skip


@pytest.mark.docker
async def test_docker_launch_beside_docker_run() -> None:
    kind = load("docker")
    probe = await kind.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    driver = kind()
    try:
        up, down = await measure(driver, ROUNDS["docker"])
    finally:
        await driver.aclose()
    floors = []
    for _ in range(3):
        names = [f"lbbench{index}" for index in range(10)]
        run = ["docker", "run", "-d", "--network", "bridge", "--entrypoint", "sleep"]
        floors.append(parallel(*[[*run, "--name", name, "lianbing/range-node:latest", "60"] for name in names]))
        subprocess.run(["docker", "rm", "-f", *names], stdout=subprocess.DEVNULL, check=True)
    floor = statistics.median(floors)
    print(f"\ndocker: launch {up:.2f} s, close {down:.2f} s; docker run x10 {floor:.2f} s; ratio {up / floor:.2f}")
