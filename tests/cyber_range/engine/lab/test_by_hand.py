"""Red at its own terminal: the deed is told as red's, and counts as the script's step when it is that one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.agents.context import Clock
from cyber_range.engine.drivers.memory import MemoryDriver
from cyber_range.engine.lab.by_hand import same_deed, step_done
from cyber_range.engine.lab.campaign import Campaign
from cyber_range.engine.lab.compile import Block
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import Step

DUEL = load(Path(__file__).parents[3] / "drills" / "scenarios" / "duel")
WRITE = {"host": "10.1.0.4", "table": "coil", "address": 8, "value": 0}


@pytest.mark.parametrize(
    ("wanted", "done", "same"),
    [
        (("write", WRITE), ("write", {**WRITE, "value": 1}), True),  # another value, the same point
        (("write", WRITE), ("write", {**WRITE, "address": 9}), False),
        (("write", WRITE), ("write", {**WRITE, "address": "8"}), True),  # as typed
        (("interlock_off", WRITE), ("write", WRITE), True),  # another way to write the same point
        (("interlock_off", WRITE), ("write", {"host": "10.1.0.4"}), False),
        (("scan", {"hosts": ["10.1.0.0/28"]}), ("scan", {"hosts": ["10.1.0.4"], "ports": [502]}), True),
        (("login", {"host": "10.1.0.4"}), ("scan", {}), False),
        (
            ("mqtt_command", {"host": "h", "orders": [{"topic": "a/set/x", "payload": "1"}]}),
            ("mqtt_command", {"host": "h", "topic": "a/set/x", "payload": "9"}),
            True,
        ),
        (
            ("mqtt_command", {"host": "h", "orders": [{"topic": "a/set/x", "payload": "1"}]}),
            ("mqtt_command", {"host": "h", "topic": "a/set/y", "payload": "1"}),
            False,
        ),
    ],
)
def test_the_same_deed_on_the_same_target(wanted: Any, done: Any, same: bool) -> None:
    assert same_deed(*wanted, *done) is same


async def test_what_waits_for_a_step_begins_when_red_has_done_it_by_hand() -> None:
    def step(name: str, **more: Any) -> Step:
        return Step.model_validate({"id": name, "technique": "T0846", "title": name, "node": "a", "step": name, **more})

    asked: list[str] = []

    async def ask(node: str, program: str, command: dict[str, Any], seconds: float) -> dict[str, Any]:
        asked.append(command["step"])
        return {"result": "done"}

    told: list[tuple[str, str]] = []
    steps = (step("first", delay=1e6), step("second", after=["first"]), step("again", delay=1e6, every=1, times=3))
    campaign = Campaign(steps, Clock(speed=100.0), ask, lambda s: told.append((s.step.id, s.state)))
    first = step_done(campaign.states.values(), node="a", program="attack", step="first", args={})
    campaign.start()
    campaign.done_by_hand(first, {"result": "done"})
    campaign.done_by_hand("again", {"result": "done"})  # the script goes on with what it repeats
    async with asyncio.timeout(20):
        while campaign.states["second"].state != "done":  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.01)
    await campaign.stop()

    assert asked == ["second"]
    assert told == [("first", "done"), ("second", "running"), ("second", "done")]
    assert campaign.states["first"].reply == {"result": "done", "by_hand": True}
    assert step_done(campaign.states.values(), node="a", program="attack", step="first", args={}) == ""
    assert step_done(campaign.states.values(), node="b", program="attack", step="again", args={}) == ""


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    driver = MemoryDriver()
    lab = Lab(
        DUEL, range_id="0123456789ab", seed="s", team="t", block=Block("10.213.0.0/26"), driver=driver,
        folder=tmp_path, speed=10, campaign="manual",
    )  # fmt: skip
    await lab.launch()
    yield lab
    await lab.destroy()
    await lab.spool.close()
    await driver.aclose()


async def test_a_terminal_does_the_script_and_says_who(lab: Lab) -> None:
    plc, register = lab.compiled.address("plc"), str(lab.compiled.draws["setpoint_register"])
    write = ["lb-attack", "run", "write", f"host={plc}", "table=holding", f"address={register}"]

    early = await lab.exec("intruder", [*write, "value=700"])  # nobody is inside yet
    entered = await lab.exec("intruder", ["lb-attack", "run", "foothold"])
    done = await lab.exec("intruder", [*write, "value=700"])
    state = await lab.exec("intruder", ["lb-attack", "state"])
    await lab.spool.flush()

    assert [ended.code for ended in (early, entered, done, state)] == [1, 0, 0, 0]
    hands = [event.data for event in lab.spool.read(limit=10_000) if event.kind == "hand"]
    assert [(one["seats"], one["node"], one["step"], one["result"], one["script"]) for one in hands] == [
        (["red"], "intruder", "write", "blocked", ""),
        (["red"], "intruder", "foothold", "done", "plugged_in"),
        (["red"], "intruder", "write", "done", "overfill"),
    ]
    assert hands[2]["args"]["value"] == 700
    assert {name: one.state for name, one in lab.campaign.states.items()} == {"plugged_in": "done", "overfill": "done"}
    async with asyncio.timeout(30):
        while lab.objectives.states["setpoint"].state == "waiting":  # noqa: ASYNC110 - it opens by itself
            await asyncio.sleep(0.1)


async def test_a_machine_that_is_no_intruder_has_no_attack_tool(lab: Lab) -> None:
    assert (await lab.exec("ws", ["lb-attack", "state"])).code == 3
