"""The borrowed tunnel: one account, two people; every team's draws build a lab whose parts fit."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest

import cyber_range.scenarios.supplier_vpn as package
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import FlowBlockedCheck, LoginCheck, SolverExec, StateCheck
from cyber_range.engine.sensor.policy import Policy

FOLDER = Path(next(iter(package.__path__)))
SCENARIO = load(FOLDER)
TEAMS = [f"team-{number}" for number in range(50)]
WRITE_TAG = 0x4D


def compiled(team: str) -> Compiled:
    block = ipaddress.IPv4Network(f"10.213.0.0/{block_prefix(SCENARIO)}")
    return compile_range(SCENARIO, range_id="0123456789ab", seed="seed", team=team, block=block)


def spec(lab: Compiled, node: str) -> dict[str, Any]:
    return dict(lab.plan.node(node).programs[0].spec)


def network(lab: Compiled, zone: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(next(one.subnet for one in lab.plan.zones if one.name == zone))


def test_it_is_as_big_as_a_drill_needs() -> None:
    assert 10 <= len(SCENARIO.nodes) <= 14
    assert [z.name for z in SCENARIO.zones if not z.hidden] == ["outside", "supplier", "office", "dmz", "workshop"]
    assert {s.technique for s in SCENARIO.campaign} == {
        "T0862", "T0822", "T0859", "T0846", "T0888", "T0861", "T0848", "T0838", "T0836", "T0831",
    }  # fmt: skip
    assert all(s.technique in STEPS[s.step].techniques for s in SCENARIO.campaign)
    assert {s.id: s.on_blocked for s in SCENARIO.campaign if s.on_blocked} == {
        "login": "trial_login",
        "insist": "come_back",
    }
    assert all(o.opens_after for o in SCENARIO.objectives)
    assert {o.id for o in SCENARIO.objectives} - {h.objective for h in SCENARIO.hints} == {"report"}
    assert len(SCENARIO.injects) >= 8
    assert all(i.body.zh.startswith("【演练】") for i in SCENARIO.injects)


def test_the_tunnel_is_closed_to_the_internet_and_open_to_the_engineer() -> None:
    timebox, revoke = SCENARIO.objective("timebox").checks, SCENARIO.objective("revoke").checks

    assert [(c.source, c.target) for c in timebox if isinstance(c, FlowBlockedCheck)] == [("attacker", "vpn")]
    assert [(c.kind, c.source) for c in timebox if isinstance(c, LoginCheck)] == [("login_works", "engineer")]
    assert [(c.field, c.equals) for c in timebox if isinstance(c, StateCheck)] == [("timed", True)]
    assert [c.kind for c in revoke if isinstance(c, LoginCheck)] == ["login_fails", "login_fails"]
    assert [(c.field, c.equals) for c in revoke if isinstance(c, StateCheck)] == [("strangers", 0), ("sessions", 0)]


@pytest.mark.parametrize("team", TEAMS)
def test_every_team_gets_a_lab_whose_parts_fit(team: str) -> None:
    lab = compiled(team)
    vpn, engineer, plant = spec(lab, "vpn"), spec(lab, "engineer"), spec(lab, "plant")

    accounts = {account["user"]: account for account in vpn["accounts"]}
    assert len(accounts) == 3
    vendor = accounts[engineer["user"]]
    assert engineer["passwords"] == [vendor["password"], lab.draws["new_password"]]
    assert vendor["password"] != lab.draws["new_password"]
    assert len(lab.draws["new_password"]) >= 10  # the gateway takes no shorter one
    for user in (lab.draws["vendor_user"], lab.draws["trial_user"]):
        reach = {ipaddress.IPv4Network(target.rpartition(":")[0]) for target in accounts[user]["forward"]}
        assert all(any(ipaddress.IPv4Address(m) in one for one in reach) for m in engineer["machines"])

    assert ipaddress.IPv4Address(lab.address("engineer")) in network(lab, "supplier")
    assert ipaddress.IPv4Address(lab.address("attacker")) in network(lab, "outside")
    order = spec(lab, "share")["files"]["/设备/今日工单.md"]
    assert f"WX-{lab.draws['work_order']}" in order
    assert str(network(lab, "supplier")) in order

    MODELS[str(plant["model"])](plant["parameters"])
    assert set(plant["controllers"]) == {"cnc1", "cnc2", "coolant"}
    known = {tag.name for tag in LOGICS["cnc_machine"]().tags}
    for node in ("plc_a", "plc_b"):
        tags = spec(lab, node)["tags"]
        assert set(tags) <= known
        named = [str(tags.get(name, {}).get("name", name)) for name in known]
        assert len(set(named)) == len(named)
    assert set(engineer["tags"]) <= known
    assert spec(lab, "plc_a")["controller"] != spec(lab, "plc_b")["controller"]

    policy = Policy.of(spec(lab, "sensor")["policy"])
    allowed = {(m.client, m.server): m.functions for m in policy.masters if m.proto == "enip"}
    assert WRITE_TAG not in allowed[lab.address("vpn"), lab.address("plc_a")]  # by contract the supplier reads
    assert WRITE_TAG in allowed[lab.address("secops"), lab.address("plc_a")]


def test_answers_differ_between_teams() -> None:
    labs = [compiled(team) for team in TEAMS[:10]]

    assert len({(lab.address("attacker"), lab.draws["tool"]) for lab in labs}) >= 9


def test_the_solver_types_only_what_a_blue_seat_may() -> None:
    lab = compiled("team-1")
    consoles = {console for seat in lab.scenario.seats if seat.cell == "blue" for console in seat.consoles}

    typed = [action for action in lab.scenario.solver if isinstance(action, SolverExec)]

    assert {action.node for action in typed} <= consoles
    assert {action.argv[0] for action in typed} == {"lb-ssh", "lb-plc", "lb-fw"}
    assert "${" not in str([action.argv for action in typed])
