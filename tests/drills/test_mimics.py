"""Every plant has a drawing, and every drawing shows only what its plant measures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.template.loader import render_to_string
from django.utils import translation

from cyber_range import catalogue
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.scenario.model import Scenario
from drills.views.mimics import mimics_of, plant_models, template_of
from drills.views.words import room_words

BOUND = re.compile(
    r'data-(?:value|word|at-of|on|off|spin|flow|level|bar|move|turn|glow|alarm|limit|bottles|fill)="([^"]+)"'
)


def drawn(model: str) -> str:
    return render_to_string(template_of(model), {"words": room_words()})


@pytest.mark.parametrize("model", MODELS)
def test_a_drawing_binds_only_variables_that_its_plant_has(model: str) -> None:
    picture = drawn(model)
    variables = {v.name: v for v in MODELS[model]({}).variables()}

    bound = {name.split(":")[0] for name in BOUND.findall(picture)}
    needed = set(re.search(r'data-mimic="([^"]+)"', picture)[1].split())  # type: ignore[index]

    assert bound - set(variables) == set()
    assert needed - set(variables) == set()
    assert len(bound) >= len(variables) * 0.6, "a drawing shows most of its plant"


def test_no_drawing_shows_with_another_plant() -> None:
    """The script shows a drawing when the plant has every variable that it names."""
    needed = {m: set(re.search(r'data-mimic="([^"]+)"', drawn(m))[1].split()) for m in MODELS}  # type: ignore[index]

    for model in MODELS:
        names = set(MODELS[model]({}).values())
        assert [m for m in MODELS if needed[m] <= names] == [model]


@pytest.mark.parametrize("model", MODELS)
def test_every_alarm_of_the_plant_colours_something(model: str) -> None:
    picture = drawn(model)

    with_limits = {v.name for v in MODELS[model]({}).variables() if v.alarm_low is not None or v.alarm_high is not None}

    shown = set(re.findall(r'data-alarm="([^"]+)"', picture))
    assert with_limits - shown == set()


@pytest.mark.parametrize("model", MODELS)
def test_a_drawing_has_a_text_alternative_and_no_inline_style_or_script(model: str) -> None:
    picture = drawn(model)

    assert re.search(r'role="img" aria-label="[^"]{8,}"', picture)
    assert "style=" not in picture
    assert "<script" not in picture
    assert not re.search(r"\son\w+=", picture)
    ids = re.findall(r'\sid="([^"]+)"', picture)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("model", MODELS)
def test_a_drawing_is_wholly_english_on_an_english_page(model: str) -> None:
    """Text between tags and word lists; units come with the values."""
    with translation.override("en"):
        picture = drawn(model)

    seen = re.sub(r"<[^>]+>", " ", picture) + " ".join(re.findall(r'(?:aria-label|data-words)="([^"]+)"', picture))
    assert re.findall(r"[\u4e00-\u9fff]+", seen) == []


def test_the_room_shows_the_drawing_of_its_scenarios_plant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", Path(catalogue.__file__).parent / "scenarios")

    assert mimics_of("filling_line") == ["drills/_mimic_filling_line.html"]
    assert mimics_of("no_such_scenario") == []


@pytest.mark.parametrize(
    ("process", "model", "found"),
    [
        ({}, "cold_store", ["cold_store"]),
        ({"model": "water_skid"}, "${process.model}", ["water_skid"]),
        ({"a": {"b": "dyeing_vat"}}, "${process.a.b}", ["dyeing_vat"]),
        ({}, "${process.model}", []),
        ({}, "../../etc/passwd", []),
    ],
)
def test_the_model_is_found_where_a_scenario_names_it(process: dict[str, object], model: str, found: list[str]) -> None:
    program = {"use": "plant", "with": {"model": model}}
    scenario = Scenario.model_construct(nodes=[Node(program)], process=process)

    assert plant_models(scenario) == found


class Node:
    """As much of a scenario's node as is looked at."""

    def __init__(self, program: dict[str, object]) -> None:
        self.programs = [type("Program", (), {"use": program["use"], "spec": program["with"]})()] * 2
