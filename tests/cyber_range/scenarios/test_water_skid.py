"""The waterworks on the internet: every team's draws build a lab whose parts fit, and one blocked address is not enough."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

import cyber_range.scenarios.water_skid as package
from cyber_range.engine.agents.iec104_station import Station
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import FlowBlockedCheck, SolverExec
from cyber_range.engine.sensor.policy import Policy

FOLDER = Path(next(iter(package.__path__)))
SCENARIO = load(FOLDER)
TEAMS = [f"team-{number}" for number in range(50)]


def compiled(team: str) -> Compiled:
    block = ipaddress.IPv4Network(f"10.213.0.0/{block_prefix(SCENARIO)}")
    return compile_range(SCENARIO, range_id="0123456789ab", seed="seed", team=team, block=block)


def spec(lab: Compiled, node: str) -> dict[str, object]:
    return dict(lab.plan.node(node).programs[0].spec)


def test_it_is_as_big_as_a_drill_needs() -> None:
    assert 10 <= len(SCENARIO.nodes) <= 14
    assert [z.name for z in SCENARIO.zones if not z.hidden] == ["outside", "town", "office", "works"]
    assert {s.technique for s in SCENARIO.campaign} == {
        "T0883", "T0846", "T0888", "T0861", "T0855", "T0836", "T0804", "T0831",
    }  # fmt: skip
    assert all(s.technique in STEPS[s.step].techniques for s in SCENARIO.campaign)
    assert {s.id: s.on_blocked for s in SCENARIO.campaign if s.on_blocked} == {
        "overdose": "starve",
        "block": "block_again",
    }
    assert all(o.opens_after for o in SCENARIO.objectives)
    assert {o.id for o in SCENARIO.objectives} - {h.objective for h in SCENARIO.hints} == {"report"}
    assert len(SCENARIO.injects) >= 8
    assert all(i.body.zh.startswith("【演练】") for i in SCENARIO.injects)


def test_closing_the_exposure_is_tried_from_every_host_of_the_internet() -> None:
    outside = {node.name for node in SCENARIO.nodes if any(leg.zone == "outside" for leg in node.legs)} - {"firewall"}

    tried = [c for c in SCENARIO.objective("close_exposure").checks if isinstance(c, FlowBlockedCheck)]

    assert {check.source for check in tried} == outside == {"attacker", "supplier"}
    assert SCENARIO.production is not None
    assert {(poll.client, poll.server) for poll in SCENARIO.production.polls if poll.kind == "poll_alive"} == {
        ("hmi", "plc_dosing"),
        ("hmi", "plc_waste"),
        ("town_centre", "rtu"),
    }


@pytest.mark.parametrize("team", TEAMS)
def test_every_team_gets_a_lab_whose_parts_fit(team: str) -> None:
    lab = compiled(team)
    dosing, rtu, plant = spec(lab, "plc_dosing"), spec(lab, "rtu"), spec(lab, "plant")

    for node in ("plc_dosing", "plc_waste"):
        logic = LOGICS[str(spec(lab, node)["logic"])]()
        tags = spec(lab, node)["tags"]
        assert isinstance(tags, dict)
        places = [(tag.table, tags[tag.name]["address"]) for tag in logic.tags]
        assert len(set(places)) == len(places)
    placed = dosing["tags"]
    assert isinstance(placed, dict)
    assert round(placed["residual_setpoint"]["start"] * 100) == lab.draws["nominal"]["raw"]

    tags = rtu["tags"]
    assert isinstance(tags, dict)

    class Memory:
        tags: dict[str, float] = {}  # noqa: RUF012 - nothing is written to it here

        def write(self, tag: str, value: float) -> None:
            raise AssertionError(tag)

    station = Station(Memory(), LOGICS["water_intake"]().tags, tags, common=lab.draws["station"])
    reported = {point.tag.name: point.address for point in station.points}
    centre = lab.plan.node("town_centre").programs[0].spec["devices"][0]
    assert {point["tag"]: point["ioa"] for point in centre["points"]}.items() <= reported.items()
    assert centre["common"] == station.common

    MODELS[str(plant["model"])](plant["parameters"])  # type: ignore[arg-type]  # a mapping, as filled
    policy = Policy.of(lab.plan.node("sensor").programs[0].spec["policy"])
    assert policy.limits[0].low <= lab.draws["nominal"]["raw"] <= policy.limits[0].high < lab.draws["overdose"]
    assert lab.address("attacker") != lab.address("supplier")
    assert {lab.address("attacker"), lab.address("supplier")}.isdisjoint(policy.assets)


def test_answers_differ_between_teams() -> None:
    labs = [compiled(team) for team in TEAMS[:10]]

    assert len({(lab.address("attacker"), lab.draws["setpoint_register"]) for lab in labs}) == 10


def test_the_solver_types_only_what_a_blue_seat_may() -> None:
    lab = compiled("team-1")
    consoles = {console for seat in lab.scenario.seats if seat.cell == "blue" for console in seat.consoles}

    typed = [action for action in lab.scenario.solver if isinstance(action, SolverExec)]

    assert {action.node for action in typed} <= consoles
    assert {action.argv[0] for action in typed} == {"lb-web", "lb-modbus", "lb-fw"}
    assert "${" not in str([action.argv for action in typed])
