"""What form and drawing can do, and that the file follows every mention of a name."""

from __future__ import annotations

from typing import Any

import pytest

from cyber_range.authoring import sources
from cyber_range.authoring.edits import ROLES, EditRefused, apply, followed
from cyber_range.authoring.faults import judge
from cyber_range.authoring.picture import TIED, picture
from cyber_range.authoring.text import parse, rewrite
from cyber_range.engine.lab.vocabulary import USES
from cyber_range.engine.scenario.load import bundle

FILES = sources.blank()
DATA = parse(FILES["scenario.yml"])


def files_of(data: dict[str, Any], *edits: dict[str, Any]) -> dict[str, str]:
    files = FILES | {"scenario.yml": rewrite(FILES["scenario.yml"], data)}
    for edit in edits:
        files["story.yml"] = followed(files["story.yml"], edit)
    return files


def node(data: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in data["nodes"] if one["name"] == name)


def test_the_blank_has_no_fault() -> None:
    assert judge(FILES)[1] == []


@pytest.mark.parametrize("role", ROLES)
def test_a_node_of_every_role_is_added_by_one_click_and_loads(role: str) -> None:
    data = apply(DATA, {"do": "node.add", "role": role, "zone": "workshop", "title": "新来的"})

    form, faults = judge(files_of(data))

    assert [fault.what for fault in faults] == []
    assert form is not None
    assert form.nodes[-1].title.zh == "新来的"


@pytest.mark.parametrize("use", sorted(set(USES) - {"sensor"}))
def test_every_program_of_the_catalogue_begins_with_something_that_loads(use: str) -> None:
    data = DATA
    for name in ("broker", "vpn"):  # the machines a beginning speaks to
        data = apply(data, {"do": "node.add", "role": "server", "name": name, "zone": "workshop", "title": name})
    data = apply(data, {"do": "program.add", "node": "ws", "use": use})

    assert [fault.what for fault in judge(files_of(data))[1]] == []


def test_renaming_a_node_follows_every_mention() -> None:
    edit = {"do": "node.set", "node": "plc", "name": "filler_plc", "title": "灌装 PLC", "role": "plc", "gateway": "fw"}

    form, faults = judge(files_of(apply(DATA, edit), edit))

    assert faults == []
    assert form is not None
    said = str(bundle(form))
    assert "node.plc." not in said
    assert ("${node.filler_plc.ip.fieldbus}" in said, "'to': 'filler_plc'" in said) == (True, True)
    assert "**${node.filler_plc.ip}**" in form.injects[0].body.zh


def test_what_hangs_on_a_removed_node_is_said_with_file_and_line() -> None:
    faults = judge(files_of(apply(DATA, {"do": "node.remove", "node": "plc"})))[1]

    told = {(one.file, one.where, one.what) for one in faults}
    assert ("story.yml", "情景注入第 1 项 › body › zh", "${node.plc.ip} 没有对应的值：没有节点“plc”") in told
    assert ("scenario.yml", "生产判据 › 轮询第 1 项 › server", "没有节点“plc”") in told
    assert all(one.line > 0 for one in faults)


def test_renaming_a_zone_follows_every_mention() -> None:
    data = apply(
        DATA, {"do": "zone.set", "zone": "fieldbus", "name": "wires", "title": "接线", "purdue": 0, "hidden": True}
    )
    data = apply(data, {"do": "zone.set", "zone": "office", "name": "bureau", "title": "办公区", "purdue": 4})

    form, faults = judge(files_of(data))

    assert faults == []
    assert form is not None
    assert [zone.name for zone in form.zones] == ["bureau", "workshop", "wires"]
    assert form.draws["attacker_host"].zone == "bureau"  # type: ignore[union-attr]


def test_moving_a_node_changes_its_leg_and_a_gateway_out_of_reach() -> None:
    data = apply(DATA, {"do": "zone.add", "title": "隔离区", "purdue": "3.5", "name": "dmz"})
    data = apply(data, {"do": "node.move", "node": "hmi", "to": "dmz"})
    assert (node(data, "hmi")["legs"], "gateway" in node(data, "hmi")) == (["dmz"], False)

    data = apply(data, {"do": "leg.add", "node": "fw", "zone": "dmz"})
    data = apply(data, {"do": "node.move", "node": "hmi", "to": "office"})

    assert (node(data, "hmi")["legs"], node(data, "fw")["legs"]) == (["office"], ["office", "workshop", "dmz"])


def test_a_copy_has_a_name_and_an_address_of_its_own() -> None:
    data = apply(DATA, {"do": "node.copy", "node": "intruder"})

    twin = data["nodes"][[one["name"] for one in data["nodes"]].index("intruder") + 1]
    assert (twin["name"], twin["legs"]) == ("intruder2", ["office"])
    assert judge(files_of(data))[1] == []


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ({"do": "node.add", "role": "plc", "zone": "workshop", "title": ""}, "请填写名称"),
        ({"do": "node.add", "role": "plc", "zone": "moon", "title": "x"}, "没有“moon”"),
        ({"do": "node.add", "role": "king", "zone": "office", "title": "x"}, "没有这种角色"),
        ({"do": "node.add", "role": "plc", "zone": "office", "title": "x", "name": "plc"}, "已被使用"),
        ({"do": "node.add", "role": "plc", "zone": "office", "title": "x", "name": "PLC 1"}, "小写字母开头"),
        ({"do": "zone.add", "title": "x", "purdue": "高"}, "0 到 6"),
        ({"do": "zone.remove", "zone": "office"}, "请先移走"),
        ({"do": "leg.remove", "node": "ws", "zone": "office"}, "至少要接入"),
        ({"do": "leg.add", "node": "ws", "zone": "office"}, "已经接在"),
        ({"do": "program.add", "node": "ws", "use": "rootkit"}, "程序目录里没有"),
        ({"do": "program.set", "node": "fw", "program": "firewall", "with": "a: ["}, "不是正确的 YAML，第 1 行"),
        ({"do": "program.set", "node": "fw", "program": "firewall", "with": "- a"}, "键: 值"),
        ({"do": "shell"}, "没有这个操作"),
    ],
)
def test_an_edit_that_makes_no_sense_says_why(edit: dict[str, Any], why: str) -> None:
    with pytest.raises(EditRefused, match=why):
        apply(DATA, edit)


def test_the_drawing_stands_by_purdue_level_and_shows_no_drawn_value() -> None:
    shown = picture(DATA)

    assert [(zone["name"], [one["name"] for one in zone["nodes"]]) for zone in shown["zones"]] == [
        ("office", ["fw", "ws", "intruder"]), ("workshop", ["plc", "plc2", "hmi"]), ("fieldbus", ["plant"]),
    ]  # fmt: skip
    assert [one["name"] for one in shown["hubs"]] == ["sensor"]
    assert shown["zones"][0]["nodes"][2]["legs"] == [{"zone": "office", "host": TIED}]
    assert shown["zones"][0]["nodes"][0]["also"] == ["workshop"]


@pytest.mark.parametrize(
    "data", [None, [], {"zones": 3}, {"zones": [1], "nodes": {"a": 1}}, {"nodes": [{"legs": 3, "programs": "x"}]}]
)
def test_a_broken_draft_is_drawn_as_far_as_it_can_be_read(data: Any) -> None:
    assert set(picture(data)) == {"zones", "hubs", "lost"}
