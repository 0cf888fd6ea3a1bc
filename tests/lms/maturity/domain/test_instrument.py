"""Counting: the laws of score and level, and answers the instrument does not know."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lms.maturity.domain.instrument import AnswerError, assess, check_answer, deficit, faults, parse, rounded
from tests.lms.maturity.strategies import DATA, INSTRUMENT, answers, complete_answers

MULTIPLE = [item for item in INSTRUMENT.items if item.type == "multiple"]
BEST: dict[str, Any] = {
    item.code: [o.code for o in item.options if not o.exclusive]
    if item.type == "multiple"
    else max(item.options, key=lambda o: o.share).code
    for item in INSTRUMENT.items
} | {f"scene:{scene.code}": 4 for scene in INSTRUMENT.scenes}


def test_instrument_2024_is_whole() -> None:
    assert faults(DATA) == []
    assert (len(INSTRUMENT.items), len(INSTRUMENT.scenes)) == (15, 16)
    assert sum(item.points for item in INSTRUMENT.items) == 100
    assert [rule.level for rule in INSTRUMENT.rules] == [1, 2, 3, 4]


def test_nothing_answered_is_nothing_reached() -> None:
    result = assess(INSTRUMENT, {})

    assert (result.score, result.level, result.level_name, result.answered, result.questions) == (0, 0, "未入级", 0, 31)
    assert result.next is not None
    assert (result.next.level, result.next.points, result.next.scenes, result.next.constrained) == (1, 20, 6, 3)


def test_everything_reached_is_the_highest_level() -> None:
    result = assess(INSTRUMENT, BEST)

    assert (result.score, result.level, result.next, result.answered) == (100, 4, None, 31)
    assert all(reached == of for _name, reached, of in (*result.by_dimension, *result.by_item))


@given(complete_answers, st.data())
def test_ticking_one_more_option_lowers_nothing(given_answers: dict[str, Any], data: st.DataObject) -> None:
    item = data.draw(st.sampled_from(MULTIPLE))
    option = data.draw(st.sampled_from([o for o in item.options if not o.exclusive]))
    chosen = [c for c in given_answers[item.code] if c not in {o.code for o in item.options if o.exclusive}]
    before = assess(INSTRUMENT, given_answers)
    after = assess(INSTRUMENT, {**given_answers, item.code: list(dict.fromkeys([*chosen, option.code]))})

    assert after.score >= before.score
    assert after.level >= before.level
    assert all(a[1] >= b[1] for a, b in zip(after.by_item, before.by_item, strict=True))


@given(complete_answers, st.sampled_from(INSTRUMENT.scenes))
def test_a_higher_scene_grade_lowers_nothing(given_answers: dict[str, Any], scene: Any) -> None:
    key = f"scene:{scene.code}"
    higher = {**given_answers, key: min(given_answers[key] + 1, 4)}

    assert assess(INSTRUMENT, higher).level >= assess(INSTRUMENT, given_answers).level


@given(answers)
def test_level_is_the_highest_whose_every_condition_holds(given_answers: dict[str, Any]) -> None:
    result = assess(INSTRUMENT, given_answers)
    constrained = {scene.code for scene in INSTRUMENT.scenes if scene.constrained}

    def holds(rule: Any) -> bool:
        there = [code for code, grade in result.grades if grade >= rule.scene_level]
        return (
            result.score >= rule.min_score
            and len(there) >= rule.min_scenes
            and len(constrained.intersection(there)) >= rule.min_constrained
        )

    reached = [rule.level for rule in INSTRUMENT.rules if holds(rule)]
    assert result.level == max(reached, default=0)
    assert [deficit(INSTRUMENT, rule, result.score, result.grades).none for rule in INSTRUMENT.rules] == [
        rule.level in reached for rule in INSTRUMENT.rules
    ]


@given(answers)
def test_parts_add_up_and_stay_within_their_points(given_answers: dict[str, Any]) -> None:
    result = assess(INSTRUMENT, given_answers)

    assert sum(reached for _n, reached, _of in result.by_item) == result.score
    assert sum(reached for _n, reached, _of in result.by_dimension) == result.score
    assert all(0 <= reached <= of for _n, reached, of in result.by_item)


@given(answers)
def test_score_does_not_depend_on_the_order_of_ticks(given_answers: dict[str, Any]) -> None:
    turned = {k: list(reversed(v)) if isinstance(v, list) else v for k, v in reversed(given_answers.items())}

    assert assess(INSTRUMENT, turned) == assess(INSTRUMENT, given_answers)


@given(st.decimals(0, 100, places=3))
def test_every_percentage_lies_in_exactly_one_band(percent: Decimal) -> None:
    for item in INSTRUMENT.items:
        if item.type == "bands":
            bands = [o for o in item.options if (o.over is None or percent > o.over) and percent <= o.upto]
            assert [item.band_for(percent)] == bands


def test_band_edges_belong_below() -> None:
    item = INSTRUMENT.item("equipment_digital")

    assert [item.band_for(Decimal(p)).code for p in (0, 10, "10.01", 20, 40, 60, "60.001", 100)] == [
        "b0_10", "b0_10", "b10_20", "b10_20", "b20_40", "b40_60", "b60_100", "b60_100",
    ]  # fmt: skip
    with pytest.raises(AnswerError):
        item.band_for(Decimal("100.1"))


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("scene:hr", 5),
        ("scene:hr", -1),
        ("scene:hr", True),
        ("scene:hr", "2"),
        ("scene:hr", 1.0),
        ("scene:hr", None),
        ("scene:cooking", 1),
        ("cooking", "x"),
        ("network", ["none", "ics_network"]),
        ("network", ["wifi"]),
        ("network", [["ics_network"]]),
        ("it_systems", ["one", "most"]),
        ("it_systems", 3),
        ("equipment_digital", "b0_99"),
    ],
)
def test_answers_the_instrument_does_not_know_are_refused(key: str, answer: Any) -> None:
    with pytest.raises(AnswerError):
        check_answer(INSTRUMENT, key, answer)


def broken(change: Any) -> list[str]:
    data = deepcopy(DATA)
    change(data)
    return faults(data)


def test_faults_name_what_is_wrong_with_a_file() -> None:
    def points(data: dict) -> None:
        data["dimensions"][0]["subs"][0]["items"][0]["points"] = 9

    def gap(data: dict) -> None:
        data["dimensions"][0]["subs"][0]["items"][1]["options"][1]["over"] = 15

    def unadvised(data: dict) -> None:
        data["plan"]["items"].pop(0)
        data["plan"]["scenes"].pop(0)

    assert broken(points) == ["设备系统：各条目合计 21，应为 20"]
    assert broken(gap) == ["设备数字化率：分段应从 0 到 100 首尾相接"]
    assert broken(unadvised) == ["网络建设：选项 ics_network 没有建议", "场景 product_design: 0 级到 1 级没有建议"]
    assert broken(lambda data: data.pop("stages")) == ["缺少键 'stages'"]
    assert broken(lambda data: data.update(dimensions=[None]))[0].startswith("结构不对")
    assert broken(lambda data: data["level_rules"]["levels"][3].update(min_scenes=17)) == [
        "协同级：要求的场景数超过指标中的场景数"
    ]


@pytest.mark.parametrize(
    ("points", "shown"), [("50", "50"), ("7.500", "7.5"), ("6.375", "6.38"), ("100", "100"), ("0", "0")]
)
def test_rounded_prints_as_the_form_does(points: str, shown: str) -> None:
    assert str(rounded(Decimal(points))) == shown


def test_parse_gives_the_same_for_the_same_data() -> None:
    assert parse(DATA) == parse(deepcopy(DATA))
