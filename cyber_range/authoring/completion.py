"""What may be written where the cursor stands: keys and values out of the published JSON Schema, and the names a draft has.

While somebody types, a text is rarely YAML. So the place is taken from indentation alone, as people read it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.lab.vocabulary import USES
from cyber_range.engine.scenario.schema import json_schema

_LINE = re.compile(r"(?P<indent> *)(?P<dashes>(?:- +)*)(?:(?P<key>[A-Za-z_][\w-]*)(?P<colon>\s*:)?\s*(?P<value>.*))?$")
# Keys whose value is the name of something else in the draft.
NAMES = {
    "zone": "zones", "gateway": "nodes", "via": "nodes", "node": "nodes", "client": "nodes", "server": "nodes",
    "legs": "zones", "sees": "zones", "consoles": "nodes", "after": "campaign", "on_blocked": "campaign",
    "opens_after": "campaign", "after_step": "campaign", "objective": "objectives", "credit": "seats",
}  # fmt: skip


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The published schema, as data."""
    return json_schema()


def allowed(text: str, line: int, file: str, data: Any = None, column: int | None = None) -> dict[str, Any]:
    """{"path", "keys": [{"name", "says", "must", "there"}], "values": [text]} for line and column (from 0) of the text."""
    lines = text.split("\n")
    line = min(max(line, 0), len(lines) - 1)
    opened = _opened(lines[line], len(lines[line]) if column is None else column)
    if opened:
        lines[line] = lines[line][: opened[0][0]]
    path, current, used = _path(lines, line)
    if opened:
        path += [
            step for _at, key, bracket, *_rest in opened for step in ([key] if key else []) + ["[]"] * (bracket == "[")
        ]
        current, used = opened[-1][3], opened[-1][4]
    places = [_resolved(schema())]
    for step in path:
        places = [one for place in places for one in _into(place, step)]
    if file == "process.yml":
        places = []
    known = _keys(places, used)
    values: list[str] = []
    if current:
        inner = [one for place in places for one in _into(place, current)]
        values = sorted({value for one in inner for value in _values(one)})
        values += _names(current, data)
    elif path and path[-1] == "[]":
        values = _names(next((step for step in reversed(path) if step != "[]"), ""), data)
    return {"path": ".".join(str(one) for one in path if one != "[]"), "keys": known, "values": values}


def _path(lines: list[str], at: int) -> tuple[list[str], str, set[str]]:
    """Keys from the outermost to the mapping the line stands in ("[]" for an item of a list), the key written on the line
    itself, and the keys that mapping already has."""
    here = _LINE.match(lines[at])
    text = lines[at].strip()
    if here is None or not text or text.startswith("#"):
        depth = len(lines[at]) - len(lines[at].lstrip(" ")) if text or lines[at] else _indent_above(lines, at)
        current, dashes = "", 0
    else:
        depth = len(here["indent"]) + len(here["dashes"] or "")
        current = (here["key"] or "") if here["colon"] else ""
        dashes = (here["dashes"] or "").count("-")
    path: list[str] = ["[]"] * dashes
    level = len(here["indent"]) if here is not None and dashes else depth
    for number in range(at - 1, -1, -1):
        found = _LINE.match(lines[number])
        if found is None or not lines[number].strip() or lines[number].lstrip().startswith("#"):
            continue
        indent, inner = len(found["indent"]), len(found["indent"]) + len(found["dashes"] or "")
        if found["dashes"] and indent < level <= inner:  # the item of a list this line belongs to
            path[:0] = ["[]"] * found["dashes"].count("-")
            level = indent
        elif not found["dashes"] and found["colon"] and (indent < level or (indent == level and path[:1] == ["[]"])):
            path.insert(0, str(found["key"]))
            level = indent
        elif found["dashes"] and found["colon"] and inner < level:
            path[:0] = ["[]"] * found["dashes"].count("-") + [str(found["key"])]
            level = indent
        if level == 0 and path[:1] != ["[]"]:
            break
    return path, current, _siblings(lines, at, depth)


def _opened(line: str, column: int) -> list[tuple[int, str, str, str, set[str]]]:
    """Brackets open at the column: (where, key before it, bracket, key the cursor is behind, keys written inside)."""
    stack: list[tuple[int, str, str, str, set[str]]] = []
    word, key, used = "", "", set[str]()
    for at, letter in enumerate(line[:column]):
        if letter in "{[" and line[at - 1 : at] != "$":
            stack.append((at, key, letter, "", used))
            word, key, used = "", "", set()
        elif letter in "}]" and stack and not line[:at].rsplit("{", 1)[0].endswith("$"):
            _at, _key, _bracket, _, used = stack.pop()
            word, key = "", ""
        elif letter == ":" and word:
            key = word
            used = used | {word}
        elif letter == ",":
            word, key = "", ""
        elif letter.isalnum() or letter in "_-":
            word = word + letter if not key else word
        elif letter == " " and not key:
            word = ""
    if stack:
        at, before, bracket, _, _outer = stack[-1]
        stack[-1] = (
            at,
            before,
            bracket,
            key,
            used | set(re.findall(r"([A-Za-z_]\w*)\s*:", line[column:].split("}")[0])),
        )
    return stack


def _indent_above(lines: list[str], at: int) -> int:
    for number in range(at - 1, -1, -1):
        if lines[number].strip():
            found = _LINE.match(lines[number])
            inner = len(found["indent"]) + len(found["dashes"] or "") if found else 0
            opens = found is not None and bool(found["colon"]) and not (found["value"] or "").strip()
            return inner + 2 if opens else inner
    return 0


def _siblings(lines: list[str], at: int, depth: int) -> set[str]:
    used: set[str] = set()
    for step in (-1, 1):
        number = at
        while 0 <= number < len(lines):
            found = _LINE.match(lines[number])
            if found is not None and lines[number].strip():
                indent, inner = len(found["indent"]), len(found["indent"]) + len(found["dashes"] or "")
                if inner < depth or (step == 1 and number != at and found["dashes"] and indent < depth):
                    break
                if inner == depth and found["colon"]:
                    used.add(str(found["key"]))
                if step == -1 and found["dashes"] and inner == depth:
                    break
            number += step
    return used


# ---------------------------------------------------------------- the schema


def _resolved(place: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in place:
        place = schema()["$defs"][place["$ref"].rsplit("/", 1)[1]]
    return place


def _choices(place: dict[str, Any]) -> list[dict[str, Any]]:
    place = _resolved(place)
    inner = [*place.get("anyOf", ()), *place.get("oneOf", ())]
    return [one for each in inner for one in _choices(each)] if inner else [place]


def _into(place: dict[str, Any], step: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in _choices(place):
        if step == "[]":
            if isinstance(one.get("items"), dict):
                found += _choices(one["items"])
        elif step in one.get("properties", {}):
            found += _choices(one["properties"][step])
        elif isinstance(one.get("additionalProperties"), dict):
            found += _choices(one["additionalProperties"])
        elif isinstance(one.get("patternProperties"), dict):
            found += [each for inner in one["patternProperties"].values() for each in _choices(inner)]
    return found


def _keys(places: list[dict[str, Any]], used: set[str]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for place in places:
        for one in _choices(place):
            for name, inner in one.get("properties", {}).items():
                row = found.setdefault(name, {"name": name, "says": "", "must": True, "there": name in used})
                row["says"] = row["says"] or str(inner.get("description", ""))
                row["must"] = row["must"] and name in one.get("required", ())
    return sorted(found.values(), key=lambda row: (row["there"], not row["must"], row["name"]))


def _values(place: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for one in _choices(place):
        if "const" in one:
            found.append(str(one["const"]))
        found += [str(value) for value in one.get("enum", ())]
        if one.get("type") == "boolean":
            found += ["true", "false"]
        if isinstance(one.get("items"), dict):
            found += _values(one["items"])
    return found


def _names(key: str, data: Any) -> list[str]:
    if key in ("use", "programs"):
        return sorted(USES)
    if key == "step":
        return sorted(STEPS)
    if key in NAMES and isinstance(data, dict):
        items = data.get(NAMES[key])
        return [str(one.get("name") or one.get("id")) for one in items or [] if isinstance(one, dict)]
    return []
