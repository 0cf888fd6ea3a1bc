"""Ten real pymodbus nodes in three zones: launch, shell, reset, teardown, memory, density, each beside its floor, same run.

Not part of the suite: `make bench` prints figures and ratios with the goal behind them; nothing here asserts a time. Each
round measures floor and product one after the other, so that a busy machine slows both.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.drivers.netns import NetnsDriver
from cyber_range.engine.drivers.registry import load
from tests.benchmarks.floors import docker_run_one, docker_run_ten, runc_bundle, runc_ten
from tests.benchmarks.hosted import range_host, ten_node_scenario, timed
from tests.benchmarks.ten_nodes import launched, polled, ten_nodes
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.drivers.test_netns_life import STAND_IN, descendants, living

pytestmark = pytest.mark.timeout(900)

DRIVERS = [
    pytest.param("netns", marks=pytest.mark.netns),
    pytest.param("capsule", marks=pytest.mark.docker),
    pytest.param("docker", marks=pytest.mark.docker),
]
ROUNDS = {"netns": 9, "capsule": 5, "docker": 3}
FEWER = int(os.environ.get("LIANBING_BENCH_ROUNDS", "0"))  # for a look on a busy machine
RANGES = int(os.environ.get("LIANBING_BENCH_RANGES", "50"))


def load_average() -> str:
    return Path("/proc/loadavg").read_text().split()[0]


def tell(what: str, **figures: object) -> None:
    print(f"\n{what}: " + ", ".join(f"{name} {value}" for name, value in figures.items()) + f"; load {load_average()}")


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


@asynccontextmanager
async def driver_of(name: str) -> AsyncIterator[Driver]:
    kind = load(name)
    probe = await kind.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    driver = kind()
    try:
        await launched(driver, ten_nodes(0))  # warms what is warm in a running product
        await driver.close(ten_nodes(0).range_id)
        yield driver
    finally:
        await driver.aclose()


@pytest.mark.parametrize("name", DRIVERS)
async def test_launch_and_teardown(name: str) -> None:
    if name == "netns" and (os.geteuid() != 0 or shutil.which("runc") is None):
        pytest.skip("the floor of netns is runc, which needs root")
    goal = {"netns": 1.0, "capsule": 1.7, "docker": 1.3}[name]
    ups, downs, floors = [], [], []
    with runc_bundle() as bundle:
        floor_of = {"netns": lambda: runc_ten(bundle), "capsule": docker_run_one, "docker": docker_run_ten}[name]
        async with driver_of(name) as driver:
            for number in range(1, (FEWER or ROUNDS[name]) + 1):
                plan = ten_nodes(number)
                ups.append(await launched(driver, plan))
                downs.append((await timed(driver.close(plan.range_id)))[0])
                floors.append(await asyncio.to_thread(floor_of))
    ratio = statistics.median(up / floor for up, floor in zip(ups, floors, strict=True))
    words = {"netns": "runc run x10", "capsule": "one docker run", "docker": "docker run x10"}
    tell(
        f"{name} launch ÷ {words[name]}", ratio=f"{ratio:.2f} (goal {goal})", launch=ms(statistics.median(ups)),
        floor=ms(statistics.median(floors)), best=f"{ms(min(ups))} ÷ {ms(min(floors))}",
        teardown=f"{ms(statistics.median(downs))} (netns: goal 50 ms, best {ms(min(downs))})",
    )  # fmt: skip


@pytest.mark.parametrize("name", DRIVERS)
async def test_shell(name: str) -> None:
    """From the request to the prompt."""
    plan = ten_nodes(1)
    node = plan.nodes[0]
    with_shell = type(node)(node.name, node.interfaces, node.programs, shell=True)
    plan = type(plan)(plan.range_id, plan.zones, (with_shell, *plan.nodes[1:]), plan.limits)
    taken = []
    async with driver_of(name) as driver:
        await launched(driver, plan)
        for _ in range(FEWER or 11):
            began = time.perf_counter()
            pty = await driver.shell(plan.range_id, node.name)
            seen = b""
            while not seen.rstrip().endswith(b"$") and not seen.rstrip().endswith(b"#") and b":~" not in seen:
                seen += await pty.read()
            taken.append(time.perf_counter() - began)
            await pty.close()
        await driver.close(plan.range_id)
    tell(f"{name} shell to prompt", median=f"{ms(statistics.median(taken))} (goal 20 ms)", best=ms(min(taken)))


@pytest.mark.parametrize("name", DRIVERS)
async def test_reset_beside_launch(name: str) -> None:
    """What a person waits for: `launch` and `reset` of a range-host, until every program serves again."""
    scenario = ten_node_scenario()
    ups, resets = [], []
    async with range_host(name) as daemon:
        warm = await daemon.launch(scenario, seed="s", team="t", driver=name)
        await daemon.destroy(warm.range_id)
        for _ in range(FEWER or ROUNDS[name]):
            up, lab = await timed(daemon.launch(scenario, seed="s", team="t", driver=name))
            ups.append(up)
            resets.append((await timed(daemon.reset(lab.range_id)))[0])
            await daemon.destroy(lab.range_id)
    ratio = statistics.median(reset / up for reset, up in zip(resets, ups, strict=True))
    tell(
        f"{name} reset ÷ launch", ratio=f"{ratio:.2f} (goal 1)", reset=ms(statistics.median(resets)),
        launch=ms(statistics.median(ups)), best=f"{ms(min(resets))} ÷ {ms(min(ups))}",
    )  # fmt: skip


def private_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


@pytest.mark.netns
async def test_memory() -> None:
    plan = ten_nodes(3)
    async with driver_of("netns") as driver:
        assert isinstance(driver, NetnsDriver)
        await launched(driver, plan)
        await asyncio.sleep(2)
        sizes: dict[str, list[float]] = {}
        for pid in descendants(driver.warm.pid):
            sizes.setdefault(Path(f"/proc/{pid}/comm").read_text().strip(), []).append(private_mib(pid))
        await driver.close(plan.range_id)
    if not sum(sum(of) for of in sizes.values()):
        pytest.skip("smaps_rollup of the nodes needs root")
    program, init = statistics.mean(sizes["plc"]), statistics.mean(sizes["init"])
    tell(
        "netns private memory", program=f"{program:.1f} MiB (goal 6 a node)", init=f"{init:.1f} MiB",
        range=f"{sum(sum(of) for of in sizes.values()):.1f} MiB (goal 65)",
    )  # fmt: skip


@pytest.mark.netns
async def test_density() -> None:
    """Ranges one after the other while all before them are alive and polled."""
    driver = NetnsDriver(runner=f"{STAND_IN}:serve", preload=(STAND_IN,))
    watching: list[asyncio.Task[None]] = []
    answers = [0] * RANGES
    times = []

    async def watch(number: int, range_id: str) -> None:
        async for message in driver.messages(range_id):
            if message.body["kind"] == "polled":
                answers[number] += message.body["answers"]

    full = sum(int(line.split()[-1], 16) for line in Path("/proc/net/stat/arp_cache").read_text().splitlines()[1:])
    try:
        await driver.start()
        for number in range(RANGES):
            plan = polled(number)
            times.append(await launched(driver, plan))
            watching.append(asyncio.create_task(watch(number, plan.range_id)))
        before = list(answers)
        await asyncio.sleep(5)
        in_five = [now - then for now, then in zip(answers, before, strict=True)]
    finally:
        await driver.aclose()
        await asyncio.gather(*watching, return_exceptions=True)
    full = (
        sum(int(line.split()[-1], 16) for line in Path("/proc/net/stat/arp_cache").read_text().splitlines()[1:]) - full
    )
    tell(
        f"density, {RANGES} ranges", polled_in_the_last_5_s=sum(of > 0 for of in in_five),
        answers_of_50=f"{statistics.mean(in_five):.0f} (fewest {min(in_five)})", first=ms(times[0]),
        slowest=f"{ms(max(times))} = {max(times) / times[0]:.1f} × the first (goal 5)", last=ms(times[-1]),
        arp_table_full=full,
    )  # fmt: skip


SUPERVISED = """
import asyncio, sys
from cyber_range.engine.drivers.netns import NetnsDriver
from tests.benchmarks.ten_nodes import launched, ten_nodes
async def main():
    driver = NetnsDriver()
    await launched(driver, ten_nodes(4))
    print("up", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.netns
async def test_after_sigkill() -> None:
    """The supervisor's whole range after SIGKILL of its outer process: how long until no process is left."""
    root = Path(__file__).resolve().parents[2]
    taken = []
    for _ in range(FEWER or 5):
        child = subprocess.Popen(
            [sys.executable, "-c", SUPERVISED], stdout=subprocess.PIPE, text=True, cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        pids = descendants(child.pid)
        supervisor = next(pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().startswith("lb-be"))
        its = {supervisor} | descendants(supervisor)
        began = time.perf_counter()
        os.kill(supervisor, signal.SIGKILL)
        while living(its):
            time.sleep(0.001)
        taken.append(time.perf_counter() - began)
        child.kill()
        child.wait()
    tell(
        "after SIGKILL of the supervisor", gone_in=f"{ms(statistics.median(taken))} (goal 100 ms)", best=ms(min(taken))
    )
