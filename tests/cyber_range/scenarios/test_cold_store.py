"""The cold store's open network: every team's draws build a lab whose parts fit, and the door is closed at both ends."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest

import cyber_range.scenarios.cold_store as package
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import FlowBlockedCheck, SolverExec, StateCheck, ViewTrueCheck
from cyber_range.engine.sensor.policy import Policy

FOLDER = Path(next(iter(package.__path__)))
SCENARIO = load(FOLDER)
TEAMS = [f"team-{number}" for number in range(50)]
KIND = {"holding": "analog-value", "input": "analog-input", "coil": "binary-value", "discrete": "binary-input"}


def compiled(team: str) -> Compiled:
    block = ipaddress.IPv4Network(f"10.213.0.0/{block_prefix(SCENARIO)}")
    return compile_range(SCENARIO, range_id="0123456789ab", seed="seed", team=team, block=block)


def spec(lab: Compiled, node: str) -> dict[str, Any]:
    return dict(lab.plan.node(node).programs[0].spec)


def objects(lab: Compiled, node: str) -> dict[str, str]:
    """Tag -> object of a controller."""
    said = spec(lab, node)
    tables = {tag.name: tag.table for tag in LOGICS[said["logic"]]().tags}
    return {name: f"{KIND[tables[name]]},{where['object']}" for name, where in said["tags"].items()}


def test_it_is_as_big_as_a_drill_needs() -> None:
    assert 10 <= len(SCENARIO.nodes) <= 14
    assert [z.name for z in SCENARIO.zones if not z.hidden] == ["outside", "trace", "office", "cold"]
    assert {s.technique for s in SCENARIO.campaign} == {
        "T0883", "T0846", "T0888", "T0861", "T0838", "T0856", "T0836", "T0855", "T0816", "T0804", "T0831",
    }  # fmt: skip
    assert all(s.technique in STEPS[s.step].techniques for s in SCENARIO.campaign)
    assert {s.id: s.on_blocked for s in SCENARIO.campaign if s.on_blocked} == {
        "register": "direct",
        "silence": "silence_again",
        "warm": "stop_chiller",
    }
    assert all(o.opens_after for o in SCENARIO.objectives)
    assert {o.id for o in SCENARIO.objectives} - {h.objective for h in SCENARIO.hints} == {"report"}
    assert len(SCENARIO.injects) >= 8
    assert all(i.body.zh.startswith("【演练】") for i in SCENARIO.injects)


def test_the_door_is_tried_from_every_host_outside_and_asked_of_the_broadcast_manager_itself() -> None:
    outside = {node.name for node in SCENARIO.nodes if any(leg.zone == "outside" for leg in node.legs)} - {"firewall"}
    checks = SCENARIO.objective("close_door").checks

    tried = [check for check in checks if isinstance(check, FlowBlockedCheck)]

    assert {(check.source, check.proto) for check in tried} == {(name, "bacnet") for name in outside}
    assert [(c.ask, c.field, c.equals) for c in checks if isinstance(c, StateCheck)] == [
        ("bbmd", "accept_foreign", False)
    ]


def test_what_the_screen_shows_is_held_against_the_plant() -> None:
    check = next(c for c in SCENARIO.objective("true_picture").checks if isinstance(c, ViewTrueCheck))
    lab = compiled("team-1")
    shown = next(d for d in spec(lab, "bms")["devices"] if d["name"] == check.device)["points"]

    assert check.tag in {point["tag"] for point in shown}
    assert check.variable in {one.name for one in MODELS["cold_store"]({}).variables()}


@pytest.mark.parametrize("team", TEAMS)
def test_every_team_gets_a_lab_whose_parts_fit(team: str) -> None:
    lab = compiled(team)
    rooms, chiller = objects(lab, "plc_rooms"), objects(lab, "plc_chiller")

    assert len(set(rooms.values())) == len(rooms)
    assert len(set(chiller.values())) == len(chiller)
    for device, placed in zip(spec(lab, "bms")["devices"], (rooms, chiller), strict=True):
        assert all(placed[point["tag"]] == point["object"] for point in device["points"])
    assert all(chiller[p["tag"]] == p["object"] for p in spec(lab, "service")["devices"][0]["points"])
    assert spec(lab, "plc_rooms")["instance"] != spec(lab, "plc_chiller")["instance"]

    steps = {step.id: step.args for step in lab.scenario.campaign}
    assert steps["warm"]["object"] == steps["insist"]["object"] == rooms["chill_setpoint"]
    assert steps["blind"]["object"] == rooms["limit_chill_high"]
    assert steps["lie"]["object"] == rooms["chill_temp"]
    assert steps["stop_chiller"]["object"] == chiller["run"]
    assert 1 < lab.draws["priority"] < 8  # above the operator's, below the plug-puller's

    table = spec(lab, "share")["files"]["/设备/BACnet点表.md"]
    assert all(rooms[tag] in table for tag in ("chill_setpoint", "limit_chill_high", "chill_temp"))

    plant = spec(lab, "plant")
    MODELS[str(plant["model"])](plant["parameters"])
    policy = Policy.of(spec(lab, "sensor")["policy"])
    assert lab.address("attacker") != lab.address("service")
    assert {lab.address("attacker"), lab.address("service")}.isdisjoint(policy.assets)


def test_answers_differ_between_teams() -> None:
    labs = [compiled(team) for team in TEAMS[:10]]

    answers = {(lab.address("attacker"), lab.draws["setpoint_object"], lab.draws["priority"]) for lab in labs}

    assert len(answers) >= 9


def test_the_solver_types_only_what_a_blue_seat_may() -> None:
    lab = compiled("team-1")
    consoles = {console for seat in lab.scenario.seats if seat.cell == "blue" for console in seat.consoles}

    typed = [action for action in lab.scenario.solver if isinstance(action, SolverExec)]

    assert {action.node for action in typed} <= consoles
    assert {action.argv[0] for action in typed} == {"lb-web", "lb-plc", "lb-fw"}
    assert "${" not in str([action.argv for action in typed])
