"""The CNC workshop under ransom: programs whose checksums the machines know, a backup that is the same, two doors to close."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

import cyber_range.scenarios.cnc_ransomware as package
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.cnc_workshop import checksum
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import FileHashCheck, SolverExec
from cyber_range.engine.sensor.policy import Policy

FOLDER = Path(next(iter(package.__path__)))
SCENARIO = load(FOLDER)
PROGRAMS = {path.name: path.read_text(encoding="utf-8") for path in (FOLDER / "nodes/share/CNC程序").glob("*.nc")}
TEAMS = [f"team-{number}" for number in range(50)]


def compiled(team: str) -> Compiled:
    block = ipaddress.IPv4Network(f"10.213.0.0/{block_prefix(SCENARIO)}")
    return compile_range(SCENARIO, range_id="0123456789ab", seed="seed", team=team, block=block)


def spec(lab: Compiled, node: str, use: str) -> dict[str, object]:
    return dict(next(p for p in lab.plan.node(node).programs if p.use == use).spec)


def test_it_is_as_big_as_a_drill_needs() -> None:
    assert 10 <= len(SCENARIO.nodes) <= 14
    assert [z.name for z in SCENARIO.zones if not z.hidden] == ["outside", "office", "servers", "vault", "workshop"]
    assert {s.technique for s in SCENARIO.campaign} == {"T0865", "T0863", "T0869", "T0867", "T0809", "T0881", "T0828"}
    assert all(s.technique in STEPS[s.step].techniques for s in SCENARIO.campaign)
    assert {s.id: s.on_blocked for s in SCENARIO.campaign if s.on_blocked} == {
        "lock": "lock_drawings",
        "insist": "relock",
    }
    assert {o.id for o in SCENARIO.objectives} - {h.objective for h in SCENARIO.hints} == {"classify"}
    assert all(o.hold_seconds >= 90 for o in SCENARIO.objectives if o.kind == "defence")


def test_every_released_program_is_checked_and_the_backup_holds_it() -> None:
    lab = compiled("team-1")
    shared, saved = spec(lab, "files", "file_share")["files"], spec(lab, "backup", "file_share")["files"]
    assert isinstance(shared, dict)
    assert isinstance(saved, dict)

    checked = {c.path: c.content for c in lab.scenario.objective("restore").checks if isinstance(c, FileHashCheck)}

    assert checked == {f"/CNC程序/{name}": text for name, text in PROGRAMS.items()}
    assert checked.items() <= shared.items()
    assert checked.items() <= saved.items()


@pytest.mark.parametrize("number", [1001, 1002, 1003])
def test_machines_know_the_checksum_of_the_program_that_the_share_holds(number: int) -> None:
    lab = compiled("team-1")
    parameters = spec(lab, "plant", "plant")["parameters"]
    assert isinstance(parameters, dict)

    released = {parameters[f"checksum_{number}"]}
    for node in ("plc_cnc1", "plc_cnc2"):
        tags = spec(lab, node, "modbus_plc")["tags"]
        assert isinstance(tags, dict)
        released.add(tags[f"released_{number}"]["start"])

    assert released == {checksum(PROGRAMS[f"O{number}.nc"])}


@pytest.mark.parametrize("team", TEAMS)
def test_every_team_gets_a_lab_whose_parts_fit(team: str) -> None:
    lab = compiled(team)
    hit = lab.draws["hit"]

    assert hit["count"] == len(set(hit["files"]))
    assert {"/CNC程序/O1001.nc", "/CNC程序/O1003.nc"} <= set(hit["files"]) <= {f"/CNC程序/{n}" for n in PROGRAMS}
    for node in ("plc_cnc1", "plc_cnc2", "plc_coolant"):
        controller = spec(lab, node, "modbus_plc")
        tags = controller["tags"]
        assert isinstance(tags, dict)
        places = [(tag.table, tags[tag.name]["address"]) for tag in LOGICS[str(controller["logic"])]().tags]
        assert len(set(places)) == len(places)
    tags = spec(lab, "plc_cnc1", "modbus_plc")["tags"]
    assert isinstance(tags, dict)
    assert [tags[name]["address"] for name in ("job_program", "job_checksum", "job_quantity")] == [10, 11, 12]
    plant = spec(lab, "plant", "plant")
    MODELS[str(plant["model"])](plant["parameters"])  # type: ignore[arg-type]  # a mapping, as filled
    policy = Policy.of(spec(lab, "sensor", "sensor")["policy"])  # type: ignore[arg-type]
    assert lab.address("attacker") not in policy.assets
    assert policy.assets[lab.address("planner_pc")] == "计划员电脑"


def test_answers_differ_between_teams() -> None:
    labs = [compiled(team) for team in TEAMS[:10]]

    assert len({(lab.address("planner_pc"), lab.draws["tool"], lab.draws["hit"]["count"]) for lab in labs}) == 10


def test_the_solver_types_only_what_a_blue_seat_may() -> None:
    lab = compiled("team-1")
    consoles = {console for seat in lab.scenario.seats if seat.cell == "blue" for console in seat.consoles}

    typed = [action for action in lab.scenario.solver if isinstance(action, SolverExec)]

    assert {action.node for action in typed} <= consoles
    assert {action.argv[0] for action in typed} == {"lb-web", "lb-fw"}
    assert "${" not in str([action.argv for action in typed])
