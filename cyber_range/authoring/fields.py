"""What a form asks of an objective, a check, a seat, an inject, a step: read from the JSON Schema, said in people's words.

A field turns the data into what stands in its control (`shown`) and what was typed back into data (`read`). What nobody
has touched keeps its value as the file has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel

from cyber_range.authoring.faults import in_chinese
from cyber_range.authoring.field_words import choice_word, help_of, refusal, word_of
from cyber_range.authoring.step_args import parameters
from cyber_range.authoring.text import dump, parse
from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.scenario import model

Data = dict[str, Any]
# Keys that name something else of the draft: what is picked from.
PICKS = {
    "node": "nodes", "client": "nodes", "server": "nodes", "from": "nodes", "to": "nodes", "zone": "zones",
    "on_blocked": "steps", "after_step": "steps",
}  # fmt: skip
SEVERAL = {
    "after": "steps", "opens_after": "steps", "credit": "seats", "consoles": "consoles", "sees": "zones", "to": "seats",
}  # fmt: skip
LONG = ("text", "body")
REFERENCE = re.compile(r"\$\{[^{}]+\}")
_NOTHING = object()


class FieldRefused(ValueError):
    """What stands in one control cannot be meant; `field` is its key."""

    def __init__(self, said: str, field: str) -> None:
        super().__init__(said)
        self.field = field


@dataclass(frozen=True, slots=True)
class Field:
    """`type`: words, long, text, number, whole, bool, choice, pick, several, lines, list, value, yaml, options; `among`:
    what is picked from, or the choices. `default` is what the form of the engine takes when the key is missing."""

    key: str
    type: str
    must: bool = False
    default: Any = None
    among: Any = ()

    def as_dict(self) -> Data:
        """For the page: with words, in the reader's language."""
        among = [[one, choice_word(self.key, one)] for one in self.among] if self.type == "choice" else self.among
        return {
            "key": self.key, "type": self.type, "must": self.must, "among": among, "word": word_of(self.key),
            "help": help_of(self.key), "default": "" if self.type in ("words", "long") else shown(self, self.default),
        }  # fmt: skip


# ---------------------------------------------------------------- from the schema

SKIPPED = {model.Objective: ("checks",), model.Hint: ("objective",), model.Step: ("technique", "step", "args")}
CHECKS: dict[str, type[BaseModel]] = {
    kind: form for form in get_args(get_args(model.Check)[0]) for kind in get_args(form.model_fields["kind"].annotation)
}
THINGS: dict[str, type[BaseModel]] = {
    "objective": model.Objective, "hint": model.Hint, "seat": model.Seat, "inject": model.Inject, "step": model.Step,
}  # fmt: skip


@lru_cache(maxsize=64)
def fields_of(form: type[BaseModel]) -> tuple[Field, ...]:
    schema = form.model_json_schema(by_alias=True)
    skipped = SKIPPED.get(form, ()) if form in THINGS.values() else ("kind",)
    must = set(schema.get("required", ()))
    found = [
        Field(key, _type(key, one, form), must=key in must, default=one.get("default"))
        for key, one in schema["properties"].items()
        if key not in skipped
    ]
    return tuple(replace(one, among=_among(one, schema["properties"][one.key])) for one in found)


def _type(key: str, one: Data, form: type[BaseModel]) -> str:
    several = one.get("type") == "array"
    kinds = {one.get("type")} | {inner.get("type") for inner in one.get("anyOf", ())}
    if "$ref" in one or any("$ref" in inner for inner in one.get("anyOf", ())):
        return "long" if key in LONG else "words"
    if "enum" in one:
        return "choice"
    if key == "options":
        return "options"
    if several:
        return "several" if key in SEVERAL else "lines" if "$ref" in one.get("items", {}) else "list"
    if key in PICKS and "string" in kinds:
        return "pick"
    if key in ("answer", "equals") or not kinds - {None}:
        return "number" if form is model.RegisterValueCheck else "value"
    for kind, name in (("object", "yaml"), ("boolean", "bool"), ("number", "number"), ("integer", "whole")):
        if kind in kinds:
            return name
    return "text"


def _among(field: Field, one: Data) -> Any:
    if field.type == "choice":
        return tuple(one["enum"])
    return {"pick": PICKS, "several": SEVERAL}.get(field.type, {}).get(field.key, ())


def check_fields(kind: str) -> tuple[Field, ...]:
    return fields_of(CHECKS[kind])


def step_fields(step: str) -> tuple[Field, ...]:
    """The parameters of a step; `with` takes what its code does not say."""
    own = tuple(Field(one.key, one.type, one.must, one.default) for one in parameters(step))
    return (*own, Field("", "yaml"))


# ---------------------------------------------------------------- data ↔ what stands in a control


def shown(field: Field, value: Any) -> Any:
    """Text for one control, a list for several, {zh, en} for words."""
    match field.type:
        case "words" | "long":
            known = value if isinstance(value, dict) else {"zh": value}
            return {part: str(known.get(part) or "") for part in ("zh", "en")}
        case "bool":
            return value is True
        case "several":
            return [str(one) for one in value] if isinstance(value, list | tuple) else []
        case "lines":
            return "\n".join(str(one.get("zh") if isinstance(one, dict) else one) for one in value or ())
        case "list":
            return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")
        case "options":
            rows = [one for one in value or () if isinstance(one, dict)]
            return [
                {"id": str(one.get("id") or ""), "points": str(one.get("points") or 0), "text": _zh(one.get("text"))}
                for one in rows
            ]
        case "value" if isinstance(value, list):
            return "\n".join(_plain(one) for one in value)
        case "yaml":
            return (
                "" if value in (None, {}, []) else dump(value).rstrip("\n") if isinstance(value, dict) else _flow(value)
            )
    return _plain(value)


def _zh(text: Any) -> str:
    return str((text.get("zh") if isinstance(text, dict) else text) or "")


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) and value == round(value, 5) else str(value)


def _flow(value: Any) -> str:
    """A list or scalar as a person writes it on one line."""
    return dump({"x": value}).partition(":")[2].strip() if isinstance(value, list | str) else _plain(value)


def taken(item: Data, fields: tuple[Field, ...], values: Data) -> None:
    """Writes what the form holds into the item: touched fields alone, and none that only says what is the rule anyway."""
    for field in fields:
        if field.key not in values or not field.key:
            continue
        raw = values[field.key]
        if field.key in item and raw == shown(field, item[field.key]):
            continue
        value = read(field, raw, item.get(field.key))
        empty = value is _NOTHING or value == field.default or (value == [] and field.default in (None, []))
        if empty and not field.must:
            item.pop(field.key, None)
        elif value is _NOTHING or (value == [] and field.type == "several"):
            raise FieldRefused(refusal("must", word_of(field.key)), field.key)
        else:
            item[field.key] = value


def read(field: Field, raw: Any, old: Any = None) -> Any:
    """Data of what was typed; _NOTHING for nothing. FieldRefused names the field and says what may stand there."""
    word = word_of(field.key)
    if field.type in ("words", "long"):
        given = raw if isinstance(raw, dict) else {"zh": raw}
        zh, en = str(given.get("zh") or "").strip(), str(given.get("en") or "").strip()
        if not zh and en:
            raise FieldRefused(refusal("zh", word), field.key)
        return _NOTHING if not zh else {"zh": zh, "en": en} if en else {"zh": zh} if isinstance(old, dict) else zh
    if field.type == "bool":
        return bool(raw)
    if field.type == "several":
        return [str(one) for one in raw] if isinstance(raw, list) else []
    if field.type == "options":
        return _options(raw, old if isinstance(old, list) else [], field)
    text = str("" if raw is None else raw).strip()
    if not text:
        return _NOTHING
    if field.type == "list":
        return [one for one in re.split(r"[\s,，、;；]+", text) if one]
    if field.type == "lines":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if field.type in ("number", "whole"):
        return _number(field, text)
    if field.type == "choice":
        if text not in field.among:
            raise FieldRefused(refusal("choice", word, "、".join(field.among)), field.key)
        return text
    if field.type == "value":
        several = [_guessed(line.strip()) for line in text.splitlines() if line.strip()]
        return several[0] if len(several) == 1 else several
    if field.type == "yaml":
        return _yaml(field, text)
    return text


def _number(field: Field, text: str) -> Any:
    if REFERENCE.fullmatch(text):
        return text
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value or value in (float("inf"), float("-inf")):
        raise FieldRefused(refusal(field.type, word_of(field.key), text), field.key)
    if value.is_integer():
        return int(value)
    if field.type == "whole":
        raise FieldRefused(refusal("whole", word_of(field.key), text), field.key)
    return value


def _guessed(text: str) -> Any:
    """12 is a number, 012 and 12:30 are words, true is true."""
    if re.fullmatch(r"-?(0|[1-9]\d*)", text):
        return int(text)
    if re.fullmatch(r"-?(0|[1-9]\d*)\.\d+", text):
        return float(text)
    return {"true": True, "false": False}.get(text, text)


def _yaml(field: Field, text: str) -> Any:
    try:
        return parse(text)
    except ScenarioError as error:
        detail: Any = error.detail
        why = in_chinese(str(detail["problems"][0]["what"]))
        raise FieldRefused(refusal("yaml", word_of(field.key), str(detail["line"]), why), field.key) from error


def _options(raw: Any, old: list[Any], field: Field) -> list[Data]:
    known = {one.get("id"): one for one in old if isinstance(one, dict)}
    found: list[Data] = []
    for row in raw if isinstance(raw, list) else []:
        zh = str(row.get("text") or "").strip()
        if not zh:
            continue
        name = str(row.get("id") or "").strip() or f"o{len(found) + 1}"
        before = known.get(name, {})
        text = before.get("text")
        said = text if _zh(text) == zh else {**text, "zh": zh} if isinstance(text, dict) else zh
        option = {"id": name, "text": said}
        points = _number(replace(field, type="whole"), str(row.get("points") or 0))
        found.append(option | ({"points": points} if points else {}))
    return found
