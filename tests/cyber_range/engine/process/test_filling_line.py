"""The line keeps its mass, counts every bottle once, and overfills when it is told to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.process.controllers import FillerLogic, Logic, TankLogic
from cyber_range.engine.process.filling_line import Commands, FillingLine, Parameters, State, start, step

commands = st.builds(
    Commands,
    inlet_valve_pct=st.floats(-20, 120),
    conveyor_run=st.booleans(),
    conveyor_bpm=st.floats(-5, 200),
    fill_enable=st.booleans(),
    fill_setpoint_ml=st.floats(0, 900),
)
parameters = st.builds(
    Parameters,
    tank_area_m2=st.floats(0.001, 0.6),
    inlet_max_l_min=st.floats(1, 300),
    tank_start_pct=st.floats(0.1, 100),
    dose_flow_ml_s=st.floats(10, 400),
)


def held(state: State) -> float:
    """Product in the tank, in bottles on the line, in bottles delivered, and spilled (mL)."""
    return state.tank_ml + sum(b.content_ml for b in state.bottles) + state.delivered_ml + state.spilled_ml


@settings(max_examples=60, deadline=None)
@given(parameters, st.lists(st.tuples(commands, st.integers(1, 120)), min_size=1, max_size=8))
def test_water_in_equals_tank_plus_bottles_plus_spill(p: Parameters, phases: list[tuple[Commands, int]]) -> None:
    state = start(p)
    before = held(state)
    for wanted, steps in phases:
        for _ in range(steps):
            after = step(state, wanted, p, 0.05)
            assert (after.good, after.over, after.under, after.spilled_ml) >= (0, 0, 0, 0)
            assert after.good >= state.good
            assert after.spilled_ml >= state.spilled_ml
            assert -1e-6 <= after.tank_ml <= p.tank_volume_ml + 1e-6
            assert all(b.content_ml <= p.bottle_capacity_ml + 1e-9 for b in after.bottles)
            state = after

    assert held(state) - before == pytest.approx(state.inflow_ml, abs=1e-3)


def run_for(line: FillingLine, seconds: float, **overrides: float) -> dict[str, dict[str, float]]:
    """Plant and both controllers in closed loop; `overrides` are filler tags written once at the start."""
    logics: dict[str, Logic] = {"tank": TankLogic(), "filler": FillerLogic()}
    tags = {name: {tag.name: tag.start for tag in logic.tags} for name, logic in logics.items()}
    tags["filler"] |= overrides
    for _ in range(int(seconds / 0.05)):
        for name, logic in logics.items():
            line.outputs(name, logic.scan(tags[name], line.inputs(name)))
        line.advance(0.05)
    return tags


def test_nominal_production_is_sixty_good_bottles_a_minute_and_no_spill() -> None:
    line = FillingLine.of({})

    run_for(line, 120)

    values = line.values()
    assert values["bottles_good"] == pytest.approx(120, abs=2)
    assert (values["bottles_over"], values["bottles_under"], values["spill"], values["tripped"]) == (0, 0, 0, 0)
    assert values["tank_level"] == pytest.approx(60, abs=2)


def test_a_set_point_of_640_overfills_bottles_and_the_tray_trips_the_line() -> None:
    line = FillingLine.of({})

    run_for(line, 180, fill_setpoint=640)

    values = line.values()
    assert values["bottles_over"] > 60
    assert values["spill"] > 8
    assert (values["tripped"], values["conveyor_speed"]) == (1, 0)


def test_without_the_interlock_the_line_goes_on_spilling() -> None:
    line = FillingLine.of({})

    run_for(line, 180, fill_setpoint=640, interlock=0)

    values = line.values()
    assert values["spill"] > 15
    assert values["tray_level"] > 8
    assert (values["tripped"], values["conveyor_speed"]) == (0, 60)


def test_a_set_point_below_nominal_underfills() -> None:
    line = FillingLine.of({})

    run_for(line, 60, fill_setpoint=430)

    assert line.values()["bottles_under"] > 25
    assert line.values()["spill"] == 0


def test_a_silent_controller_leaves_its_outputs_safe() -> None:
    line = FillingLine.of({})

    line.outputs("filler", None)
    line.outputs("tank", None)
    line.advance(10)

    assert line.commands == Commands()
    assert line.values()["conveyor_speed"] == 0
    assert line.values()["inlet_flow"] == 0


def test_step_length_does_not_change_the_outcome() -> None:
    fine, coarse = FillingLine.of({}), FillingLine.of({})

    for _ in range(1000):
        fine.advance(0.01)
    coarse.advance(10)

    assert coarse.values()["bottles_good"] == fine.values()["bottles_good"]
    assert coarse.values()["tank_level"] == pytest.approx(fine.values()["tank_level"], abs=0.05)


def test_alarms_come_once_and_clear_once() -> None:
    line = FillingLine.of({})
    line.events()
    line.commands = replace(line.commands, fill_setpoint_ml=640)

    line.advance(5)
    first, again = line.events(), line.events()
    line.commands = replace(line.commands, fill_setpoint_ml=500)
    line.advance(20)
    cleared = line.events()

    assert {(kind, data["name"], data.get("state")) for kind, data in first} == {
        ("alarm", "fill_setpoint_high", "on"), ("alarm", "last_fill_high", "on"), ("crossing", "last_fill", None),
    }  # fmt: skip
    assert again == []
    assert ("alarm", "last_fill_high", "off") in {(kind, data["name"], data.get("state")) for kind, data in cleared}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tank_aera_m2": 1}, "no parameter 'tank_aera_m2'"),
        ({"pitch_m": 0}, "'pitch_m' of the filling line must be above zero"),
    ],
)
def test_wrong_parameters_are_named(given: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Parameters.of(given)
