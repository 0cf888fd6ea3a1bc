"""一企一策: from a result to the cheapest steps that lift the enterprise to the next level.

Order: what the next level still asks for (constrained scenes first, smallest lift first), then unticked options by
points per effort. Steps beyond the next level's need follow as an outlook, so that a plan is never empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lms.maturity.domain.instrument import Answers, Instrument, Result, chosen_options, is_answered


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `gain` is points (items) or 0 (scenes, which count as scenes); effort 1 low, 3 high."""

    key: str  # "item:network:ics_network" or "scene:equipment_mgmt:1->2"
    title: str
    action: str
    evidence: str
    owner: str
    tags: tuple[str, ...]
    effort: int
    gain: Decimal
    needed: bool  # counts toward the next level
    constrained: bool = False


def advise(instrument: Instrument, answers: Answers, result: Result) -> list[Step]:
    """Every step worth taking, the needed ones first, in the order to take them."""
    scenes = scene_steps(instrument, result)
    items = item_steps(instrument, answers, result)
    wanted = scenes + items
    return [s for s in wanted if s.needed] + sorted(
        (s for s in wanted if not s.needed), key=lambda s: (s.effort, -s.gain, s.key)
    )


def scene_steps(instrument: Instrument, result: Result) -> list[Step]:
    """For every scene below the next level's grade its next step; as many as the level asks are `needed`."""
    following = result.next
    if following is None:
        return []
    rule = next(rule for rule in instrument.rules if rule.level == following.level)
    rows = {(row["scene"], row["from"]): row for row in instrument.plan_scenes}
    lifts = []
    for code, grade in result.grades:
        scene = instrument.scene(code)
        if grade < rule.scene_level and (code, grade) in rows:
            lifts.append((not scene.constrained, rule.scene_level - grade, rows[code, grade]["effort"], code, grade))
    lifts.sort()
    constrained_left, any_left = following.constrained, following.scenes
    steps = []
    for free, _gap, _effort, code, grade in lifts:
        scene, row = instrument.scene(code), rows[code, grade]
        needed = any_left > 0 or (not free and constrained_left > 0)
        any_left -= needed
        constrained_left -= needed and not free
        steps.append(
            Step(
                key=f"scene:{code}:{grade}->{grade + 1}",
                title=f"{scene.title} {grade}→{grade + 1} 级",
                action=row["action"],
                evidence=row.get("evidence", ""),
                owner=row.get("owner", ""),
                tags=tuple(row["tags"]),
                effort=row["effort"],
                gain=Decimal(0),
                needed=needed,
                constrained=scene.constrained,
            )
        )
    return steps


def item_steps(instrument: Instrument, answers: Answers, result: Result) -> list[Step]:
    """For every question the options not yet reached, best points per effort first, until the points suffice."""
    missing = result.next.points if result.next else Decimal(0)
    candidates = []
    for row in instrument.plan_items:
        item = instrument.item(row["item"])
        gain = option_gain(instrument, answers, row)
        if gain > 0 and is_next_band(instrument, answers, row):
            candidates.append((-(gain / row["effort"]), row["effort"], item.code, row, gain))
    candidates.sort(key=lambda c: c[:3])
    steps = []
    for _rank, effort, code, row, gain in candidates:
        item = instrument.item(code)
        option = next(o for o in item.options if o.code == row["option"])
        needed = missing > 0
        missing -= gain if needed else 0
        steps.append(
            Step(
                key=f"item:{code}:{option.code}",
                title=f"{item.name}: {option.label}",
                action=row["action"],
                evidence=row.get("evidence", ""),
                owner=row.get("owner", ""),
                tags=tuple(row["tags"]),
                effort=effort,
                gain=gain,
                needed=needed,
            )
        )
    return steps


def option_gain(instrument: Instrument, answers: Answers, row: Mapping[str, Any]) -> Decimal:
    """Points that reaching the option adds to what is answered now."""
    item = instrument.item(row["item"])
    now = item.score(answers.get(item.code))
    if item.type == "multiple":
        chosen = [o.code for o in chosen_options(item, answers.get(item.code)) if not o.exclusive]
        if row["option"] in chosen:
            return Decimal(0)
        return item.score([*chosen, row["option"]]) - now
    return item.score(row["option"]) - now


def is_next_band(instrument: Instrument, answers: Answers, row: Mapping[str, Any]) -> bool:
    """Of a single choice only the next better option is advised: nobody jumps from 10 % to 90 %."""
    item = instrument.item(row["item"])
    if item.type == "multiple":
        return True
    answer = answers.get(item.code)
    now = item.score(answer) if is_answered(answer) else Decimal(-1)
    better = sorted((item.score(o.code), o.code) for o in item.options if item.score(o.code) > max(now, Decimal(0)))
    return bool(better) and better[0][1] == row["option"]
