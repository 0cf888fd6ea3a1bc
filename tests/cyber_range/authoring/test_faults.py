"""Mistakes in the author's language, with place and remedy; and what may be written at the cursor."""

from __future__ import annotations

import re

import pytest
from django.utils import translation

from cyber_range.authoring import sources
from cyber_range.authoring.completion import allowed
from cyber_range.authoring.faults import judge
from cyber_range.authoring.text import parse
from tests.cyber_range.engine.host.test_scenarios import BAD

FILES = sources.blank()
TEXT = FILES["scenario.yml"]
CHINESE = re.compile("[\u4e00-\u9fff]")

MISTAKES = {
    "unknown key": ("    shell: true\n", "    shel: true\n"),
    "missing": ("    role: hmi\n", ""),
    "role": ("role: hmi", "role: hmm"),
    "number": ("duration: 10", "duration: lang"),
    "too low": ("purdue: 4", "purdue: -4"),
    "zone": ("legs: [office]\n    gateway: fw\n    caps", "legs: [ofice]\n    gateway: fw\n    caps"),
    "gateway": ("gateway: fw\n    caps", "gateway: plc\n    caps"),
    "draw": ('"${draw.asset_tag}"', '"${draw.asset}"'),
    "shape": ("zones:\n", "zones: 3\nother:\n"),
    "not yaml": ("legs: [fieldbus]", "legs: [fieldbus"),
    "twice": ("duration: 10", "duration: 10\nduration: 11"),
    "kind": ("kind: flow_blocked", "kind: flow_blokked"),
    "defence": ("production:\n  polls:\n    - {kind: poll_alive, client: hmi, server: plc, within: 3}\n  produces:\n    - {kind: plant_count, variable: bottles_good, within: 20, at_least: 5}\n", ""),
    "console": ("consoles: [fw, ws]", "consoles: [hmi]"),
    "node with a shell": ("role: hmi\n    legs: [workshop]", "role: hmi\n    shell: true\n    legs: [workshop, fieldbus]"),
    "name": ("- name: plc2", "- name: plc"),
    "prefix": ("purdue: 1}", "purdue: 1, prefix: 40}"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MISTAKES))
def test_a_mistake_is_told_in_chinese_with_its_line(name: str) -> None:
    old, new = MISTAKES[name]
    assert old in TEXT

    faults = judge(FILES | {"scenario.yml": TEXT.replace(old, new, 1)})[1]

    assert faults
    for fault in faults:
        assert (fault.file, fault.line > 0) == ("scenario.yml", True)
        assert CHINESE.search(fault.what), fault
        assert not fault.remedy or CHINESE.search(fault.remedy), fault


@pytest.mark.parametrize("name", list(BAD))
def test_rules_of_written_scenarios_are_told_in_chinese(name: str) -> None:
    faults = judge({key: text.replace("own_line", "own") for key, text in BAD[name][0].items()})[1]

    assert faults
    assert all(CHINESE.search(fault.what) for fault in faults), faults
    assert all(not fault.remedy or CHINESE.search(fault.remedy) for fault in faults), faults


def test_a_fault_knows_its_card_and_says_where_in_words() -> None:
    fault = judge(FILES | {"scenario.yml": TEXT.replace("logic: tank", "logic: tnk", 1)})[1][0]

    assert (fault.node, fault.where) == ("plc2", "节点“plc2” › 程序“modbus_plc” › 参数 › logic")
    assert fault.what == "没有控制逻辑“tnk”"
    assert fault.remedy.startswith("可以用：chlorine_dosing、")


def test_in_english_the_loader_speaks_for_itself() -> None:
    with translation.override("en"):
        fault = judge(FILES | {"scenario.yml": TEXT.replace("role: hmi", "role: hmm")})[1][0]

    assert fault.where == "nodes[3].role"
    assert fault.what.startswith('"hmm" is not allowed. Allowed: ')


def here(needle: str, text: str = TEXT, more: int = 0) -> tuple[set[str], list[str]]:
    lines = text.split("\n")
    line = next(i for i, one in enumerate(lines) if needle in one)
    found = allowed(text, line, "scenario.yml", parse(TEXT), lines[line].index(needle) + len(needle) + more)
    return {key["name"] for key in found["keys"]}, found["values"]


def test_keys_and_values_at_the_cursor_come_from_the_schema_and_the_draft() -> None:
    keys, values = here("role: plc")
    assert {"name", "title", "role", "legs", "gateway", "programs", "shell"} <= keys
    assert {"plc", "hmi", "firewall"} <= set(values)
    assert here("legs: [fieldbus")[1][:3] == ["office", "workshop", "fieldbus"]
    assert "modbus_plc" in here("- use: plant")[1]
    assert {"kind", "client", "server", "within"} <= here("- {kind: poll_alive, client: hmi")[0]
    assert here("kind: detect")[1] == ["defence", "detect", "report"]
    assert {"zones", "nodes", "campaign"} <= here("duration: 10")[0]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "zones:\n  - ", "a: {b: [", "]]}}", "\t- x: y", "nodes:\n  - name: a\n    "]
)
def test_half_a_text_is_no_trouble(text: str) -> None:
    for line in range(text.count("\n") + 2):
        assert set(allowed(text, line, "scenario.yml")) == {"path", "keys", "values"}


def test_a_key_that_is_there_is_marked_and_required_ones_come_first() -> None:
    keys = allowed("zones:\n  - name: a\n    ", 2, "scenario.yml")["keys"]

    assert [(key["name"], key["must"], key["there"]) for key in keys][:3] == [
        ("purdue", True, False), ("title", True, False), ("arp", False, False),
    ]  # fmt: skip
    assert ("name", True, True) in [(key["name"], key["must"], key["there"]) for key in keys]
