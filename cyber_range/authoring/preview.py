"""A scenario as its trainer looks it over before anybody plays it: everything that is planned, no answer and no drawn value."""

from __future__ import annotations

import re
from typing import Any

from cyber_range.authoring.picture import picture
from cyber_range.authoring.prose import brief
from cyber_range.engine.attack.techniques import TECHNIQUES
from cyber_range.engine.scenario.model import Scenario

REFERENCE = re.compile(r"\$\{[^{}]+\}")
GAP = "……"  # where every team has a value of its own


def gapped(text: Any) -> Any:
    """A text with gaps for what is drawn or given out per team."""
    if text is None:
        return None
    return {"zh": REFERENCE.sub(GAP, text.zh), "en": REFERENCE.sub(GAP, text.en)}


def shown(scenario: Scenario, instructor: str = "") -> dict[str, Any]:
    """What the page needs, ready to be written out."""
    seats = {seat.id: gapped(seat.title) for seat in scenario.seats}
    steps = {step.id: gapped(step.title) for step in scenario.campaign}
    return {
        "picture": picture(scenario.model_dump(mode="json", by_alias=True)),
        "story": gapped(scenario.story),
        "seats": [
            {"title": gapped(seat.title), "cell": seat.cell, "max": seat.max, "consoles": seat.consoles}
            for seat in scenario.seats
        ],
        "objectives": [
            {
                "title": gapped(one.title), "text": gapped(one.text), "kind": one.kind, "points": one.points,
                "requirements": one.requirements, "par": one.par_minutes,
                "after": [steps[name] for name in one.opens_after if name in steps],
                "hints": sum(hint.objective == one.id for hint in scenario.hints),
            }
            for one in scenario.objectives
        ],
        "points": sum(one.points for one in scenario.objectives),
        "injects": [
            {
                "at": one.at, "title": gapped(one.title), "body": gapped(one.body), "expects": one.expects,
                "to": [seats.get(name) for name in one.to], "after": steps.get(one.after_step or ""),
                "deadline": one.deadline,
            }
            for one in sorted(scenario.injects, key=lambda one: (one.after_step is not None, one.at))
        ],
        "campaign": [
            {
                "title": gapped(step.title), "technique": step.technique, "known": TECHNIQUES.get(step.technique),
                "node": step.node, "after": [steps[name] for name in step.after if name in steps],
                "instead": steps.get(step.on_blocked or ""),
            }
            for step in scenario.campaign
        ],
        "techniques": len({step.technique for step in scenario.campaign}),
        "brief": brief(REFERENCE.sub(GAP, instructor)) if instructor.strip() else "",
    }  # fmt: skip
