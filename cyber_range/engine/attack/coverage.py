"""Which techniques the steps can carry out and which scenarios use them, as a matrix and as a layer of ATT&CK's Navigator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.attack.techniques import HOLDER_URL, NOTICE, TACTICS, TECHNIQUES, VERSION, Tactic, Technique

LAYER_VERSION, NAVIGATOR_VERSION = "4.5", "5.1.0"
CAN, USED = "#9ecae1", "#31a354"  # colours: a step can; a scenario uses it


@dataclass(frozen=True, slots=True)
class Covered:
    technique: Technique
    steps: tuple[str, ...]
    scenarios: tuple[str, ...]


def covered(used: Mapping[str, Iterable[str]]) -> list[Covered]:
    """`used`: scenario -> technique ids of its campaign. In the order of ids."""
    by_technique: dict[str, list[str]] = {}
    for form in STEPS.values():
        for technique in form.techniques:
            by_technique.setdefault(technique, []).append(form.name)
    return [
        Covered(
            TECHNIQUES[one], tuple(sorted(by_technique[one])),
            tuple(sorted(name for name, ids in used.items() if one in ids)),
        )
        for one in sorted(by_technique)
    ]  # fmt: skip


def matrix(rows: Iterable[Covered]) -> list[tuple[Tactic, list[Covered]]]:
    """Tactics in ATT&CK's order; a technique stands under each of its own."""
    rows = list(rows)
    return [(tactic, [row for row in rows if tactic.short in row.technique.tactics]) for tactic in TACTICS]


def layer(rows: Iterable[Covered], name: str = "Lianbing") -> dict[str, Any]:
    """A Navigator layer: score 1 for what a step can carry out, 2 for what a packaged scenario uses."""
    techniques: list[dict[str, Any]] = [
        {
            "techniqueID": row.technique.id, "tactic": tactic, "score": 2 if row.scenarios else 1,
            "color": USED if row.scenarios else CAN, "enabled": True,
            "comment": f"steps: {', '.join(row.steps)}" + (f"; scenarios: {', '.join(row.scenarios)}" if row.scenarios else ""),
            "metadata": [], "links": [], "showSubtechniques": False,
        }
        for row in rows for tactic in row.technique.tactics
    ]  # fmt: skip
    return {
        "name": name,
        "versions": {"attack": VERSION, "navigator": NAVIGATOR_VERSION, "layer": LAYER_VERSION},
        "domain": "ics-attack",
        "description": f"Campaign steps of the range and the scenarios that use them. {NOTICE}",
        "sorting": 0,
        "layout": {"layout": "side", "showID": True, "showName": True},
        "hideDisabled": False,
        "techniques": techniques,
        "gradient": {"colors": ["#ffffff", CAN, USED], "minValue": 0, "maxValue": 2},
        "legendItems": [
            {"label": "a step can carry it out", "color": CAN},
            {"label": "a packaged scenario uses it", "color": USED},
        ],
        "metadata": [{"name": "terms", "value": HOLDER_URL}],
        "links": [],
        "showTacticRowBackground": False,
        "selectTechniquesAcrossTactics": True,
        "selectSubtechniquesWithParent": False,
    }
