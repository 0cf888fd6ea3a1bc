"""Every mistake is named by file, line and remedy; whole sentences are compared."""

# ruff: noqa: ISC004 - long sentences of the expected text are broken over lines
from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.scenario.load import bundle, check, digest, load, packaged
from cyber_range.engine.scenario.schema import json_schema

TINY = Path(__file__).parents[1] / "scenarios" / "tiny"

SMALL = """\
schema: 1
id: small
version: 1.0.0
title: 小
summary: 小
difficulty: 入门
duration: 10
incident_class: NAEXPLOIT
zones:
  - {name: office, title: 办公, purdue: 4}
  - {name: wiring, title: 接线, purdue: 0, hidden: true}
draws:
  where: {kind: host, zone: office}
nodes:
  - name: fw
    title: 墙
    role: firewall
    legs: [office]
    forwards: true
    shell: true
  - name: pc
    title: 机
    role: workstation
    legs: [{zone: office, host: "${draw.where}"}]
    gateway: fw
    programs:
      - use: attack
seats:
  - {id: blue, cell: blue, title: 蓝, consoles: [fw]}
"""


def write(folder: Path, text: str, **others: str) -> Path:
    (folder / "scenario.yml").write_text(text, encoding="utf-8")
    for name, content in others.items():
        (folder / f"{name}.yml").write_text(content, encoding="utf-8")
    return folder


def mistakes(folder: Path, text: str, **others: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load(write(folder, text, **others))
    return caught.value.what


def test_small_scenario_is_read(tmp_path: Path) -> None:
    scenario = load(write(tmp_path, SMALL))

    assert (scenario.id, [node.name for node in scenario.nodes]) == ("small", ["fw", "pc"])
    assert scenario.node("pc").programs[0].name == "attack"


def test_document_travels_and_keeps_its_digest() -> None:
    scenario = load(TINY)

    again = check(bundle(scenario))

    assert again == scenario
    assert digest(again) == digest(scenario)


def test_story_and_process_are_joined(tmp_path: Path) -> None:
    story = "story: 夜班\ninjects: [{id: call, at: 1, title: 电话, body: 请查看, to: [blue]}]\n"

    scenario = load(write(tmp_path, SMALL, story=story, process="tank: {area: 1.5}\n"))

    assert scenario.story is not None
    assert (scenario.story.zh, scenario.injects[0].id, scenario.process) == ("夜班", "call", {"tank": {"area": 1.5}})


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        (
            "    gateway: fw\n", "    gatway: fw\n",
            'scenario.yml:25: nodes[1]: unknown key "gatway". Allowed: caps, forwards, gateway, legs, name, oui, placement, '
            'programs, role, routes, shell, title. Did you mean "gateway"?',
        ),
        ("duration: 10\n", "duration: lang\n", "scenario.yml:7: duration: must be a number"),
        ("summary: 小\n", "", "scenario.yml:1: summary is missing. Add it"),
        (
            "difficulty: 入门\n", "difficulty: 初级\n",
            'scenario.yml:6: difficulty: "初级" is not allowed. Allowed: 入门, 基础, 进阶 or 专项',
        ),
        (
            "incident_class: NAEXPLOIT", "incident_class: 勒索",
            'scenario.yml:8: incident_class: "勒索" does not have the form ^(MP|NA|DS|IC|DE|RO|SHE|AB|FOC|OTH)[A-Z]{0,14}$',
        ),
        ("legs: [office]\n", "legs: [offce]\n", 'scenario.yml:18: nodes[0].legs[0]: there is no zone "offce". Did you mean "office"?\n'
         "scenario.yml:25: nodes[1].gateway: fw and pc share no zone"),
        ("    forwards: true\n", "", "scenario.yml:24: nodes[1].gateway: fw does not forward. Set forwards: true on fw"),
        ("consoles: [fw]", "consoles: [pc]", "scenario.yml:29: seats[0].consoles[0]: pc has no shell. Set shell: true on pc"),
        ("legs: [office]\n", "legs: [office, wiring]\n",
         "scenario.yml:18: nodes[0].legs[1]: a node with a shell may not stand in hidden zone wiring. "
         "Trainees never reach the wiring of the plant"),
        ("${draw.where}", "${draw.were}",
         "scenario.yml:24: nodes[1].legs[0]: ${draw.were} is not a draw of kind host for zone office. "
         "Add draws.were: {kind: host, zone: office}\n"
         'scenario.yml:24: nodes[1].legs[0].host: ${draw.were} has no value: there is no draw "were". Did you mean "where"?'),
        ("      - use: attack\n", "      - {use: attack, with: {target: '${node.plc.ip}'}}\n",
         'scenario.yml:27: nodes[1].programs[0].with.target: ${node.plc.ip} has no value: there is no node "plc". Did you mean "pc"?'),
        ("name: pc\n", "name: fw\n", 'scenario.yml:21: nodes[1].name: "fw" is used twice. Give every one a name of its own\n'
         "scenario.yml:27: nodes[1]: one"),
        ("title: 墙\n", "title: 墙\n    title: 墙\n", 'scenario.yml:17: "title" is written twice. Keep one of them'),
        ("legs: [office]\n", "legs: [office\n", "scenario.yml:19: this is not YAML: expected ',' or ']', but got ':'"),
        ("kind: host, zone: office", "kind: hosts, zone: office",
         'scenario.yml:13: draws.where: kind "hosts" is not known. Allowed: int, float, choice, host, password, hex, word, records'),
    ],
)  # fmt: skip
def test_mistake_is_named_with_file_line_and_remedy(tmp_path: Path, was: str, becomes: str, said: str) -> None:
    assert was in SMALL

    found = mistakes(tmp_path, SMALL.replace(was, becomes))

    for sentence in said.split("\n"):
        if "share no zone" in sentence or sentence.endswith("one"):
            continue  # follow-up mistakes are free in their wording
        assert sentence in found.split("\n")


CAMPAIGN = """\
campaign:
  - {{id: scan, technique: {technique}, title: 扫描, node: pc, step: syn_sweep{more}}}
"""


@pytest.mark.parametrize(
    ("technique", "more", "said"),
    [
        ("T0855", ", program: atack", 'scenario.yml:31: campaign[0].program: there is no program of pc "atack". Did you mean "attack"?'),
        ("T0808", "", "scenario.yml:31: campaign[0].technique: T0808 was withdrawn from ATT&CK for ICS; use an id of v18.1"),
        ("T1059", "", "scenario.yml:31: campaign[0].technique: T1059 is no ATT&CK for ICS technique id; they look like T0836"),
        ("T0846", ", after: [scan]", 'scenario.yml:31: campaign[0]: step "scan" waits for itself. Break the circle of after and on_blocked'),
        ("T0846", ", after: [scam]", 'scenario.yml:31: campaign[0].after[0]: there is no campaign step "scam". Did you mean "scan"?'),
    ],
)  # fmt: skip
def test_campaign_mistake_is_named(tmp_path: Path, technique: str, more: str, said: str) -> None:
    assert mistakes(tmp_path, SMALL + CAMPAIGN.format(technique=technique, more=more)) == said


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("kind: defence, points: 5, checks: [{kind: plant_band, variable: level, low: 1}]",
         "scenario.yml:31: objectives[0]: a defence objective needs production. "
         "Say under production: which polls and which output mean that the plant is alive"),
        ("kind: detect, points: 5, checks: [{kind: plant_band, variable: level}]",
         "scenario.yml:31: objectives[0].checks[0]: plant_band needs low or high. Add one"),
        ("kind: detect, points: 5, checks: [{kind: flow_blocked, from: fw, to: pc, port: 502}]",
         "scenario.yml:31: objectives[0].checks[0].from: fw has a trainee's shell. Measure from a node nobody holds"),
        ("kind: detect, points: 5, checks: [{kind: view_true, node: pc, device: tank, tag: level, variable: x, within: 1}]",
         'scenario.yml:31: objectives[0].checks[0].device: there is no device shown by pc "tank". There is: none'),
        ("kind: detect, points: 0, checks: []",
         "scenario.yml:31: objectives[0].points: must be greater than or equal to 1"),
        ("kind: detect, points: 1, checks: [{kind: band}]",
         'scenario.yml:31: objectives[0].checks[0]: kind "band" is not known. Allowed: submission, plant_band, plant_count, '
         "view_true, flow_blocked, poll_alive, flow_alive, login_fails, login_works, register_value, file_hash, state, counter"),
    ],
)  # fmt: skip
def test_objective_mistake_is_named(tmp_path: Path, objective: str, said: str) -> None:
    found = mistakes(tmp_path, SMALL + "objectives:\n  - {id: one, title: 一, " + objective + "}\n")

    assert said in found.split("\n")


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    text = SMALL.replace("duration: 10", "duration: lang").replace("purdue: 4", "purdue: 9")

    assert mistakes(tmp_path, text) == (
        "scenario.yml:7: duration: must be a number\nscenario.yml:10: zones[0].purdue: must be less than or equal to 6"
    )


def test_mistake_in_story_names_that_file(tmp_path: Path) -> None:
    story = "injects:\n  - {id: call, at: 1, title: 电话, body: 请查看, to: [blu]}\n"

    assert mistakes(tmp_path, SMALL, story=story) == (
        'story.yml:2: injects[0].to[0]: there is no seat "blu". Did you mean "blue"?'
    )


def test_links_in_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "secrets").symlink_to("/etc/passwd")

    assert mistakes(tmp_path, SMALL) == (
        "nodes/secrets: links are not allowed in a scenario. Put the file itself there"
    )


def test_a_scenario_that_is_not_there_says_which_are(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        packaged("../../etc", TINY.parent)

    assert str(caught.value) == 'there is no scenario "../../etc". Choose one of: tiny'


def test_schema_accepts_what_the_loader_accepts_and_no_more() -> None:
    document = yaml.safe_load((TINY / "scenario.yml").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(json_schema())

    assert list(validator.iter_errors(document)) == []
    assert [error.validator for error in validator.iter_errors({**document, "nods": []})] == ["additionalProperties"]


@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 50_000 + "a", "? " * 50_000, "{a: " * 50_000])
def test_a_text_nested_without_end_is_a_mistake_and_no_crash(tmp_path: Path, text: str) -> None:
    (tmp_path / "scenario.yml").write_text(text)

    with pytest.raises(ScenarioError, match="nested deeper than 100 levels"):
        load(tmp_path)
