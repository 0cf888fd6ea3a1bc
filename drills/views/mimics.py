"""Which drawing the operator's screen shows: that of the scenario's plants, by the name of their model."""

from __future__ import annotations

import functools
import re
from typing import Any

from django.template import TemplateDoesNotExist
from django.template.loader import get_template

from cyber_range import catalogue
from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.scenario.model import Scenario

MODEL = re.compile(r"[a-z][a-z0-9_]*")


def mimics_of(scenario: str) -> list[str]:
    """Template names; none for a plant without a drawing (its variables then stand in the table)."""
    try:
        models = plant_models(catalogue.entry(scenario).scenario)
    except LookupError:
        return []
    return [name for name in map(template_of, models) if _exists(name)]


def template_of(model: str) -> str:
    return f"drills/_mimic_{model}.html"


def plant_models(scenario: Scenario) -> list[str]:
    """In the order of the nodes, each once. The name may stand in process.yml, as `${process.model}`."""
    found: list[str] = []
    for node in scenario.nodes:
        for program in node.programs:
            if program.use != "plant":
                continue
            model = str(program.spec.get("model", ""))
            if model.startswith("${process.") and model.endswith("}"):
                here = scenario.process
                for key in model[len("${process.") : -1].split("."):
                    here = here.get(key, "") if isinstance(here, dict) else ""
                model = str(here)
            if MODEL.fullmatch(model) and model not in found:
                found.append(model)
    return found


def variables_of(scenario: str) -> dict[str, dict[str, Any]]:
    """{variable: {"title", "unit"}} of the scenario's plants, in the words of their models."""
    try:
        models = plant_models(catalogue.entry(scenario).scenario)
    except LookupError:
        return {}
    return {name: words for model in models if model in MODELS for name, words in _variables(model).items()}


@functools.cache
def _variables(model: str) -> dict[str, dict[str, Any]]:
    return {
        one.name: {"title": {"zh": one.zh, "en": one.en}, "unit": one.unit} for one in MODELS[model]({}).variables()
    }


def _exists(template: str) -> bool:
    try:
        get_template(template)
    except TemplateDoesNotExist:
        return False
    return True
