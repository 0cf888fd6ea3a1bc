"""What the script's forms need to know that no draft changes: fields, kinds of checks, techniques and steps."""

from __future__ import annotations

from typing import Any

from django.utils.translation import get_language

from cyber_range.authoring.field_words import check_word, script_words
from cyber_range.authoring.fields import CHECKS, THINGS, check_fields, fields_of, step_fields
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.attack.techniques import TACTICS, TECHNIQUES

# Fields that stand in sight although they need not be filled in; the rest waits under 更多设置.
PLAIN = {
    "objective": ("text", "opens_after"), "hint": (), "seat": ("max", "consoles", "sees"),
    "inject": ("expects", "options", "deadline"), "step": ("after", "on_blocked"),
}  # fmt: skip


def script_config() -> dict[str, Any]:
    english = (get_language() or "").startswith("en")
    known = {one.id for one in TECHNIQUES.values() if any(one.id in step.techniques for step in STEPS.values())}
    return {
        "words": script_words(),
        "fields": {
            thing: [_field(thing, one) for one in fields_of(form)] for thing, form in THINGS.items()
        },
        "checks": [
            {"kind": kind, "word": check_word(kind), "fields": [one.as_dict() for one in check_fields(kind)]}
            for kind in CHECKS
        ],
        "tactics": [
            {
                "word": tactic.name if english else tactic.zh,
                "techniques": [
                    [one.id, f"{one.id} {one.name if english else one.zh}"]
                    for one in TECHNIQUES.values() if one.id in known and one.tactics[:1] == (tactic.short,)
                ],
            }
            for tactic in TACTICS
        ],
        "techniques": {one.id: one.name if english else one.zh for one in TECHNIQUES.values()},
        "steps": {
            name: {
                "techniques": step.techniques, "says": step.says, "needs": sorted(step.needs), "gains": sorted(step.gains),
                "fields": [one.as_dict() | {"plain": True} for one in step_fields(name)],
            }
            for name, step in STEPS.items()
        },
    }  # fmt: skip


def _field(thing: str, one: Any) -> dict[str, Any]:
    told = one.as_dict() | {"plain": one.must or one.key in PLAIN[thing]}
    if thing == "inject" and one.key == "to":
        told["word"] = script_words()["seats"]
    if one.key == "node" and thing == "step":
        told["among"] = "attackers"
    if one.key == "id":
        told |= {"must": False, "plain": False}
    return told
