"""The hardening furnace: every team's draws build a lab that fits, and the altered program lies about what the furnace does."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Mapping
from pathlib import Path

import pytest

import cyber_range.scenarios.furnace_protection as package
from cyber_range.engine.agents.controller_program import Program
from cyber_range.engine.agents.s7_memory import place
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.plan import ProgramPlan
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import FileHashCheck, PlantBandCheck, Scenario, SolverExec
from cyber_range.engine.sensor.policy import Policy

FOLDER = Path(next(iter(package.__path__)))
TEAMS = [f"team-{number}" for number in range(50)]
CONTROLLERS = ("plc_furnace", "plc_quench", "plc_safety")


@functools.cache
def packaged() -> Scenario:
    return load(FOLDER)


def compiled(team: str) -> Compiled:
    scenario = packaged()
    block = ipaddress.IPv4Network(f"10.215.0.0/{block_prefix(scenario)}")
    return compile_range(scenario, range_id="0123456789ab", seed="seed", team=team, block=block)


def program(lab: Compiled, node: str, use: str) -> ProgramPlan:
    return next(p for p in lab.plan.node(node).programs if p.use == use)


def altered(lab: Compiled) -> Program:
    code = str(lab.scenario.step("download").args["code"]).encode()
    return Program({"OB1": code})


def test_it_is_as_big_as_a_drill_needs() -> None:
    scenario = packaged()

    assert 10 <= len(scenario.nodes) <= 14
    assert [z.name for z in scenario.zones if not z.hidden] == ["outside", "office", "dmz", "engineering", "workshop"]
    assert [n.name for n in scenario.nodes if n.role == "plc"] == list(CONTROLLERS)
    assert {step.technique for step in scenario.campaign} == {
        "T0865", "T0863", "T0869", "T0846", "T0888", "T0868", "T0845", "T0843", "T0836", "T0837", "T0889",
    }  # fmt: skip
    assert {step.id: step.on_blocked for step in scenario.campaign if step.on_blocked} == {"download": "write_setpoint"}
    assert [o.id for o in scenario.objectives if o.kind == "defence"] == [
        "isolate_ews", "restore_program", "restore_protection", "restore_temperature",
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
    placed: dict[tuple[str, str], str] = {}

    for node in CONTROLLERS:
        spec = program(lab, node, "s7_plc").spec
        tags: Mapping[str, Mapping[str, str]] = spec["tags"]
        assert set(tags) == {tag.name for tag in LOGICS[spec["logic"]]().tags}
        addresses = [str(place(tag["address"])) for tag in tags.values()]
        assert len(addresses) == len(set(addresses))
        placed |= {(node, name): tag["address"] for name, tag in tags.items()}
    assert placed["plc_safety", "bypass"] == lab.draws["bypass"]
    assert lab.scenario.step("bypass").args["address"] == lab.draws["bypass"]
    assert placed["plc_furnace", "zone3_setpoint"] == lab.scenario.step("write_setpoint").args["address"]

    plant = program(lab, "plant", "plant").spec
    model = MODELS[plant["model"]](plant["parameters"])
    assert sorted(plant["controllers"]) == sorted(model.CONTROLLERS)
    bands = [c.variable for o in lab.scenario.objectives for c in o.checks if isinstance(c, PlantBandCheck)]
    counted = [c.variable for c in lab.scenario.production.produces] if lab.scenario.production else []
    assert {*bands, *counted} <= {variable.name for variable in model.variables()}

    for device in program(lab, "hmi", "hmi").spec["devices"]:
        shown = {tag["name"]: tag["address"] for tag in device["tags"]}
        assert shown == {name: placed[f"plc_{device['name']}", name] for name in shown}

    policy = Policy.of(program(lab, "sensor", "sensor").spec["policy"])
    downloads = {m.client for m in policy.masters if 0x1A in m.functions}
    assert downloads == {lab.address("secops")}
    for step in lab.scenario.campaign:
        assert step.technique in STEPS[step.step].techniques


def test_the_backup_on_the_share_is_what_the_controller_was_delivered_with() -> None:
    lab = compiled("team-5")

    backup = program(lab, "share", "file_share").spec["files"]["/程序备份/炉温控制器-OB1.txt"]

    delivered = program(lab, "plc_furnace", "s7_plc").spec["blocks"]["OB1"]
    checks = [c for c in lab.scenario.objective("restore_program").checks if isinstance(c, FileHashCheck)]
    assert backup == delivered == checks[0].content
    assert Program({"OB1": delivered.encode()}).sha256("OB1") == hashlib.sha256(backup.encode()).hexdigest()
    assert lab.draws["mark"] not in backup


def test_the_altered_program_heats_on_and_shows_the_old_temperature() -> None:
    lab = compiled("team-6")
    code = altered(lab)
    tags = {tag.name: float(tag.start) for tag in LOGICS["furnace"]().tags} | {"zone2": 990.0, "zone3": 985.0}

    code.before(tags)
    asked = {name: tags[name] for name in ("zone1_setpoint", "zone2_setpoint", "zone3_setpoint", "interlock")}
    code.after({"burner2": 100.0}, tags)

    wrong = float(lab.draws["wrong"])
    assert asked == {"zone1_setpoint": 780, "zone2_setpoint": wrong, "zone3_setpoint": wrong, "interlock": 0}
    assert (tags["zone2"], tags["zone3"]) == (860, 860)
    assert wrong < 1120  # the muffle's melting link holds: a late team can still win
    assert f"// {lab.draws['mark']}" in code.blocks["OB1"].decode().splitlines()


def test_answers_differ_between_teams() -> None:
    answers = {(lab.address("attacker"), lab.draws["mark"], lab.draws["bypass"]) for lab in map(compiled, TEAMS[:10])}

    assert len(answers) == 10


def test_the_solver_types_only_what_a_blue_seat_may() -> None:
    lab = compiled("team-1")
    consoles = {console for seat in lab.scenario.seats if seat.cell == "blue" for console in seat.consoles}

    typed = [action for action in lab.scenario.solver if isinstance(action, SolverExec)]

    assert {action.node for action in typed} <= consoles
    assert {action.argv[0] for action in typed} == {"lb-plc", "lb-fw"}
    assert "${" not in str([action.argv for action in typed])
