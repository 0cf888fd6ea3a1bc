"""The combined exercise: ninety minutes, twenty injects, a red seat, three ways that meet, and a picture that lies."""

from __future__ import annotations

import ipaddress
import json
from datetime import time
from pathlib import Path

import pytest

import cyber_range.scenarios.full_exercise as package
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import SolverExec, ViewTrueCheck
from cyber_range.engine.sensor.policy import Policy

FOLDER = Path(next(iter(package.__path__)))
SCENARIO = load(FOLDER)
TEAMS = [f"team-{number}" for number in range(50)]


def compiled(team: str) -> Compiled:
    block = ipaddress.IPv4Network(f"10.213.0.0/{block_prefix(SCENARIO)}")
    return compile_range(SCENARIO, range_id="0123456789ab", seed="seed", team=team, block=block)


def spec(lab: Compiled, node: str, program: str) -> dict[str, object]:
    return dict(next(one.spec for one in lab.plan.node(node).programs if one.name == program))


def test_it_is_a_whole_exercise() -> None:
    kinds = [objective.kind for objective in SCENARIO.objectives]

    assert (len(SCENARIO.nodes), SCENARIO.duration, len(SCENARIO.injects)) == (14, 90, 20)
    assert {z.name for z in SCENARIO.zones if not z.hidden} == {"outside", "office", "servers", "dmz", "workshop"}
    assert len(kinds) >= 8
    assert set(kinds) == {"detect", "defence", "report"}
    assert all(objective.opens_after for objective in SCENARIO.objectives)
    assert {o.id for o in SCENARIO.objectives} - {h.objective for h in SCENARIO.hints} == {"classify"}


def test_the_attack_goes_from_office_to_line_and_has_other_ways() -> None:
    assert len(SCENARIO.campaign) >= 10
    assert {s.id: s.on_blocked for s in SCENARIO.campaign if s.on_blocked} == {
        "again": "upload",
        "login": "login_again",
        "overfill": "drain",
    }
    assert all(s.technique in STEPS[s.step].techniques for s in SCENARIO.campaign)
    assert {"T0865", "T0882", "T0822", "T0836", "T0832"} <= {s.technique for s in SCENARIO.campaign}
    assert {s.node for s in SCENARIO.campaign} == {"attacker", "sales_pc"}


def test_red_has_a_terminal_of_its_own_and_nothing_of_blue() -> None:
    red = SCENARIO.seat("red")
    blue = {console for seat in SCENARIO.seats if seat.cell == "blue" for console in seat.consoles}
    program = next(p for p in SCENARIO.node("attacker").programs if p.use == "attack")

    assert (red.cell, red.consoles, red.sees) == ("red", ("attacker",), ("outside",))
    assert "attacker" not in blue
    assert program.spec["person"] is True
    # Nothing is measured from, or asked of, the machine a person may hold.
    for objective in SCENARIO.objectives:
        assert all(getattr(check, "source", "") != "attacker" for check in objective.checks)
        assert all(getattr(check, "node", "") != "attacker" for check in objective.checks)


def test_each_message_has_a_reader_and_the_cards_stay_apart() -> None:
    to_red = {inject.id for inject in SCENARIO.injects if "red" in inject.to}
    with_passwords = [i for i in SCENARIO.injects if "_password}" in i.body.zh]

    assert to_red == {"opening", "red_card", "closing"}
    assert all(inject.body.zh.startswith("【演练】") for inject in SCENARIO.injects)
    assert {i.id: set(i.to) for i in with_passwords} == {
        "envelope": {"blue_analyst", "blue_operator"},
        "red_card": {"red"},
    }
    assert sum(inject.expects == "decision" for inject in SCENARIO.injects) >= 8
    assert sum(inject.expects == "reply" for inject in SCENARIO.injects) >= 6


def test_the_manual_names_every_inject_and_every_seat() -> None:
    manual = (FOLDER / "README.md").read_text(encoding="utf-8")

    rows = [line for line in manual.splitlines() if line.startswith("| ") and line[2:4].strip().isdigit()]
    assert len([row for row in rows if row.count("|") == 6]) == len(SCENARIO.injects)
    for seat in SCENARIO.seats:
        assert seat.title.zh in manual
    for heading in ("时间表", "席位", "预期反应与评分", "复盘要问的", "整改单", "收场"):
        assert heading in manual
    assert all(step.technique in manual for step in SCENARIO.campaign)


@pytest.mark.parametrize("team", TEAMS)
def test_every_team_gets_a_plant_whose_parts_fit(team: str) -> None:
    lab = compiled(team)
    filler, tank, plant = (
        spec(lab, *where) for where in (("plc_filler", "modbus_plc"), ("plc_tank", "mqtt_device"), ("plant", "plant"))
    )

    tags = filler["tags"]
    assert isinstance(tags, dict)
    places = [(tag.table, tags[tag.name]["address"]) for tag in LOGICS["filler"]().tags]
    assert len(set(places)) == len(places)
    assert isinstance(tank["tags"], dict)
    assert set(tank["tags"]) <= {tag.name for tag in LOGICS["tank"]().tags}

    variables = {v.name for v in MODELS[str(plant["model"])](plant["parameters"]).variables()}  # type: ignore[arg-type]  # a mapping, as filled
    shown = spec(lab, "hmi", "panel")["devices"]
    assert isinstance(shown, list)
    assert set(shown[0]["tags"]) <= set(tank["tags"])
    assert shown[0]["topic"] == tank["topic"]
    [view] = [c for o in lab.scenario.objectives for c in o.checks if isinstance(c, ViewTrueCheck)]
    assert (view.device, view.tag in shown[0]["tags"], view.variable in variables) == ("tank", True, True)

    lie = next(step for step in lab.scenario.campaign if step.id == "mask").args["reports"][0]
    assert (
        json.loads(lie["payload"])["values"]["level"] - view.within > lab.draws["low_level"] > 10
    )  # below 10 it stops

    documents = spec(lab, "erp", "business_app")["documents"]
    assert isinstance(documents, dict)
    assert len(documents["/客户/网店客户.csv"].splitlines()) == lab.draws["customers"]["count"] + 1
    found, due = (time.fromisoformat(lab.draws["clock"][key]) for key in ("found", "due"))
    assert (due.hour - found.hour, due.minute) == (4, found.minute)
    assert lab.draws["members"] >= 1_000_000

    live, kept = spec(lab, "files", "file_share")["files"], spec(lab, "erp", "backup")["files"]
    assert isinstance(live, dict)
    assert isinstance(kept, dict)
    assert {path: live[path] for path in kept} == kept
    assert f"灌装设定值 {lab.draws['nominal']} mL" in kept["/工艺/灌装作业指导书.md"]
    assert lab.draws["vendor_password"] in live["/信息化/供应商远程说明.txt"]

    policy = Policy.of(lab.plan.node("sensor").programs[0].spec["policy"])
    limit = policy.limits[0]
    assert limit.low <= lab.draws["nominal"] <= limit.high < lab.draws["overfill"]
    strangers = {lab.address("attacker"), lab.address("cloud")}
    assert len(strangers) == 2
    assert strangers.isdisjoint(policy.assets)


def test_answers_differ_between_teams() -> None:
    labs = [compiled(team) for team in TEAMS[:10]]

    answers = {
        (lab.address("attacker"), lab.address("sales_pc"), lab.draws["customers"]["count"], lab.draws["clock"]["due"])
        for lab in labs
    }

    assert len(answers) == 10


def test_the_solver_types_only_what_a_blue_seat_may() -> None:
    lab = compiled("team-1")
    consoles = {console for seat in lab.scenario.seats if seat.cell == "blue" for console in seat.consoles}

    typed = [action for action in lab.scenario.solver if isinstance(action, SolverExec)]

    assert {action.node for action in typed} <= consoles
    assert {action.argv[0] for action in typed} == {"lb-ssh", "lb-web", "lb-modbus", "lb-plc", "lb-fw"}
    assert "${" not in str([action.argv for action in typed])
