"""Draws: stable, in bounds, different per team."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.scenario.draw import Stream, draw_value
from cyber_range.engine.scenario.fill import Leaf, fill, references
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import Draw

TINY = Path(__file__).parents[1] / "scenarios" / "tiny"
DRAW: TypeAdapter[Draw] = TypeAdapter(Draw)

words = st.text(min_size=1, max_size=12)


@given(seed=words, team=words, low=st.integers(-1000, 1000), span=st.integers(0, 500), step=st.integers(1, 9))
def test_int_draw_is_stable_and_in_bounds(seed: str, team: str, low: int, span: int, step: int) -> None:
    draw = DRAW.validate_python({"kind": "int", "low": low, "high": low + span, "step": step})

    value = draw_value(draw, seed=seed, team=team, key="k")

    assert value == draw_value(draw, seed=seed, team=team, key="k")
    assert value in range(low, low + span + 1, step)


@given(seed=words, team=words)
def test_every_kind_is_stable(seed: str, team: str) -> None:
    for form in (
        {"kind": "float", "low": 1.5, "high": 9.5, "decimals": 2},
        {"kind": "choice", "from": ["a", 2, None]},
        {"kind": "password"},
        {"kind": "hex", "bytes": 6},
        {"kind": "word", "count": 2},
    ):
        draw = DRAW.validate_python(form)

        assert draw_value(draw, seed=seed, team=team, key="k") == draw_value(draw, seed=seed, team=team, key="k")


@given(seed=words, team=words, other=words)
def test_teams_and_keys_get_values_of_their_own(seed: str, team: str, other: str) -> None:
    draw = DRAW.validate_python({"kind": "hex", "bytes": 16})

    mine = draw_value(draw, seed=seed, team=team, key="k")

    assert (mine == draw_value(draw, seed=seed, team=other, key="k")) == (team == other)
    assert mine != draw_value(draw, seed=seed, team=team, key="k2")


def test_borders_between_team_and_key_do_not_blur() -> None:
    assert Stream("s", "ab", "c").take(16) != Stream("s", "a", "bc").take(16)


@given(bound=st.integers(1, 70_000), seed=words)
def test_below_stays_below(bound: int, seed: str) -> None:
    stream = Stream(seed, "t", "k")

    assert all(0 <= stream.below(bound) < bound for _ in range(5))


@given(seed=words, taken=st.frozensets(st.integers(2, 14), max_size=12))
def test_host_draw_takes_a_free_number(seed: str, taken: frozenset[int]) -> None:
    draw = DRAW.validate_python({"kind": "host", "zone": "z"})

    value = draw_value(draw, seed=seed, team="t", key="k", taken=taken, highest=14)

    assert value in set(range(2, 15)) - taken


def test_host_draw_without_room_says_so() -> None:
    draw = DRAW.validate_python({"kind": "host", "zone": "office", "low": 5, "high": 6})

    with pytest.raises(ScenarioError) as caught:
        draw_value(draw, seed="s", team="t", key="where", taken=frozenset({5, 6}), highest=14)

    assert str(caught.value) == (
        "draw where: no free host number 5..6 in zone office. "
        "Widen low..high of the draw, or give the zone a smaller prefix"
    )


def test_passwords_have_no_look_alikes() -> None:
    draw = DRAW.validate_python({"kind": "password", "length": 64})
    drawn = "".join(draw_value(draw, seed=str(seed), team="t", key="k") for seed in range(50))

    assert set(drawn) & set("0O1lI") == set()


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("${draw.n}", 7),
        ("n=${draw.n}", "n=7"),
        ("${node.a.ip}", "10.0.0.2"),
        ("${node.a.ip.dmz}", "10.0.1.2"),
        ("${file.nodes/a.b.txt}", "text"),
        ("$${draw.n}", "${draw.n}"),
        ("${process}", {"tank": {"area": 7}}),
        ({"k": ["${draw.n}", {"x": "${process.tank.area}"}]}, {"k": [7, {"x": 7}]}),
        (None, None),
    ],
)
def test_references_keep_their_types(value: Any, filled: Any) -> None:
    table = {
        "draw": {"n": 7},
        "node": {"a": {"ip": Leaf("10.0.0.2", {"dmz": "10.0.1.2"})}},
        "file": {"nodes/a.b.txt": "text"},
        "process": {"tank": {"area": "${draw.n}"}},
    }

    assert fill(value, table) == filled


def test_references_are_found_everywhere() -> None:
    assert sorted(references({"a": ["x ${draw.b} ${zone.c.subnet}"], "${draw.k}": 1})) == [
        "draw.b",
        "draw.k",
        "zone.c.subnet",
    ]


def test_fifty_seeds_of_tiny_give_different_answers() -> None:
    scenario = load(TINY)
    draw = scenario.draws["asset_tag"]

    assert len({draw_value(draw, seed=str(seed), team="t", key="asset_tag") for seed in range(50)}) == 50
