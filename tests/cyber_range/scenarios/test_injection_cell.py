"""The injection-moulding cell: every team's draws build a lab that fits, and the machine that suffers is the drawn one."""

from __future__ import annotations

import functools
import ipaddress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import cyber_range.scenarios.injection_cell as package
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.agents.modbus_plc import Memory
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.plan import ProgramPlan
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import PlantCountCheck, Scenario, SolverExec
from cyber_range.engine.sensor.policy import Policy

FOLDER = Path(next(iter(package.__path__)))
TEAMS = [f"team-{number}" for number in range(50)]
CABINETS = ("plc_a", "plc_b", "plc_c")


@functools.cache
def packaged() -> Scenario:
    return load(FOLDER)


def compiled(team: str) -> Compiled:
    scenario = packaged()
    block = ipaddress.IPv4Network(f"10.214.0.0/{block_prefix(scenario)}")
    return compile_range(scenario, range_id="0123456789ab", seed="seed", team=team, block=block)


def program(lab: Compiled, node: str, use: str) -> ProgramPlan:
    return next(p for p in lab.plan.node(node).programs if p.use == use)


def test_it_is_as_big_as_a_drill_needs() -> None:
    scenario = packaged()

    assert 10 <= len(scenario.nodes) <= 14
    assert [z.name for z in scenario.zones if not z.hidden] == ["outside", "office", "dmz", "workshop"]
    assert [n.name for n in scenario.nodes if n.role == "plc"] == list(CABINETS)
    assert {step.technique for step in scenario.campaign} == {
        "T0822", "T0859", "T0846", "T0888", "T0861", "T0801", "T0838", "T0837", "T0836", "T0831",
    }  # fmt: skip
    assert {step.id: step.on_blocked for step in scenario.campaign if step.on_blocked} == {
        "remote": "remote_old", "second_wave": "other_door",
    }  # fmt: skip
    assert [o.id for o in scenario.objectives if o.kind == "defence"] == [
        "close_accounts", "cut_path", "restore_setpoints", "restore_guards",
    ]  # fmt: skip
    assert sum(o.points for o in scenario.objectives) == 100
    assert all(o.opens_after for o in scenario.objectives)
    assert len(scenario.injects) >= 8
    assert all(inject.body.zh.startswith("【演练】") for inject in scenario.injects)
    assert {seat.cell for seat in scenario.seats} == {"white", "blue", "observer"}
    assert {o.id for o in scenario.objectives} - {hint.objective for hint in scenario.hints} == {"report"}


@pytest.mark.parametrize("team", TEAMS)
def test_every_team_gets_a_lab_whose_parts_fit(team: str) -> None:
    lab = compiled(team)
    draws = lab.draws

    for node in CABINETS:
        spec = program(lab, node, "modbus_plc").spec
        tags = LOGICS[spec["logic"]]().tags
        starts = {tag.name: spec["tags"][tag.name].get("start", tag.start) for tag in tags}
        memory = Memory(cast(Controller, SimpleNamespace(tag_list=tags, tags=starts)), spec["tags"], spec["size"])
        assert memory.tag_at("holding", draws["clamp_register"]) == "clamp_setpoint"
        assert memory.tag_at("holding", draws["nozzle_register"]) == "nozzle_setpoint"
        assert memory.tag_at("holding", draws["limit_register"]) == "limit_clamp_high"
        assert memory.tag_at("holding", 190) == "limit_melt_high"
        assert memory.tag_at("coil", draws["interlock_coil"]) == "interlock"
        assert memory.raw("holding", draws["clamp_register"]) == draws["clamp"]
    plant = program(lab, "plant", "plant").spec
    model = MODELS[plant["model"]](plant["parameters"])
    assert sorted(plant["controllers"]) == sorted(model.CONTROLLERS)
    assert plant["controllers"][f"press{draws['machines']['a']}"] == lab.address("plc_a", "fieldbus")
    assert 1150 < draws["crush"] < 1300 < draws["blind"]  # the mould's rating, what the clamp can do

    variables = {variable.name for variable in model.variables()}
    counted = [c for o in lab.scenario.objectives for c in o.checks if isinstance(c, PlantCountCheck)]
    assert {c.variable for c in counted} <= variables
    assert f"m{draws['machines']['a']}_good" in {c.variable for c in counted}

    for device in program(lab, "hmi", "modbus_hmi").spec["devices"]:
        polled = {(b["table"], b["address"] + i) for b in device["blocks"] for i in range(b["count"])}
        assert {(t["table"], t["address"]) for t in device["tags"]} <= polled

    policy = Policy.of(program(lab, "sensor", "sensor").spec["policy"])
    assert all(limit.low <= 2300 <= limit.high < draws["hot"] for limit in policy.limits)
    assert lab.address("attacker") not in policy.assets
    for step in lab.scenario.campaign:
        assert step.technique in STEPS[step.step].techniques


def test_the_ledger_says_which_cabinet_belongs_to_which_machine() -> None:
    lab = compiled("team-3")

    files = program(lab, "share", "file_share").spec["files"]

    for cabinet in "abc":
        machine = lab.draws["machines"][cabinet]
        row = f"{cabinet.upper()} 柜,{lab.address('plc_' + cabinet)},YC-120SE,{machine} 号注塑机,葛师傅"
        assert row in files["/设备/设备台账.csv"].splitlines()


def test_answers_differ_between_teams() -> None:
    answers = {
        (lab.address("attacker"), lab.draws["machines"]["a"], lab.draws["clamp_register"])
        for lab in map(compiled, TEAMS[:10])
    }

    assert len(answers) == 10


def test_the_solver_types_only_what_a_blue_seat_may() -> None:
    lab = compiled("team-1")
    consoles = {console for seat in lab.scenario.seats if seat.cell == "blue" for console in seat.consoles}

    typed = [action for action in lab.scenario.solver if isinstance(action, SolverExec)]

    assert {action.node for action in typed} <= consoles
    assert {action.argv[0] for action in typed} == {"lb-ssh", "lb-modbus", "lb-fw", "lb-web"}
    assert "${" not in str([action.argv for action in typed])
