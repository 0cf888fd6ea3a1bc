"""On paper: what a script cannot win is named, and what it would cut by its own rule."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import pytest

from cyber_range.engine.cli.ranges import SCENARIOS
from cyber_range.engine.lab.compile import block_prefix, compile_range
from cyber_range.engine.lab.paper import Rule, Verdict, on_paper
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import Scenario


def verdict(change: Callable[[list[Any]], list[Any]]) -> Verdict:
    """Of filling_line with another script."""
    scenario = load(SCENARIOS / "filling_line")
    changed = Scenario.model_validate(
        {**scenario.model_dump(by_alias=True), "solver": change(scenario.model_dump(by_alias=True)["solver"])}
    )
    block = ipaddress.IPv4Network(f"10.213.0.0/{block_prefix(changed)}")
    return on_paper(compile_range(changed, range_id="0123456789ab", seed="s", team="t", block=block))


def without(word: str) -> Callable[[list[Any]], list[Any]]:
    return lambda script: [one for one in script if word not in str(one)]


def test_the_packaged_script_wins_and_leaves_the_plant_to_the_range() -> None:
    found = verdict(lambda script: script)

    assert (found.faults, found.left) == ((), frozenset({"plant_band", "plant_count"}))


def test_an_answer_that_is_not_handed_in_is_a_fault() -> None:
    assert verdict(without("name_source")).faults == ("name_source: the script hands nothing in",)


def test_a_wrong_answer_is_a_fault() -> None:
    def wrong(script: list[Any]) -> list[Any]:
        return [
            {**one, "value": "10.0.0.1"} if one.get("objective") == "name_source" and "value" in one else one
            for one in script
        ]

    assert verdict(wrong).faults == ("name_source: '10.0.0.1' is not the answer",)


def test_a_point_that_is_written_back_wrong_is_a_fault() -> None:
    def wrong(script: list[Any]) -> list[Any]:
        return [
            {**one, "argv": [*one["argv"][:-1], "1"]}
            if "holding" in one.get("argv", ()) and "write" in one["argv"]
            else one
            for one in script
        ]

    [fault] = verdict(wrong).faults
    assert fault.startswith("restore_setpoint: holding ")


def test_a_rule_that_cuts_production_is_a_fault() -> None:
    def everything(script: list[Any]) -> list[Any]:
        return [*script, {"do": "exec", "node": "firewall", "argv": ["lb-fw", "block", "any", "--port", "8900"]}]

    assert verdict(everything).faults == ("production: historian to hmi:8900 is cut by the script's own rule",)


@pytest.mark.parametrize(
    ("rule", "caught"),
    [
        (Rule(), True), (Rule("10.0.0.0/24", "10.0.1.5", "502"), True), (Rule("10.0.0.7"), False),
        (Rule("10.0.0.9", "10.0.1.5", "503"), False), (Rule("nonsense"), False),
    ],
)  # fmt: skip
def test_a_rule_catches_what_it_names(rule: Rule, caught: bool) -> None:
    assert rule.catches("10.0.0.9", "10.0.1.5", 502) is caught
