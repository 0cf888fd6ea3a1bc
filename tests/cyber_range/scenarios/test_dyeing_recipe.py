"""Recipe theft: every team's draws build a mill whose parts fit; the password is taken back in two places, not one."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

import cyber_range.scenarios.dyeing_recipe as package
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import LoginCheck, SolverExec
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
    assert [z.name for z in SCENARIO.zones if not z.hidden] == ["outside", "office", "servers", "workshop"]
    assert {s.technique for s in SCENARIO.campaign} == {"T0859", "T0801", "T0811", "T0882", "T0836", "T0831"}
    assert all(s.technique in STEPS[s.step].techniques for s in SCENARIO.campaign)
    assert {s.id: s.on_blocked for s in SCENARIO.campaign if s.on_blocked} == {
        "login": "login_again",
        "tamper": "order",
    }
    assert all(o.opens_after for o in SCENARIO.objectives)
    assert {o.id for o in SCENARIO.objectives} - {h.objective for h in SCENARIO.hints} == {"classify"}
    assert len(SCENARIO.injects) >= 8
    assert all(i.body.zh.startswith("【演练】") for i in SCENARIO.injects)


def test_the_stolen_password_is_tried_wherever_it_works() -> None:
    tried = [check for check in SCENARIO.objective("close_account").checks if isinstance(check, LoginCheck)]

    assert {(check.service, check.target) for check in tried} == {("ssh", "jump"), ("http", "mes")}


@pytest.mark.parametrize("team", TEAMS)
def test_every_team_gets_a_mill_whose_parts_fit(team: str) -> None:
    lab = compiled(team)
    vat, dosing, plant, mes = (spec(lab, node) for node in ("plc_vat", "dosing", "plant", "mes"))

    tags = vat["tags"]
    assert isinstance(tags, dict)
    places = [(tag.table, tags[tag.name]["address"]) for tag in LOGICS["dyeing_vat"]().tags]
    assert len(set(places)) == len(places)
    known = {tag.name: tag for tag in LOGICS["dye_dosing"]().tags}
    assert isinstance(dosing["tags"], dict)
    assert set(dosing["tags"]) <= set(known)
    shown = lab.plan.node("panel").programs[0].spec["devices"][0]
    assert set(shown["tags"]) <= set(dosing["tags"])
    assert shown["topic"] == dosing["topic"]

    variables = {v.name for v in MODELS[str(plant["model"])](plant["parameters"]).variables()}  # type: ignore[arg-type]  # a mapping, as filled
    assert {"working", "curve_deviation"} <= variables

    documents = mes["documents"]
    assert isinstance(documents, dict)
    stolen = f"/配方/{lab.draws['recipe']['number']}.csv"
    mark = f"{lab.draws['mark']}-{lab.draws['recipe']['number']}"
    assert [path for path, text in documents.items() if mark in text] == [stolen]
    assert len(documents["/客户/来样对照.csv"].splitlines()) == lab.draws["swatches"]["count"] + 1
    assert spec(lab, "sink")["canaries"] == [mark, lab.draws["swatches"]["canary"]]

    policy = Policy.of(lab.plan.node("sensor").programs[0].spec["policy"])
    assert policy.limits[0].low <= 600 <= policy.limits[0].high < lab.draws["overheat"] < 720  # below the interlock
    assert lab.address("attacker") != lab.address("sink")
    assert {lab.address("attacker"), lab.address("sink")}.isdisjoint(policy.assets)


def test_answers_differ_between_teams() -> None:
    labs = [compiled(team) for team in TEAMS[:10]]

    answers = {
        (lab.address("attacker"), lab.address("sink"), lab.draws["recipe"]["number"], lab.draws["swatches"]["count"])
        for lab in labs
    }

    assert len(answers) == 10


def test_the_solver_types_only_what_a_blue_seat_may() -> None:
    lab = compiled("team-1")
    consoles = {console for seat in lab.scenario.seats if seat.cell == "blue" for console in seat.consoles}

    typed = [action for action in lab.scenario.solver if isinstance(action, SolverExec)]

    assert {action.node for action in typed} <= consoles
    assert {action.argv[0] for action in typed} == {"lb-ssh", "lb-web", "lb-modbus", "lb-fw"}
    assert "${" not in str([action.argv for action in typed])
