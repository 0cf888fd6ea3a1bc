"""A whole range on the memory driver: healing, loss, clock, capture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.drivers.base import AgentMessage
from cyber_range.engine.drivers.memory import MemoryDriver
from cyber_range.engine.errors import RangeError, Refused
from cyber_range.engine.lab.compile import Block
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.scenario.load import load

TINY = load(Path(__file__).parents[1] / "scenarios" / "tiny")
RANGE = "0123456789ab"


@pytest.fixture
async def driver() -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver()
    yield driver
    await driver.aclose()


@pytest.fixture
async def lab(driver: MemoryDriver, tmp_path: Path) -> AsyncIterator[Lab]:
    lab = Lab(
        TINY, range_id=RANGE, seed="s", team="t", block=Block("10.213.0.0/26"), driver=driver, folder=tmp_path, speed=10
    )
    await lab.launch()
    yield lab
    await lab.destroy()
    await lab.spool.close()


async def until(holds: Any, seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - looks from outside, has no event to wait for
            await asyncio.sleep(0.05)


def told(lab: Lab, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in lab.spool.read(limit=10_000) if event.kind == kind]


async def test_a_program_that_ends_is_started_again_and_said(lab: Lab, driver: MemoryDriver) -> None:
    driver._ranges[RANGE].programs["plc", "modbus_plc"].task.cancel()
    await until(lambda: lab.health.of_node("plc")["state"] == "ill")

    await until(lambda: lab.health.of_node("plc")["state"] == "ok")
    await lab.spool.flush()

    assert [(one["node"], one["health"]) for one in told(lab, "node")] == [("plc", "ill"), ("plc", "ok")]
    assert lab.state == "ready"


async def test_a_program_that_ends_again_and_again_leaves_the_range_ill(lab: Lab, driver: MemoryDriver) -> None:
    for _ in range(4):
        await until(lambda: lab.health.of_node("hmi")["state"] == "ok")
        driver._ranges[RANGE].programs["hmi", "modbus_hmi"].task.cancel()
        await until(lambda: lab.health.of_node("hmi")["state"] == "ill")

    await until(lambda: lab.state == "ill")

    assert lab.reason.startswith("modbus_hmi of node hmi: ")
    assert lab.health.of_node("plc")["state"] == "ok"


async def test_a_range_that_ends_by_itself_is_said_and_made_anew(lab: Lab, driver: MemoryDriver) -> None:
    driver._ranges[RANGE].messages.put_nowait(None)  # as when a supervisor is killed: nobody speaks any more

    await until(lambda: lab.state == "gone")
    assert lab.reason == "the range ended by itself; reset it to have it made anew"
    await lab.reset()

    assert (lab.state, lab.health.of_node("plc")) == ("ready", {"state": "ok", "reason": ""})


async def test_the_clock_of_programs_follows(lab: Lab) -> None:
    await until(lambda: lab.plant.at > 2)
    at, wall = lab.plant.at, asyncio.get_running_loop().time()
    await asyncio.sleep(1)

    passed = (lab.plant.at - at) / (asyncio.get_running_loop().time() - wall)

    assert 7 < passed < 13
    with pytest.raises(RangeError) as caught:
        await lab.set_speed(1000)
    assert str(caught.value) == "the clock cannot run at speed 1000. Choose 0.1 to 100"


async def test_launching_and_destroying_leave_nothing_in_the_driver(lab: Lab, driver: MemoryDriver) -> None:
    await lab.destroy()

    assert driver._ranges == {}
    assert lab._waiting == {}
    with pytest.raises(Refused, match=f"range {RANGE} is gone"):
        await lab.exec("ws", ["lb-scan"])


async def test_unreadable_words_of_a_program_are_said_and_hurt_nothing(lab: Lab, driver: MemoryDriver) -> None:
    say = driver._ranges[RANGE].say
    from_sensor = lambda body: say(AgentMessage(RANGE, "sensor", "sensor", body))  # noqa: E731 - said in one line
    from_sensor({"kind": "polls", "polls": [{"zone": "workshop"}]})
    from_sensor({"kind": "pcap", "zone": "fieldbus", "data": ""})
    from_sensor({"kind": "pcap", "zone": "workshop", "data": "AAAA"})
    say(AgentMessage(RANGE, "hmi", "modbus_hmi", {"kind": "telemetry", "values": {"fill_setpoint": 9}}))
    await asyncio.sleep(0.3)
    await lab.spool.flush()

    assert [one["what"].split(" (")[1].split(":")[0] for one in told(lab, "warning")] == ["polls", "pcap", "pcap"]
    assert lab.plant.values["fill_setpoint"] == 500  # only the plant tells about the plant


async def test_a_chatterbox_cannot_fill_the_log(lab: Lab, driver: MemoryDriver) -> None:
    for number in range(500):
        driver._ranges[RANGE].say(AgentMessage(RANGE, "hmi", "modbus_hmi", {"kind": "operated", "n": number}))
    await asyncio.sleep(1.2)
    driver._ranges[RANGE].say(AgentMessage(RANGE, "hmi", "modbus_hmi", {"kind": "operated", "n": 500}))
    await asyncio.sleep(0.2)
    await lab.spool.flush()

    rows = [one for one in told(lab, "program") if one["body"]["kind"] == "operated"]

    assert len(rows) == 21
    assert rows[-1]["left_out"] == 480
