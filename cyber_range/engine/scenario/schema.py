"""JSON Schema of scenario.yml, for editors (published as schema/scenario-1.json by `engine schema`)."""

from __future__ import annotations

from typing import Any

from cyber_range.engine.scenario.model import Scenario


def json_schema() -> dict[str, Any]:
    """Draft 2020-12. `process` and `files` come from files of their own and are left out."""
    schema = Scenario.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Lianbing scenario, schema 1"
    for joined in ("process", "files"):
        schema["properties"].pop(joined)
    _accept_short_forms(schema)
    return schema


def _accept_short_forms(schema: dict[str, Any]) -> None:
    """A text may be plain Chinese, a leg a zone name, a program the name of what it uses."""
    for name in ("Text", "Leg", "Program"):
        full = schema["$defs"][name]
        schema["$defs"][name] = {"anyOf": [{"type": "string", "minLength": 1}, full], "title": name}
    program = schema["$defs"]["Program"]["anyOf"][1]
    program["properties"]["name"].pop("default", None)
