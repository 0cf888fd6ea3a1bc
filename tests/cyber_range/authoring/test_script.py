"""The script's forms: whole values into both files, mentions that follow, and fields that say what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from cyber_range import catalogue
from cyber_range.authoring import sources
from cyber_range.authoring.edits import EditRefused, apply
from cyber_range.authoring.faults import judge
from cyber_range.authoring.fields import CHECKS, THINGS, Field, check_fields, fields_of, read, shown, taken
from cyber_range.authoring.script import changed, joined, layers, script
from cyber_range.authoring.step_args import Parameter, parameters
from cyber_range.authoring.text import parse, rewrite
from cyber_range.engine.attack.steps import STEPS

FILES = sources.blank()
ATTACKER = {"do": "node.add", "role": "attacker", "name": "rogue", "zone": "office", "title": "外来电脑"}


def words(zh: str, en: str = "") -> dict[str, str]:
    return {"zh": zh, "en": en}


def added(files: dict[str, str], old: dict[str, str] = FILES) -> dict[str, list[str]]:
    """Lines of each file that were not there before."""
    found = {
        name: [line for line in text.splitlines() if line not in old[name].splitlines()] for name, text in files.items()
    }
    return {name: lines for name, lines in found.items() if lines}


def test_an_objective_is_added_at_the_end_and_nothing_else_is_touched() -> None:
    files = changed(FILES, {
        "do": "objective.add", "values": {"title": words("问出编号", "Ask"), "kind": "detect", "points": "15", "credit": []},
        "check": {"kind": "submission", "values": {"prompt": words("编号"), "answer": "${draw.asset_tag}", "tries": "3"}},
    })  # fmt: skip

    assert added(files) == {"scenario.yml": [
        "  - id: objective", "    title: {zh: 问出编号, en: Ask}", "    points: 15",
        "    checks: [{kind: submission, prompt: 编号, answer: '${draw.asset_tag}', tries: 3}]",
    ]}  # fmt: skip
    assert files["scenario.yml"].startswith("# 由 scenario new 生成")
    assert judge(files)[1] == []


def test_an_inject_goes_to_the_file_where_injects_stand() -> None:
    values = {"title": words("来电"), "body": words("还能交货吗？"), "at": "3.5", "to": ["blue"], "expects": "reply"}

    files = changed(FILES, {"do": "inject.add", "values": values})

    assert added(files) == {
        "story.yml": ["  - {id: inject, at: 3.5, title: 来电, body: 还能交货吗？, to: [blue], expects: reply}"]
    }
    assert judge(files)[1] == []
    alone = {name: text for name, text in FILES.items() if name != "story.yml"}
    assert list(added(changed(alone, {"do": "inject.add", "values": values}), alone)) == ["scenario.yml"]


def test_a_seat_and_a_campaign_are_written_and_run() -> None:
    text = FILES["scenario.yml"]
    files = FILES | {"scenario.yml": rewrite(text, apply(parse(text), ATTACKER))}
    before = dict(files)
    for edit in (
        {"do": "seat.add", "values": {"title": words("红队"), "cell": "red", "max": "2", "consoles": [], "sees": []}},
        {"do": "step.add", "values": {"id": "entry", "title": words("接入"), "node": "rogue", "after": []},
         "technique": "T0864", "step": "foothold", "args": {"how": "U 盘", "": ""}},
        {"do": "step.add", "values": {"id": "ask", "title": words("认设备"), "node": "rogue", "after": ["entry"], "delay": "5"},
         "technique": "T0888", "step": "identify", "args": {"hosts": '["${node.plc.ip}"]', "": "more: 1"}},
        {"do": "step.set", "at": 0, "values": {"on_blocked": "ask"}, "technique": "T0864", "step": "foothold", "args": {}},
    ):  # fmt: skip
        files = changed(files, edit)

    assert added(files, before) == {"scenario.yml": [
        "  - {id: seat, cell: red, title: 红队, max: 2}", "campaign:",
        "  - {id: entry, technique: T0864, title: 接入, node: rogue, step: foothold, args: {how: U 盘}, on_blocked: ask}",
        "  - id: ask", "    technique: T0888", "    title: 认设备", "    node: rogue", "    step: identify",
        "    args: {hosts: ['${node.plc.ip}'], more: 1}", "    after: [entry]", "    delay: 5",
    ]}  # fmt: skip


def test_renaming_follows_every_mention() -> None:
    files = changed(FILES, {"do": "seat.set", "at": 1, "values": {"id": "defence"}})
    files = changed(files, {"do": "objective.set", "at": 0, "values": {"id": "who"}})

    data = joined(files)
    assert data["injects"][0]["to"] == ["defence"]
    assert (data["hints"][0]["objective"], data["solver"][1]["objective"]) == ("who", "who")
    assert judge(files)[1] == []


def test_what_is_moved_or_removed_leaves_the_rest_as_it_was() -> None:
    files = changed(FILES, {"do": "objective.move", "at": 3, "to": 0})
    assert [one["id"] for one in joined(files)["objectives"]] == ["setpoint", "name_it", "tag", "block"]

    files = changed(FILES, {"do": "objective.remove", "at": 0})
    assert ([one["id"] for one in joined(files)["objectives"]], joined(files)["hints"]) == (
        ["tag", "block", "setpoint"],
        [],
    )


def test_a_form_sent_unchanged_changes_nothing() -> None:
    told = script(joined(FILES))
    files = FILES
    for thing in ("objective", "seat", "inject"):
        for item in told[thing]:
            files = changed(files, {"do": f"{thing}.set", "at": item["at"], "values": item["values"]})
            for check in item.get("checks", ()):
                edit = {"do": "check.set", "at": item["at"], "check": check["at"], "kind": check["kind"]}
                files = changed(files, edit | {"values": check["values"]})

    assert files == FILES


@pytest.mark.parametrize(
    ("edit", "field", "why"),
    [
        ({"do": "objective.set", "at": 0, "values": {"points": "很多"}}, "points", "“分值”要填整数或引用"),
        ({"do": "objective.set", "at": 0, "values": {"title": words("", "only")}}, "title", "请先填写中文"),
        ({"do": "objective.set", "at": 0, "values": {"id": "A 1"}}, "id", "小写字母开头"),
        ({"do": "objective.set", "at": 0, "values": {"id": "tag"}}, "id", "已被使用"),
        ({"do": "objective.add", "values": {"kind": "detect"}}, "title", "请填写“名称”"),
        ({"do": "inject.add", "values": {"title": words("x"), "body": words("y"), "at": "1", "to": []}}, "to", "请填写"),
        ({"do": "inject.add", "values": {"title": words("x"), "body": words(""), "at": "1", "to": ["blue"]}}, "body", "请填写“正文”"),
        ({"do": "check.set", "at": 0, "check": 0, "kind": "magic", "values": {}}, "kind", "请从列表中选择"),
        ({"do": "check.remove", "at": 0, "check": 0}, None, "至少要有一项检查"),
        ({"do": "check.set", "at": 2, "check": 0, "kind": "flow_blocked", "values": {"port": "5.5"}}, "port", "要填整数"),
        ({"do": "step.add", "values": {"title": words("x"), "node": "ws"}, "technique": "T9", "step": "login"}, "technique", "“技术”不能是"),
        ({"do": "step.add", "values": {"title": words("x"), "node": "moon"}, "technique": "T0864", "step": "foothold"}, "node", "“节点”不能是"),
        ({"do": "step.add", "values": {"title": words("x"), "node": "ws"}, "technique": "T0812", "step": "login", "args": {"credentials": "[a"}}, "args.credentials", "不是正确的 YAML"),
        ({"do": "step.add", "values": {"title": words("x"), "node": "ws"}, "technique": "T0864", "step": "foothold", "args": {"": "- a"}}, "", "键: 值"),
        ({"do": "seat.remove", "at": 77}, None, "可能刚被删除"),
        ({"do": "seat.remove", "at": True}, None, "可能刚被删除"),
        ({"do": "seat.move", "at": 0, "to": 9}, None, "最前或最后"),
        ({"do": "seat.paint", "at": 0}, None, "没有这个操作"),
    ],
)  # fmt: skip
def test_a_fault_names_its_field_and_the_remedy(edit: dict[str, Any], field: str | None, why: str) -> None:
    with pytest.raises(EditRefused, match=why) as refused:
        changed(FILES, edit)

    assert refused.value.field == field


def test_a_mistake_in_the_draft_knows_its_place_in_the_data() -> None:
    fault = judge(FILES | {"scenario.yml": FILES["scenario.yml"].replace("points: 20", "points: 0")})[1][0]

    assert (fault.path, fault.line > 0, fault.what) == (("objectives", 0, "points"), True, "不能小于 1")


def test_every_field_has_a_word_and_a_type_the_page_knows() -> None:
    known = {"words", "long", "text", "number", "whole", "bool", "choice", "pick", "several", "lines", "list", "value", "yaml", "options"}  # fmt: skip
    every = [one for form in THINGS.values() for one in fields_of(form)] + [
        o for kind in CHECKS for o in check_fields(kind)
    ]

    assert {one.type for one in every} <= known
    assert [one.key for one in every if one.as_dict()["word"] == one.key and one.key != "sha256"] == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [("value", 12), ("value", "012"), ("value", "12:30"), ("value", [1, "b"]), ("value", True), ("number", 0.95), ("whole", 502),
     ("number", "${draw.x}"), ("yaml", {"a": [1, {"b": "c"}]}), ("yaml", ["a", 2]), ("list", ["R1.2", "R2.1"]), ("bool", True)],
)  # fmt: skip
def test_what_is_shown_is_read_as_the_same(kind: str, value: Any) -> None:
    field = Field("x", kind)

    assert read(field, shown(field, value)) == value


def test_what_nobody_touched_stays_as_the_file_has_it() -> None:
    item = {"answer": "012", "choices": [{"zh": "甲", "en": "A"}], "tolerance": 1.0}

    taken(item, check_fields("submission"), {"answer": "012", "choices": "甲", "tolerance": "1", "tries": "0"})

    assert item == {"answer": "012", "choices": [{"zh": "甲", "en": "A"}], "tolerance": 1.0}


def test_parameters_are_read_from_a_steps_own_code() -> None:
    assert parameters("foothold") == (Parameter("how", "text", must=False, default=""),)
    assert parameters("login") == (
        Parameter("credentials", "yaml", must=True), Parameter("host", "text", must=True),
        Parameter("port", "whole", must=False, default=22),
    )  # fmt: skip
    assert [(one.key, one.must, one.default) for one in parameters("interlock_off")] == [
        ("address", True, None), ("host", True, None), ("table", False, "coil"), ("value", False, 0),
    ]  # fmt: skip
    assert parameters("nothing") == ()


def test_nearly_every_parameter_of_the_packaged_scenarios_has_a_field() -> None:
    folder = catalogue.FOLDER
    used = {
        (step["step"], key)
        for path in folder.glob("*/scenario.yml")
        for step in yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)).get("campaign", [])
        for key in step.get("args", {})
    }  # fmt: skip
    missing = {(step, key) for step, key in used if key not in {one.key for one in parameters(step)}}

    assert {step for step, _key in missing} <= {
        "mqtt_command",
        "mqtt_spoof",
        "mqtt_listen",
    }  # these read them in a loop
    assert {step for step, _key in used} <= set(STEPS)


def test_the_graph_stands_below_what_it_waits_for_and_circles_end() -> None:
    def step(at: int, name: str, after: list[str], blocked: str = "") -> dict[str, Any]:
        return {"at": at, "id": name, "values": {"after": after, "on_blocked": blocked}}

    assert layers([step(0, "a", [], "c"), step(1, "b", ["a"]), step(2, "c", []), step(3, "d", ["b", "c"])]) == {
        0: 0, 1: 1, 2: 1, 3: 2,
    }  # fmt: skip
    assert set(layers([step(0, "a", ["b"]), step(1, "b", ["a"])])) == {0, 1}


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"objectives": 3},
        {"campaign": [1, {"after": "x", "args": 3}]},
        {"seats": [{"title": []}], "nodes": [{}]},
    ],
)
def test_a_broken_draft_is_shown_as_far_as_it_can_be_read(data: Any) -> None:
    assert {"objective", "seat", "inject", "step", "lists", "references"} <= set(script(data))
