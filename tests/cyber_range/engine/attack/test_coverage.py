"""The catalogue of steps against ATT&CK for ICS, and the layer for its Navigator."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cyber_range.engine.attack.coverage import covered, layer, matrix
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.attack.techniques import TACTICS, TECHNIQUES
from cyber_range.engine.cli import main
from cyber_range.engine.scenario.model import DEPRECATED_TECHNIQUES

BUNDLE = Path(os.environ.get("ICS_ATTACK_BUNDLE", "ics-attack-18.1.json"))
ALL = {technique for form in STEPS.values() for technique in form.techniques}


def test_at_least_45_techniques_none_withdrawn_and_each_described() -> None:
    assert len(ALL) >= 45
    assert not ALL & DEPRECATED_TECHNIQUES
    assert set(TECHNIQUES) == ALL


def test_every_step_says_what_it_does_and_needs_only_what_can_be_gained() -> None:
    gains = {word for form in STEPS.values() for word in form.gains}

    assert [form.name for form in STEPS.values() if len(form.says) < 10] == []
    assert {need for form in STEPS.values() for need in form.needs} <= gains
    assert [form.name for form in STEPS.values() if not form.techniques] == ["undo"]


def test_the_matrix_has_every_technique_under_each_of_its_tactics() -> None:
    rows = covered({"one": ["T0836"], "two": ["T0836", "T0843"]})
    under = {tactic.short: {row.technique.id for row in some} for tactic, some in matrix(rows)}

    assert list(under) == [tactic.short for tactic in TACTICS]
    assert {row.technique.id: row.scenarios for row in rows if row.scenarios} == {
        "T0836": ("one", "two"),
        "T0843": ("two",),
    }
    assert all(one in under[short] for one, technique in TECHNIQUES.items() for short in technique.tactics)


def test_the_layer_is_one_the_navigator_takes() -> None:
    made = layer(covered({"one": ["T0836"]}))

    assert (made["domain"], made["versions"]["layer"], made["versions"]["attack"]) == ("ics-attack", "4.5", "18")
    assert {(one["techniqueID"], one["tactic"]) for one in made["techniques"]} == {
        (technique.id, short) for technique in TECHNIQUES.values() for short in technique.tactics
    }
    assert {one["score"] for one in made["techniques"] if one["techniqueID"] == "T0836"} == {2}


def test_the_command_prints_the_matrix_and_writes_the_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "layer.json"

    assert main(["attack", "coverage", "--layer", str(path)]) == 0
    assert "T0836" in capsys.readouterr().out
    assert json.loads(path.read_text(encoding="utf-8"))["domain"] == "ics-attack"


if BUNDLE.is_file():  # MITRE's bundle is not ours to keep here; whoever has it names it and gets one test more

    def test_ids_names_and_tactics_agree_with_mitres_bundle() -> None:
        objects = json.loads(BUNDLE.read_text(encoding="utf-8"))["objects"]
        known = {
            one["external_references"][0]["external_id"]: (
                one["name"], {phase["phase_name"] for phase in one["kill_chain_phases"]},
            )
            for one in objects
            if one["type"] == "attack-pattern" and not one.get("revoked") and not one.get("x_mitre_deprecated")
        }  # fmt: skip

        assert {one.id: (one.name, set(one.tactics)) for one in TECHNIQUES.values()} == {
            one: known[one] for one in TECHNIQUES
        }
