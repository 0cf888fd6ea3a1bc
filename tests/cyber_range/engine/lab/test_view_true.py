"""The operator's picture against the plant: a lie, a picture that stands still, and what nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cyber_range.engine.agents.context import Clock
from cyber_range.engine.lab.bridge import BridgeFacts
from cyber_range.engine.lab.checks import Measuring
from cyber_range.engine.lab.compile import Block, compile_range
from cyber_range.engine.lab.plant import PlantView
from cyber_range.engine.lab.views import Views
from cyber_range.engine.scenario.load import load
from cyber_range.engine.scenario.model import ViewTrueCheck

COMPILED = compile_range(
    load(Path(__file__).parents[1] / "scenarios" / "tiny"),
    range_id="0123456789ab", seed="s", team="t", block=Block("10.213.0.0/26"),
)  # fmt: skip
CHECK = ViewTrueCheck(
    kind="view_true", node="hmi", device="tank", tag="level", variable="tank_level", within=2, fresh=6
)
NOW = 1000.0


def picture(level: float | None, age: float | None, came: float = NOW) -> dict[str, Any]:
    return {
        "t": 1.0,
        "devices": {"tank": {"values": {"level": level}, "age": age, "ages": {"level": age}}},
        "time": came,
    }


@pytest.mark.parametrize(
    ("shown", "holds"),
    [
        (picture(60.5, 0.5), True),
        (picture(62.0, 0.5), True),
        (picture(62.1, 0.5), False),  # a lie
        (picture(60.0, 7.0), False),  # right, and standing still
        (picture(60.0, 3.0, came=NOW - 4), False),  # the station itself has not spoken for a while
        (picture(None, None), False),  # never heard of
        ({"t": 1.0, "devices": {}, "time": NOW}, None),
        (None, None),
    ],
)
async def test_the_picture_is_measured_against_the_plant(shown: dict[str, Any] | None, holds: bool | None) -> None:
    async def ask(*_: object) -> dict[str, Any]:
        raise AssertionError("nobody need be asked")

    plant = PlantView()
    measuring = Measuring(
        COMPILED, plant, BridgeFacts(), Clock(speed=0.0), ask, lambda: NOW, view={"hmi": shown}.get  # type: ignore[arg-type]
    )  # fmt: skip
    plant.take({"tank_level": 60.0}, at=1.0, time=NOW - 1)

    assert (await measuring.measure(CHECK)).holds is holds


async def test_a_silent_plant_says_nothing_about_the_picture() -> None:
    async def ask(*_: object) -> dict[str, Any]:
        return {}

    plant = PlantView()
    measuring = Measuring(
        COMPILED, plant, BridgeFacts(), Clock(speed=0.0), ask, lambda: NOW, view=lambda node: picture(60, 0)
    )
    plant.take({"tank_level": 60.0}, at=1.0, time=NOW - 60)

    assert (await measuring.measure(CHECK)).holds is None


def test_two_supervisors_of_one_node_show_one_picture() -> None:
    views = Views()
    views.take("hmi", "panel", {"kind": "view", **picture(60.0, 0.5)}, time=10.0)
    other = {"t": 3.0, "devices": {"filler": {"values": {"speed": 1}, "age": 0.1, "ages": {"speed": 0.1}}}}
    views.take("hmi", "hmi", {"kind": "view", **other}, time=13.0)

    assert views.of("hmi") == {
        "t": 3.0,
        "time": 13.0,
        "devices": {
            "filler": {"values": {"speed": 1}, "age": 0.1, "ages": {"speed": 0.1}},
            "tank": {"values": {"level": 60.0}, "age": 3.5, "ages": {"level": 3.5}},
        },
    }
    assert views.of("plc") is None
