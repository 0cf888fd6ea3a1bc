"""What the forms do to a drill's script: objectives with checks and hints, seats, injects, campaign steps. Pure.

Injects may stand in story.yml: forms see both files as one (`joined`) and each key goes back to the file it came from.
Removing a thing leaves mentions of it elsewhere, and the loader says where they are; renaming follows every mention.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from cyber_range.authoring.edits import NAME, EditRefused, free_name, use_of
from cyber_range.authoring.field_words import check_word, refusal, word_of
from cyber_range.authoring.fields import (
    CHECKS,
    THINGS,
    Data,
    Field,
    FieldRefused,
    check_fields,
    fields_of,
    read,
    shown,
    step_fields,
    taken,
)  # fmt: skip
from cyber_range.authoring.picture import title_of
from cyber_range.authoring.text import parse, rewrite
from cyber_range.engine.attack.steps import STEPS
from cyber_range.engine.attack.techniques import TECHNIQUES
from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.lab.campaign_rules import PROGRAM
from cyber_range.engine.lab.written import MAIN

STORY = "story.yml"
KEYS = {"objective": "objectives", "hint": "hints", "seat": "seats", "inject": "injects", "step": "campaign"}
# Where a thing is named: (list, key of its items).
MENTIONS = {
    "objective": (("hints", "objective"), ("solver", "objective")),
    "seat": (("injects", "to"), ("objectives", "credit")),
    "step": (
        ("campaign", "after"), ("campaign", "on_blocked"), ("objectives", "opens_after"), ("injects", "after_step"),
        ("solver", "step"),
    ),
}  # fmt: skip


def is_script(edit: Data) -> bool:
    return str(edit.get("do", "")).partition(".")[0] in (*KEYS, "check")


# ---------------------------------------------------------------- two files as one


def joined(files: Mapping[str, str]) -> Data:
    """What both files say together, as far as they can be read. ScenarioError when scenario.yml cannot."""
    data = parse(files.get(MAIN, ""))
    data = dict(data) if isinstance(data, dict) else {}
    try:
        story = parse(files.get(STORY, ""), STORY)
    except ScenarioError:
        return data
    return {**(story if isinstance(story, dict) else {}), **data}


def changed(files: Mapping[str, str], edit: Data) -> dict[str, str]:
    """The files after an edit of the script."""
    main = parse(files.get(MAIN, ""))
    story = parse(files[STORY], STORY) if STORY in files else None
    if not isinstance(main, dict) or not isinstance(story, dict | None):
        raise EditRefused(_("scenario.yml 或 story.yml 的最外层不是“键: 值”。请先在“文件”里改好。"))
    before = {**(story or {}), **main}
    after = apply(before, edit)
    own = set(story or {}) - set(main)
    if story is not None and "injects" not in before:
        own.add("injects")
    found = dict(files)
    for name, mine in ((MAIN, set(after) - own), (STORY, own)):
        said = {key: value for key, value in after.items() if key in mine}
        old = {key: value for key, value in before.items() if key in mine}
        if said != old:
            found[name] = rewrite(files.get(name, ""), said)
    return found


# ---------------------------------------------------------------- edits


def apply(data: Data, edit: Data) -> Data:
    """EditRefused says the field and what to do."""
    thing, _dot, verb = str(edit.get("do")).partition(".")
    data = copy.deepcopy(data)
    try:
        if thing == "check":
            _check(data, verb, edit)
        elif verb in ("add", "set"):
            _put(data, thing, verb, edit)
        else:
            _arrange(data, thing, verb, edit)
    except FieldRefused as refused:
        raise EditRefused(str(refused), field=refused.field) from refused
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise EditRefused(_("这处写法表单看不懂，请在“文件”里改：%(why)s") % {"why": error}) from error
    return data


def _items(data: Data, thing: str) -> list[Any]:
    value = data.setdefault(KEYS[thing], [])
    if not isinstance(value, list):
        raise EditRefused(_("%(key)s 不是列表。请先在“文件”里改好。") % {"key": KEYS[thing]})
    return value


def _at(items: list[Any], at: Any) -> int:
    if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < len(items) or not isinstance(items[at], dict):
        raise EditRefused(_("没有这一项，可能刚被删除。"))
    return at


def _put(data: Data, thing: str, verb: str, edit: Data) -> None:
    items, values = _items(data, thing), dict(edit.get("values") or {})
    at = None if verb == "add" else _at(items, edit.get("at"))
    item: Data = {} if at is None else items[at]
    taken_names = {str(one.get("id")) for one in items if isinstance(one, dict) and one is not item}
    old = item.get("id")
    values["id"] = str(values.get("id") or "").strip() or old or free_name(taken_names, thing)
    if not NAME.fullmatch(values["id"]):
        raise FieldRefused(refusal("name", "", values["id"]), "id")
    if values["id"] in taken_names:
        raise FieldRefused(refusal("taken", "", values["id"]), "id")
    if at is None:  # what must be there and was not sent is missed, not passed over
        values = {field.key: None for field in fields_of(THINGS[thing]) if field.must} | values
    if thing == "hint":
        item["objective"] = edit["objective"] if at is None else item.get("objective")
    known = data.get("nodes") or []
    names = {"nodes": [one.get("name") for one in known if isinstance(one, dict)]}
    for field in fields_of(THINGS[thing]):
        if (
            field.type == "pick"
            and field.among in names
            and values.get(field.key) not in (None, "", *names[field.among])
        ):
            raise FieldRefused(refusal("unknown", word_of(field.key), str(values[field.key])), field.key)
    if thing == "seat" and values.get("sees") == []:
        values["sees"] = ["*"]
    taken(item, fields_of(THINGS[thing]), values)
    if thing == "step":
        _deed(item, edit)
    if thing == "inject" and item.get("expects") != "decision":
        item.pop("options", None)
    if at is None:
        if thing == "objective":
            item["checks"] = [_checked({}, edit.get("check") or {})]
        items.append(item)
    elif old is not None and old != item["id"]:
        _renamed(data, thing, old, item["id"])


def _deed(item: Data, edit: Data) -> None:
    """Technique, step and parameters, in the order people write them."""
    technique, step = str(edit.get("technique") or ""), str(edit.get("step") or "")
    if technique not in TECHNIQUES:
        raise FieldRefused(refusal("unknown", word_of("technique"), technique), "technique")
    if step not in STEPS:
        raise FieldRefused(refusal("unknown", word_of("step"), step), "step")
    item["technique"], item["step"] = technique, step
    old = item.get("args") if isinstance(item.get("args"), dict) else {}
    args = {key: value for key, value in (old or {}).items() if key in {one.key for one in step_fields(step)}}
    raw = dict(edit.get("args") or {})
    rest = read(Field("", "yaml"), raw.pop("", ""))
    if isinstance(rest, list | str | int | float):
        raise FieldRefused(refusal("mapping", word_of("")), "")
    try:
        taken(args, step_fields(step), raw)
    except FieldRefused as refused:
        raise FieldRefused(str(refused), f"args.{refused.field}") from refused
    if isinstance(rest, dict):
        args |= rest
    item["args"] = args
    if not args:
        del item["args"]
    for key in ("id", "technique", "title", "node", "program", "step", "args", "after"):
        if key in item:
            item[key] = item.pop(key)
    for key in [key for key in item if key in ("delay", "timeout", "on_blocked", "every", "times")]:
        item[key] = item.pop(key)


def _arrange(data: Data, thing: str, verb: str, edit: Data) -> None:
    items = _items(data, thing)
    at = _at(items, edit.get("at"))
    if verb == "remove":
        name = items.pop(at).get("id")
        if thing == "objective":  # its hints stand in its form and nowhere else
            hints = [
                one for one in data.get("hints") or [] if not (isinstance(one, dict) and one.get("objective") == name)
            ]
            if "hints" in data:
                data["hints"] = hints
    elif verb == "move":
        to = int(edit.get("to", at))
        if not 0 <= to < len(items):
            raise EditRefused(_("已经在最前或最后。"))
        items.insert(to, items.pop(at))
    else:
        raise EditRefused(_("没有这个操作：%(do)s") % {"do": edit.get("do")})


def _check(data: Data, verb: str, edit: Data) -> None:
    items = _items(data, "objective")
    checks = items[_at(items, edit.get("at"))].setdefault("checks", [])
    if verb == "add":
        checks.append(_checked({}, edit))
        return
    place = _at(checks, edit.get("check"))
    if verb == "remove":
        if len(checks) == 1:
            raise EditRefused(_("一个目标至少要有一项检查。请先添加别的检查。"))
        checks.pop(place)
    elif verb == "set":
        checks[place] = _checked(checks[place], edit)
    else:
        raise EditRefused(_("没有这个操作：%(do)s") % {"do": edit.get("do")})


def _checked(old: Data, edit: Data) -> Data:
    kind = str(edit.get("kind") or "")
    if kind not in CHECKS:
        raise FieldRefused(refusal("unknown", word_of("kind"), kind), "kind")
    check = {**old} if old.get("kind") == kind else {"kind": kind}
    taken(check, check_fields(kind), dict(edit.get("values") or {}))
    return check


def _renamed(data: Data, thing: str, old: str, new: str) -> None:
    for key, inner in MENTIONS.get(thing, ()):
        for item in data.get(key) or []:
            if not isinstance(item, dict):
                continue
            if isinstance(item.get(inner), list):
                item[inner] = [new if one == old else one for one in item[inner]]
            elif item.get(inner) == old:
                item[inner] = new


# ---------------------------------------------------------------- what the page shows


def script(data: Any) -> Data:
    """Every thing with the values of its form; `row` of a step is its line in the drawn graph."""
    data = data if isinstance(data, dict) else {}
    found: Data = {name: [_shown(thing, at, one) for at, one in _numbered(data.get(key))]
                   for thing, key in KEYS.items() if thing != "hint" for name in [thing]}  # fmt: skip
    hints = [(at, one) for at, one in _numbered(data.get("hints"))]
    for item, (_place, one) in zip(found["objective"], _numbered(data.get("objectives")), strict=True):
        checks = one.get("checks")
        item["checks"] = [_check_shown(place, check) for place, check in _numbered(checks)]
        item["hints"] = [_shown("hint", place, hint) for place, hint in hints if hint.get("objective") == one.get("id")]
    rows = layers(found["step"])
    for item in found["step"]:
        item["row"] = rows[item["at"]]
    nodes = _mappings(data.get("nodes"))
    found["lists"] = {
        "nodes": [[str(one.get("name")), _name(one)] for one in nodes],
        "consoles": [[str(one.get("name")), _name(one)] for one in nodes if one.get("shell") is True],
        "attackers": [[str(one.get("name")), _name(one)] for one in nodes if _attacks(one)],
        "zones": [[str(one.get("name")), _name(one)] for one in _mappings(data.get("zones"))],
        "seats": [[item["id"], item["title"]["zh"] or item["id"]] for item in found["seat"]],
        "steps": [[item["id"], item["title"]["zh"] or item["id"]] for item in found["step"]],
    }
    draws = data.get("draws") if isinstance(data.get("draws"), dict) else {}
    found["references"] = [f"${{node.{one.get('name')}.ip}}" for one in nodes] + [
        f"${{draw.{one}}}" for one in draws or ()
    ]
    return found


def _mappings(value: Any) -> list[Data]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _numbered(value: Any) -> list[tuple[int, Data]]:
    """Items that are mappings, with their places in the file."""
    return [(at, one) for at, one in enumerate(value) if isinstance(one, dict)] if isinstance(value, list) else []


def _name(one: Data) -> str:
    return f"{title_of(one.get('title'))['zh'] or one.get('name')}（{one.get('name')}）"


def _attacks(node: Data) -> bool:
    programs = node.get("programs")
    return any(use_of(one) == PROGRAM for one in programs) if isinstance(programs, list) else False


def _shown(thing: str, at: int, one: Data) -> Data:
    fields = fields_of(THINGS[thing])
    item: Data = {
        "at": at, "id": str(one.get("id") or ""), "title": title_of(one.get("title") or one.get("text")),
        "values": {field.key: shown(field, one.get(field.key, field.default)) for field in fields},
    }  # fmt: skip
    if thing == "step":
        item |= {"technique": str(one.get("technique") or ""), "step": str(one.get("step") or "")}
        args = one.get("args") if isinstance(one.get("args"), dict) else {}
        known = step_fields(item["step"])
        item["args"] = {field.key: shown(field, args.get(field.key)) for field in known if field.key in (args or {})}
        rest = {key: value for key, value in (args or {}).items() if key not in {field.key for field in known}}
        item["args"][""] = shown(Field("", "yaml"), rest)
    return item


def _check_shown(at: int, one: Data) -> Data:
    kind = str(one.get("kind") or "")
    fields = check_fields(kind) if kind in CHECKS else ()
    values = {field.key: shown(field, one.get(field.key, field.default)) for field in fields}
    said = [str(values[field.key]["zh"] if isinstance(values[field.key], dict) else values[field.key])
            for field in fields if field.key in one and field.type not in ("yaml", "lines")]  # fmt: skip
    return {"at": at, "kind": kind, "word": check_word(kind), "values": values, "says": " · ".join(said)}


def layers(steps: list[Data]) -> dict[int, int]:
    """Line of every step: below all it waits for, and below the step whose way it replaces. Circles end somewhere."""
    waits: dict[str, set[str]] = {one["id"]: set(one["values"]["after"]) for one in steps}
    for one in steps:
        if one["values"]["on_blocked"] in waits:
            waits[one["values"]["on_blocked"]].add(one["id"])
    rows = dict.fromkeys(waits, 0)
    for _turn in range(len(rows)):
        before = dict(rows)
        for name, needed in waits.items():
            rows[name] = max((rows[other] + 1 for other in needed if other in rows and other != name), default=0)
            rows[name] = min(rows[name], len(rows))
        if rows == before:
            break
    return {one["at"]: rows[one["id"]] for one in steps}
