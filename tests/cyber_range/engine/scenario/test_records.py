"""Invented people: the same stream gives the same table; the count and the canary are true of it."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.scenario.draw import draw_value
from cyber_range.engine.scenario.model import ChoiceDraw, RecordsDraw, draw_parts

COLUMNS = {
    "编号": "number",
    "姓名": "name",
    "手机": "phone",
    "地址": "address",
    "下单": "date",
    "金额": "money",
    "会员码": "code",
}
FORM = RecordsDraw(kind="records", low=20, high=60, columns=COLUMNS)


@given(st.text(max_size=8), st.text(max_size=8))
def test_count_and_canary_are_true_of_the_table(seed: str, team: str) -> None:
    value = draw_value(FORM, seed=seed, team=team, key="people")

    rows = list(csv.DictReader(io.StringIO(value["csv"])))
    assert len(rows) == value["count"]
    assert 20 <= value["count"] <= 60
    assert [row["会员码"] for row in rows].count(value["canary"]) == 1
    assert all(row["手机"].startswith("100") and len(row["手机"]) == 11 for row in rows)


def test_tables_differ_between_teams_and_repeat_for_one() -> None:
    values = [draw_value(FORM, seed="s", team=team, key="people") for team in ("a", "b", "a")]

    assert values[0] == values[2]
    assert values[0]["csv"] != values[1]["csv"]
    assert values[0]["canary"] != values[1]["canary"]


def test_parts_are_what_every_choice_has() -> None:
    choice = ChoiceDraw(**{"kind": "choice", "from": [{"a": 1, "b": 2}, {"a": 3}]})

    assert (draw_parts(choice), draw_parts(FORM)) == (("a",), ("csv", "count", "canary"))
