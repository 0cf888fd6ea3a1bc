"""Health says which node is ill and why: how its program ended, its last words, or that the node itself is gone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.drivers.netns import NetnsDriver
from cyber_range.engine.lab.compile import Block, compile_range
from cyber_range.engine.lab.health import RESTARTS, Health, ending, last_line
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.scenario.load import load
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.drivers.test_netns_life import descendants

TINY = load(Path(__file__).parents[1] / "scenarios" / "tiny")
BLOCK = Block("10.215.0.0/26")
PLC = ("plc", "modbus_plc")


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    probe = await NetnsDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    driver = NetnsDriver()
    lab = Lab(TINY, range_id="11ea10000001", seed="s", team="t", block=BLOCK, driver=driver, folder=tmp_path)
    await lab.launch()
    yield lab
    await lab.destroy()
    await lab.spool.close()
    await driver.aclose()


async def until(holds: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - looks from outside, has no event to wait for
            await asyncio.sleep(0.01)


def test_an_end_is_told_with_its_signal_and_the_last_words() -> None:
    assert [ending(3, "the pump is dry"), ending(137, ""), ending(0, "")] == [
        "it ended with exit code 3: the pump is dry",
        "it was ended by SIGKILL (exit code 137)",
        "it ended with exit code 0",
    ]
    assert last_line("Traceback …\n  File x\nValueError: no such logic\n\n") == "ValueError: no such logic"


def test_an_old_error_is_not_taken_for_the_reason_of_a_later_end() -> None:
    plan = compile_range(TINY, range_id="11ea10000002", seed="s", team="t", block=BLOCK, limits=None).plan
    health = Health(plan)
    health.started()
    reasons = []
    for said, code, log in (("the port is taken", 1, ""), ("", 1, "x\nSegmentation fault\n"), ("", 137, "")):
        health.is_ready(PLC)
        if said:
            health.says(PLC, said)
        health.has_ended(PLC, code, 0.0, log)
        reasons.append(health.of_node("plc"))

    assert [one["reason"] for one in reasons] == [
        "modbus_plc: it ended with exit code 1: the port is taken",
        "modbus_plc: it ended with exit code 1: Segmentation fault",
        "modbus_plc: it was ended by SIGKILL (exit code 137)",
    ]


def test_a_node_that_ends_again_and_again_is_given_up() -> None:
    plan = compile_range(TINY, range_id="11ea10000003", seed="s", team="t", block=BLOCK, limits=None).plan
    health = Health(plan)

    worth = [health.node_ended("ws", "killed", float(second)) for second in range(RESTARTS + 1)]

    assert worth == [True] * RESTARTS + [False]
    assert health.lost_nodes() == {"ws"}
    assert health.of_node("ws") == {"state": "ill", "reason": "the node ended: killed"}


@pytest.mark.netns
async def test_a_killed_program_and_a_killed_node_are_named_with_the_reason_and_heal(lab: Lab) -> None:
    seen: list[str] = []
    find = 'for p in /proc/[0-9]*; do [ "$(cat $p/comm)" = modbus_plc ] && kill -9 ${p#/proc/}; done'
    await lab.exec("plc", ["sh", "-c", find])
    await until(lambda: lab.health.of_node("plc")["state"] == "ill")
    seen.append(lab.status()["health"]["plc"]["reason"])
    await until(lambda: lab.health.of_node("plc")["state"] == "ok")

    await kill_node(lab, "ws")  # runs no program: nothing but the node itself can be missed
    await until(lambda: lab.health.of_node("ws")["state"] == "ill")
    seen.append(lab.status()["health"]["ws"]["reason"])
    await until(lambda: lab.health.of_node("ws")["state"] == "ok")
    answer = await lab.exec("ws", ["hostname"])

    assert seen == [
        "modbus_plc: it was ended by SIGKILL (exit code 137)",
        "the node ended: its first process was ended",
    ]
    assert (answer.stdout, lab.state) == (b"ws\n", "ready")


async def kill_node(lab: Lab, node: str) -> None:
    """Kills the node's first process from the host: the one in the node's own network whose parent is the supervisor."""
    namespace = (await lab.exec(node, ["readlink", "/proc/self/ns/net"])).stdout.decode().strip()
    inside = [pid for pid in descendants(os.getpid()) if link(pid) == namespace]
    first = min(inside, key=lambda pid: Path(f"/proc/{pid}/stat").read_text().split(") ")[1].split()[19])
    os.kill(first, signal.SIGKILL)


def link(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""
