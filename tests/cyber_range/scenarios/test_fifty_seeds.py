"""Every scenario, on paper, with fifty seeds: its script wins, its answers differ between teams, its validator is content."""

from __future__ import annotations

import ipaddress

import pytest

from cyber_range.engine.cli.ranges import SCENARIOS
from cyber_range.engine.lab.compile import Compiled, block_prefix, compile_range
from cyber_range.engine.lab.paper import on_paper
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import Scenario, SubmissionCheck

NAMES = sorted(path.parent.name for path in SCENARIOS.glob("*/scenario.yml"))
SEEDS = 50


def compiled(scenario: Scenario, seed: str, team: str = "blue") -> Compiled:
    block = ipaddress.IPv4Network(f"10.213.0.0/{block_prefix(scenario)}")
    return compile_range(scenario, range_id="0123456789ab", seed=seed, team=team, block=block)


@pytest.fixture(scope="module", params=NAMES)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return load(SCENARIOS / request.param)


def test_fifty_seeds_are_won_on_paper(scenario: Scenario) -> None:
    verdicts = {seed: on_paper(compiled(scenario, f"seed-{seed}")) for seed in range(SEEDS)}

    assert {seed: verdict.faults for seed, verdict in verdicts.items() if verdict.faults} == {}


def test_answers_differ_between_teams(scenario: Scenario) -> None:
    def answers(team: str) -> list[str]:
        return [
            str(check.answer)
            for objective in compiled(scenario, "seed", team).scenario.objectives
            for check in objective.checks
            if isinstance(check, SubmissionCheck) and not check.choices
        ]

    per_team = [answers(f"team-{number}") for number in range(12)]

    varying = [len(set(column)) > 1 for column in zip(*per_team, strict=True)]
    assert sum(varying) >= 2
    assert len({tuple(row) for row in per_team}) >= 10


def test_it_is_a_drill_and_not_a_sketch(scenario: Scenario) -> None:
    """The contract of every packaged scenario."""
    shown = [zone for zone in scenario.zones if not zone.hidden]
    kinds = {objective.kind for objective in scenario.objectives}
    hinted = {hint.objective for hint in scenario.hints}

    assert len(scenario.nodes) >= 10
    assert len(shown) >= 3
    assert len(scenario.campaign) >= 5
    assert len(scenario.objectives) >= 5
    assert {"detect", "defence", "report"} <= kinds | {"detect"}
    assert "defence" in kinds
    assert all(objective.opens_after for objective in scenario.objectives)
    assert scenario.production is not None
    assert scenario.plug
    assert len(scenario.injects) >= 8
    assert all("【演练】" in inject.body.zh for inject in scenario.injects)
    assert any(inject.expects == "decision" for inject in scenario.injects)
    assert {seat.cell for seat in scenario.seats} >= {"white", "blue", "observer"}
    assert {objective.id for objective in scenario.objectives if objective.kind == "defence"} <= hinted
    assert (SCENARIOS / scenario.id / "README.md").stat().st_size > 1500
