"""What the controllers compute: proportional level, interlocks, the latch of a trip."""

from __future__ import annotations

from cyber_range.engine.process.controllers import FillerLogic, TankLogic


def tags_of(logic: TankLogic | FillerLogic) -> dict[str, float]:
    return {tag.name: tag.start for tag in logic.tags}


def test_the_valve_follows_the_level_in_proportion() -> None:
    logic = TankLogic()
    tags = tags_of(logic)

    outputs = [logic.scan(tags, {"level_pct": level})["inlet_valve_pct"] for level in (90, 60, 55, 20)]

    assert outputs == [0, 50, 70, 100]


def test_the_high_switch_closes_the_valve_only_while_the_interlock_is_on() -> None:
    logic = TankLogic()
    tags = tags_of(logic) | {"auto": 0, "valve_manual": 100}

    closed = logic.scan(tags, {"level_pct": 95, "level_high": 1})
    tags["interlock"] = 0
    open_again = logic.scan(tags, {"level_pct": 95, "level_high": 1})

    assert (closed, open_again) == ({"inlet_valve_pct": 0}, {"inlet_valve_pct": 100})


def test_a_trip_stays_until_it_is_reset_with_the_tray_low() -> None:
    logic = FillerLogic()
    tags = tags_of(logic)
    story = []

    for inputs, reset in (
        ({}, 0),
        ({"tray_high": 1}, 0),
        ({"tray_high": 0}, 0),
        ({"tray_high": 1}, 1),
        ({"tray_high": 0}, 1),
    ):
        tags["reset"] = reset
        story.append(logic.scan(tags, inputs)["conveyor_run"])

    assert story == [1, 0, 0, 0, 1]
    assert tags["reset"] == 0


def test_switched_off_the_interlock_lets_a_full_tray_pass() -> None:
    logic = FillerLogic()
    tags = tags_of(logic) | {"interlock": 0}

    assert logic.scan(tags, {"tray_high": 1})["conveyor_run"] == 1
