"""The packaged scenario: every team's draws build a lab that can be won, and it says what it teaches."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import cyber_range.scenarios.filling_line as package
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.agents.modbus_plc import Memory
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.drivers import registry
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.lab.lab import Lab
from cyber_range.engine.lab.solver import solve
from cyber_range.engine.plan import ProgramPlan
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import SolverExec
from cyber_range.engine.sensor.policy import Policy

FOLDER = Path(next(iter(package.__path__)))
TEAMS = [f"team-{number}" for number in range(40)]
# ATT&CK for ICS v18.1, (c) The MITRE Corporation
TECHNIQUES = {
    "T0812": "Default Credentials", "T0846": "Remote System Discovery", "T0888": "Remote System Information Discovery",
    "T0861": "Point & Tag Identification", "T0801": "Monitor Process State", "T0855": "Unauthorized Command Message",
    "T0836": "Modify Parameter", "T0831": "Manipulation of Control",
}  # fmt: skip
BLOCK = "10.213.0.0"


def compiled(team: str) -> Compiled:
    scenario = load(FOLDER)
    block = ipaddress.IPv4Network(f"{BLOCK}/{block_prefix(scenario)}")
    return compile_range(scenario, range_id="0123456789ab", seed="seed", team=team, block=block)


def program(lab: Compiled, node: str, use: str) -> ProgramPlan:
    return next(p for p in lab.plan.node(node).programs if p.use == use)


def test_it_is_as_big_as_a_drill_needs() -> None:
    scenario = load(FOLDER)

    shown = [z for z in scenario.zones if not z.hidden]
    assert len(scenario.nodes) >= 10
    assert [z.name for z in shown] == ["outside", "office", "dmz", "workshop"]
    assert [n.name for n in scenario.nodes if n.role == "plc"] == ["plc_tank", "plc_filler"]
    assert {step.technique for step in scenario.campaign} == set(TECHNIQUES)
    assert len(scenario.objectives) >= 5
    assert len(scenario.injects) >= 8
    assert all("【演练】" in inject.body.zh for inject in scenario.injects)
    assert {seat.cell for seat in scenario.seats} == {"white", "blue", "observer"}
    assert {console for seat in scenario.seats for console in seat.consoles} == {"secops", "firewall"}


def test_every_defence_asks_for_living_production_and_every_objective_has_a_hint_or_is_a_choice() -> None:
    scenario = load(FOLDER)

    assert scenario.production is not None
    assert {poll.server for poll in scenario.production.polls if poll.kind == "poll_alive"} == {
        "plc_tank",
        "plc_filler",
    }
    hinted = {hint.objective for hint in scenario.hints}
    assert {o.id for o in scenario.objectives} - hinted == {"report"}
    assert all(o.opens_after for o in scenario.objectives)


@pytest.mark.parametrize("team", TEAMS)
def test_every_team_gets_a_lab_whose_parts_fit(team: str) -> None:
    lab = compiled(team)
    register, coil = lab.draws["setpoint_register"], lab.draws["interlock_coil"]

    for node in ("plc_tank", "plc_filler"):
        spec = program(lab, node, "modbus_plc").spec
        tags = LOGICS[spec["logic"]]().tags
        starts = {tag.name: spec["tags"][tag.name].get("start", tag.start) for tag in tags}
        memory = Memory(cast(Controller, SimpleNamespace(tag_list=tags, tags=starts)), spec["tags"], spec["size"])
        if node == "plc_filler":
            assert memory.tag_at("holding", register) == "fill_setpoint"
            assert memory.tag_at("coil", coil) == "interlock"
            assert memory.raw("holding", register) == lab.draws["nominal"]
    MODELS[program(lab, "plant", "plant").spec["model"]](program(lab, "plant", "plant").spec["parameters"])

    for device in program(lab, "hmi", "modbus_hmi").spec["devices"]:
        polled = {(b["table"], b["address"] + i) for b in device["blocks"] for i in range(b["count"])}
        assert {(t["table"], t["address"]) for t in device["tags"]} <= polled

    policy = Policy.of(program(lab, "sensor", "sensor").spec["policy"])
    assert policy.limits[0].low <= lab.draws["nominal"] <= policy.limits[0].high < lab.draws["overfill"]
    assert policy.assets[lab.address("plc_filler")] == "灌装控制器"
    assert lab.address("attacker") not in policy.assets
    for step in lab.scenario.campaign:
        assert step.technique in STEPS[step.step].techniques


def test_answers_differ_between_teams() -> None:
    answers = {
        (
            lab.address("attacker"),
            lab.draws["setpoint_register"],
            lab.draws["interlock_coil"],
            lab.draws["ops_password"],
        )
        for lab in map(compiled, TEAMS[:10])
    }

    assert len(answers) == 10


def test_the_solver_types_only_what_a_blue_seat_may() -> None:
    lab = compiled("team-1")
    consoles = {console for seat in lab.scenario.seats if seat.cell == "blue" for console in seat.consoles}

    typed = [action for action in lab.scenario.solver if isinstance(action, SolverExec)]

    assert {action.node for action in typed} <= consoles
    assert {action.argv[0] for action in typed} == {"lb-ssh", "lb-modbus", "lb-fw"}
    assert "${" not in str([action.argv for action in typed])


async def won(tmp_path: Path, driver_name: str, speed: float) -> tuple[Lab, list[str]]:
    """A whole drill by the scripted blue team; (the ended lab, ids of verified objectives)."""
    probe = await registry.probe(driver_name)
    if not probe.usable:
        pytest.skip(f"driver {driver_name} cannot work here: {probe.reason}. {probe.remedy}")
    scenario = load(FOLDER)
    driver = registry.load(driver_name)()
    lab = Lab(
        scenario, range_id=f"{time.time_ns():x}"[-12:], seed="seed", team="bot", driver=driver, folder=tmp_path / "lab",
        block=ipaddress.IPv4Network(f"{BLOCK}/{block_prefix(scenario)}"), speed=speed, campaign="auto",
    )  # fmt: skip
    try:
        await lab.launch()
        await lab.steer_campaign("start")
        done = await solve(lab)
        assert [d.said for d in done if not d.ok] == []
        return lab, [name for name, state in lab.objectives.states.items() if state.state == "verified"]
    finally:
        await lab.destroy("test over")
        await driver.aclose()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.netns
async def test_captures_of_a_won_drill_are_whole(tmp_path: Path) -> None:
    lab, verified = await won(tmp_path, "netns", speed=8)

    assert sorted(verified) == sorted(o.id for o in lab.source.objectives)
    assert {s.state for name, s in lab.campaign.states.items() if name != "insist"} == {"done"}
    assert lab.campaign.states["insist"].state in ("blocked", "running", "waiting")
    rules = set(lab.alerts_of)
    assert rules, "the sensor said nothing about an attack that succeeded"
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("won, but the captures were not re-read: tshark is missing, apt-get install tshark")
    captures = sorted((tmp_path / "lab" / "captures").rglob("*.pcapng"))

    def count(display_filter: str) -> int:
        return sum(
            len(
                subprocess.run(
                    [tshark, "-r", str(f), "-Y", display_filter], capture_output=True, check=True
                ).stdout.splitlines()
            )
            for f in captures
        )

    assert count("modbus") >= 500
    assert count("modbus.func_code == 6") >= 2
    assert count("_ws.malformed || tcp.analysis.lost_segment") == 0
