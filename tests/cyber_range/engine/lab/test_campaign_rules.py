"""Campaigns against the catalogue of steps: every mistake with its file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.lab.campaign_rules import campaign_faults
from cyber_range.engine.scenario.load import load

FILLING_LINE = Path(__file__).parents[4] / "cyber_range" / "scenarios" / "filling_line"


def changed(tmp_path: Path, *replacements: tuple[str, str]) -> Path:
    for source in FILLING_LINE.rglob("*"):
        target = tmp_path / source.relative_to(FILLING_LINE)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    path = tmp_path / "scenario.yml"
    text = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")
    return tmp_path


def line_of(folder: Path, text: str) -> int:
    lines = (folder / "scenario.yml").read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_the_packaged_campaign_has_no_mistake() -> None:
    assert list(campaign_faults(load(FILLING_LINE))) == []


@pytest.mark.parametrize(
    ("old", "new", "found", "what"),
    [
        ("step: enumerate", "step: enumrate", "step: enumrate", 'knows no step "enumrate". Did you mean "enumerate"?'),
        ("technique: T0846", "technique: T0843", "technique: T0843", "T0843 (Program Download) is not what step scan does. Use one of: T0846"),
        ("step: login", "step: phish", "step: scan", 'step scan needs "session", and no step before it gains that on attacker. Begin with one of: foothold, join_zone, login'),
    ],
)  # fmt: skip
def test_mistakes_are_named_where_they_stand(tmp_path: Path, old: str, new: str, found: str, what: str) -> None:
    replacements = [(old, new)] + ([("technique: T0812", "technique: T0865")] if new == "step: phish" else [])
    folder = changed(tmp_path, *replacements)
    with pytest.raises(ScenarioError) as caught:
        load(folder, more=campaign_faults)

    assert what in str(caught.value)
    assert f"scenario.yml:{line_of(folder, found)}: " in str(caught.value)
