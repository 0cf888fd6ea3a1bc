"""What the catalogue of steps says about a scenario's campaign: `scenario.load` asks, and knows the file and line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.attack.techniques import TECHNIQUES
from cyber_range.engine.scenario.load import Path_
from cyber_range.engine.scenario.model import Scenario, Step

PROGRAM = "attack"


def campaign_faults(scenario: Scenario) -> Iterator[tuple[Path_, str, str]]:
    """(place, what, remedy): unknown steps, techniques a step is not, knowledge that no step can have gained."""
    ours = {(node.name, program.name) for node in scenario.nodes for program in node.programs if program.use == PROGRAM}
    later = followers(scenario)
    for index, one in enumerate(scenario.campaign):
        if (one.node, one.program) not in ours:
            continue
        base: Path_ = ("campaign", index)
        form = STEPS.get(one.step)
        if form is None:
            close = difflib.get_close_matches(one.step, list(STEPS), n=1)
            remedy = f'Did you mean "{close[0]}"?' if close else "See: python -m cyber_range.engine attack steps"
            yield (*base, "step"), f'the attack program knows no step "{one.step}"', remedy
            continue
        if form.techniques and one.technique not in form.techniques:
            known = TECHNIQUES.get(one.technique)
            name = f" ({known.name})" if known else ""
            yield (
                (*base, "technique"), f"{one.technique}{name} is not what step {form.name} does",
                f"Use one of: {', '.join(form.techniques)}",
            )  # fmt: skip
        for need in sorted(form.needs):
            if not gained(scenario, one, need, later):
                giving = sorted(name for name, other in STEPS.items() if need in other.gains)
                yield (
                    (*base, "step"), f'step {form.name} needs "{need}", and no step before it gains that on {one.node}',
                    f"Begin with one of: {', '.join(giving)}",
                )  # fmt: skip


def gained(scenario: Scenario, one: Step, need: str, later: Mapping[str, set[str]]) -> bool:
    """Whether some step of the same intruder gains it and does not itself wait for this one."""
    for other in scenario.campaign:
        same = other.id != one.id and (other.node, other.program) == (one.node, one.program)
        form = STEPS.get(other.step)
        if same and form is not None and need in form.gains and other.id not in later[one.id]:
            return True
    return False


def followers(scenario: Scenario) -> dict[str, set[str]]:
    """Every step, and all that can begin only after it (over `after` and `on_blocked`)."""
    waits: dict[str, set[str]] = {step.id: set(step.after) for step in scenario.campaign}
    for step in scenario.campaign:
        if step.on_blocked in waits:
            waits[step.on_blocked].add(step.id)
    found: dict[str, set[str]] = {}
    for step in scenario.campaign:
        reached: set[str] = set()
        front = {step.id}
        while front:
            front = {name for name, needed in waits.items() if needed & front} - reached
            reached |= front
        found[step.id] = reached - {step.id}
    return found
