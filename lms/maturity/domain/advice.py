"""一企一策: from a result to the cheapest steps that lift the enterprise to the next level.

Order: what the next level still asks for (constrained scenes first, then the cheapest), then unticked options by points
per effort. Steps beyond the next level's need follow as an outlook, so that a plan is never empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lms.maturity.domain.instrument import Answers, Instrument, Item, Result, chosen_options


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
    """Every step worth taking, the needed ones first, in the order to take them. Taking all needed ones reaches the
    next level: tests/lms/maturity/domain holds this for any answers."""
    wanted = scene_steps(instrument, result) + item_steps(instrument, answers, result)
    return [s for s in wanted if s.needed] + sorted(
        (s for s in wanted if not s.needed), key=lambda s: (s.effort, -s.gain, s.key)
    )


def scene_steps(instrument: Instrument, result: Result) -> list[Step]:
    """Scenes below the next level's grade: of those chosen as needed every step up to that grade, of the others the
    next one. Chosen are the cheapest by effort, constrained ones first as far as the level asks for constrained ones."""
    following = result.next
    if following is None:
        return []
    rule = next(rule for rule in instrument.rules if rule.level == following.level)
    rows = {(row["scene"], row["from"]): row for row in instrument.plan_scenes}
    climbs: list[tuple[int, int, str, int]] = []  # (effort of the whole climb, steps, scene, grade now)
    for code, grade in result.grades:
        way = [rows[code, g]["effort"] for g in range(grade, rule.scene_level)]
        if way:
            climbs.append((sum(way), len(way), code, grade))
    climbs.sort()
    constrained = [climb for climb in climbs if instrument.scene(climb[2]).constrained]
    chosen = constrained[: following.constrained]
    chosen += [climb for climb in climbs if climb not in chosen][: max(following.scenes - len(chosen), 0)]
    chosen.sort(key=lambda climb: (not instrument.scene(climb[2]).constrained, climb))
    steps = [
        scene_step(instrument, rows[code, at], needed=True)
        for _effort, _steps, code, grade in chosen
        for at in range(grade, rule.scene_level)
    ]
    return steps + [
        scene_step(instrument, rows[code, grade], needed=False)
        for _effort, _steps, code, grade in climbs
        if (_effort, _steps, code, grade) not in chosen
    ]


def scene_step(instrument: Instrument, row: Mapping[str, Any], *, needed: bool) -> Step:
    scene, grade = instrument.scene(row["scene"]), row["from"]
    return Step(
        key=f"scene:{scene.code}:{grade}->{grade + 1}",
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


def item_steps(instrument: Instrument, answers: Answers, result: Result) -> list[Step]:
    """Options not yet reached, best points per effort first, until the points suffice; then what else is within reach.

    Of a single choice only the next better option is within reach (nobody jumps from 10 % to 90 %), and the one after it
    once that is taken.
    """
    missing = result.next.points if result.next else Decimal(0)
    rows: dict[str, list[Mapping[str, Any]]] = {item.code: [] for item in instrument.items}
    for row in instrument.plan_items:
        rows[row["item"]].append(row)
    taken: dict[str, Any] = {item.code: answers.get(item.code) for item in instrument.items}
    reach = {item.code: within_reach(item, taken[item.code], rows[item.code]) for item in instrument.items}
    steps = []
    while missing > 0 and any(reach.values()):
        row, gain = min((offer for offers in reach.values() for offer in offers), key=worth)
        item = instrument.item(row["item"])
        steps.append(item_step(item, row, gain, needed=True))
        taken[item.code] = with_option(item, taken[item.code], row["option"])
        reach[item.code] = within_reach(item, taken[item.code], rows[item.code])
        missing -= gain
    rest = sorted((offer for offers in reach.values() for offer in offers), key=worth)
    return steps + [item_step(instrument.item(row["item"]), row, gain, needed=False) for row, gain in rest]


Offer = tuple[Mapping[str, Any], Decimal]
"""(row, points it adds)."""


def worth(offer: Offer) -> tuple[Any, ...]:
    """Best points per effort first; the rest makes the order the same every time."""
    row, gain = offer
    return (-(gain / row["effort"]), row["effort"], row["item"], row["option"])


def within_reach(item: Item, answer: Any, rows: list[Mapping[str, Any]]) -> list[Offer]:
    """What the item still offers from the answer on."""
    now = item.score(answer)
    offers = [(row, item.score(with_option(item, answer, row["option"])) - now) for row in rows]
    better = next_better(item, now)
    return [(row, gain) for row, gain in offers if gain > 0 and (item.type == "multiple" or row["option"] == better)]


def with_option(item: Item, answer: Any, option: str) -> Any:
    """The answer once the option is reached."""
    if item.type != "multiple":
        return option
    return [o.code for o in chosen_options(item, answer) if not o.exclusive and o.code != option] + [option]


def next_better(item: Item, now: Decimal) -> str:
    better = sorted((item.score(o.code), o.code) for o in item.options if item.score(o.code) > now)
    return better[0][1] if better else ""


def item_step(item: Item, row: Mapping[str, Any], gain: Decimal, *, needed: bool) -> Step:
    option = next(o for o in item.options if o.code == row["option"])
    return Step(
        key=f"item:{item.code}:{option.code}",
        title=f"{item.name}: {option.label}",
        action=row["action"],
        evidence=row.get("evidence", ""),
        owner=row.get("owner", ""),
        tags=tuple(row["tags"]),
        effort=row["effort"],
        gain=gain,
        needed=needed,
    )
