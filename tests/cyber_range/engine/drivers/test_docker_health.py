"""Health on docker names the node that is ill and why: its program killed, its container killed, its container frozen."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import docker
import pytest

from cyber_range.engine.drivers.docker_engine import DockerDriver, session
from cyber_range.engine.lab.compile import Block
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.scenario.load import load
from tests.conftest import skip_or_fail

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(300)]
TINY = load(Path(__file__).parents[1] / "scenarios" / "tiny")
KILL_PROGRAM = """
import os
mine = [entry for entry in os.listdir("/proc") if entry.isdigit() and entry != "1"]
parent = {entry: open(f"/proc/{entry}/stat").read().rpartition(")")[2].split()[1] for entry in mine}
os.kill(int(min((entry for entry in mine if parent[entry] == "1"), key=int)), 9)
"""


@pytest.fixture
async def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    probe = await DockerDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    monkeypatch.setattr(session, "LOOK_SECONDS", 1.0)
    monkeypatch.setattr(session, "SILENT_SECONDS", 15.0)
    driver = DockerDriver(owner=f"test-{secrets.token_hex(4)}")
    made = Lab(
        TINY, range_id="d0c4e7000011", seed="s", team="t", block=Block("10.214.0.0/26"), driver=driver, folder=tmp_path
    )
    await made.launch()
    yield made
    await made.destroy()
    await made.spool.close()
    await driver.aclose()


async def reason_of(lab: Lab, node: str) -> str:
    """Why the node is ill, once it is, and it heals after that."""
    await until(lambda: lab.health.of_node(node)["state"] == "ill")
    reason = str(lab.status()["health"][node]["reason"])
    await until(lambda: lab.health.of_node(node)["state"] == "ok")
    return reason


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not holds():  # noqa: ASYNC110 - looks from outside, has no event to wait for
            await asyncio.sleep(0.01)


async def test_a_killed_program_a_killed_container_and_a_frozen_one_are_named_with_the_reason_and_heal(
    lab: Lab,
) -> None:
    client = docker.from_env()
    try:
        killed = asyncio.create_task(reason_of(lab, "plc"))
        await lab.exec("plc", ["python3", "-I", "-c", KILL_PROGRAM])
        program = await killed
        ended = asyncio.create_task(reason_of(lab, "ws"))
        await asyncio.to_thread(client.api.kill, container_of(client, lab, "ws"), "SIGKILL")
        container = await ended
        silent = asyncio.create_task(reason_of(lab, "ws"))
        await asyncio.to_thread(client.api.pause, container_of(client, lab, "ws"))
        frozen = await silent
    finally:
        client.close()
    answer = await lab.exec("ws", ["hostname"])

    assert (program, container, frozen) == (
        "modbus_plc: it was ended by SIGKILL (exit code 137)",
        "the node ended: the container of ws has ended: no last words",
        "the node ended: ws has not answered for 15 s: its container is frozen or starved",
    )
    assert (answer.stdout, lab.state) == (b"ws\n", "ready")


def container_of(client: docker.DockerClient, lab: Lab, node: str) -> str:
    labels = [f"lianbing.range={lab.range_id}", f"lianbing.name={node}", "lianbing.kind=node"]
    return str(client.api.containers(filters={"label": labels})[0]["Id"])
