"""What a reset does with the processes and containers of the old range (the verb itself: tests/contracts/test_driver.py)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from cyber_range.engine.drivers.capsule import CapsuleDriver
from cyber_range.engine.drivers.netns import NetnsDriver
from cyber_range.engine.plan import Observed, converge
from tests.conftest import skip_or_fail
from tests.contracts.test_driver import Launched, small_range
from tests.cyber_range.engine.drivers.test_netns_life import ROOT, STAND_IN, descendants, gone, launch, plan

RANGE = "4e0be0000001"
OWNER = """
import asyncio
from cyber_range.engine.drivers.netns import NetnsDriver
from tests.cyber_range.engine.drivers.test_netns_life import STAND_IN, launch, plan
async def main():
    driver, wanted = NetnsDriver(runner=STAND_IN + ":serve", preload=(STAND_IN,)), plan("4e0be0000002")
    await launch(driver, wanted)
    await driver.reopen(wanted.range_id, wanted.limits)
    print("up", flush=True)
    await launch(driver, wanted)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
async def netns() -> AsyncIterator[NetnsDriver]:
    probe = await NetnsDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = NetnsDriver(runner=f"{STAND_IN}:serve", preload=(STAND_IN,))
    yield made
    await made.aclose()


@pytest.fixture
async def capsule() -> AsyncIterator[CapsuleDriver]:
    probe = await CapsuleDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = CapsuleDriver(owner=f"test-{secrets.token_hex(4)}")
    yield made
    await made.aclose()


def running(pids: set[int]) -> set[int]:
    """Those neither stopped nor asleep for want of work: what a stopped process is, is T in its stat."""

    def state(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "X"

    return {pid for pid in pids if state(pid) not in "TZX"}


def named(pids: set[int], *names: str) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() in names}


@pytest.mark.netns
async def test_the_old_range_stands_still_and_then_ends(netns: NetnsDriver) -> None:
    wanted = plan(RANGE)
    await launch(netns, wanted)
    supervisors = descendants(netns.warm.pid)
    nodes = named(supervisors, "init", "svc")
    before = len(os.listdir("/proc/self/fd"))

    await netns.reopen(RANGE, wanted.limits)
    async with asyncio.timeout(5):
        while running(nodes):  # noqa: ASYNC110 - nobody tells us how strangers stand
            await asyncio.sleep(0.005)
    await launch(netns, wanted)

    assert await gone(supervisors, 10.0) == set()
    assert converge(wanted, await netns.observe(RANGE)) == []
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.netns
async def test_closing_and_sweeping_end_what_a_reset_left(netns: NetnsDriver) -> None:
    wanted = plan(RANGE)
    await launch(netns, wanted)
    await netns.reopen(RANGE, wanted.limits)

    await netns.close(RANGE)
    closed = await gone(descendants(netns.warm.pid))
    await launch(netns, wanted)
    await netns.reopen(RANGE, wanted.limits)
    swept = await netns.sweep()

    assert (closed, swept.removed["ranges"], await gone(descendants(netns.warm.pid))) == (set(), 1, set())


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of a reset."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "lms.project.settings"}
    child = subprocess.Popen(
        [sys.executable, "-c", "import django; django.setup()\n" + OWNER],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    yield child
    child.kill()
    child.wait()


@pytest.mark.netns
async def test_kill_9_of_the_owner_in_the_middle_of_a_reset_leaves_nothing(owner: subprocess.Popen[str]) -> None:
    children = descendants(owner.pid)

    owner.kill()
    left = await gone(children)

    assert len(children) > 5
    assert left == set()


def containers(range_id: str) -> set[str]:
    with contextlib.closing(docker.from_env()) as client:
        found = client.api.containers(all=True, filters={"label": f"lianbing.capsule={range_id}"})
    return {str(item["Id"]) for item in found}


@pytest.mark.docker
async def test_a_capsule_is_used_again(capsule: CapsuleDriver) -> None:
    lab = await Launched(capsule, small_range(RANGE)).launch()
    before = containers(RANGE)

    await capsule.reopen(RANGE, lab.plan.limits)
    await lab.launch()
    same = containers(RANGE)
    await capsule.reopen(RANGE, dataclasses.replace(lab.plan.limits, memory_mib=512))
    await lab.launch()
    smaller = containers(RANGE)
    await lab.close()

    assert (len(before), same) == (1, before)
    assert (len(smaller), smaller & before) == (1, set())
    assert containers(RANGE) == set()


@pytest.mark.docker
async def test_a_capsule_that_was_killed_is_made_anew(capsule: CapsuleDriver) -> None:
    lab = await Launched(capsule, small_range(RANGE)).launch()
    (made,) = containers(RANGE)
    with contextlib.closing(docker.from_env()) as client:
        client.api.kill(made, signal.SIGKILL)

    await capsule.reopen(RANGE, lab.plan.limits)
    await lab.launch()
    observed = await capsule.observe(RANGE)
    await lab.close()

    assert converge(lab.plan, observed) == []
    assert observed != Observed()
